"""Contact sheets: what was done to the images that were measured."""

from typing import Any, NamedTuple

import numpy as np

from keras_mma import plotting
from keras_mma.packing import unpack


class Sheet(NamedTuple):
    """Pictures in rows and columns.

    Attributes:
        text: What the pictures show, one or two sentences.
        columns: Titles of the columns.
        rows: Pairs of a title and a list of pairs of a uint8 image (height, width, channels) and its caption.
    """

    text: str
    columns: tuple
    rows: list


def example_indices(setting, report, count):
    """Indices of some of the measured images: those that are classified correctly come first, each of another class.

    Args:
        setting: A `Setting`.
        report: A report with the clean section.
        count: Largest number of images.

    Returns:
        A list of indices, at least one.
    """
    indices = np.asarray(setting.indices)
    correct = unpack(report["clean"]["correct"], len(indices))
    indices = np.concatenate([indices[correct], indices[~correct]])
    _, first = np.unique(setting.dataset.labels[indices], return_index=True)
    other = np.setdiff1d(np.arange(len(indices)), first)
    return [int(index) for index in indices[np.concatenate([np.sort(first), other])][:count]]


def draw(sheet, figure):
    """Draw a sheet on an empty `matplotlib.figure.Figure`."""
    height, width = sheet.rows[0][1][0][0].shape[:2]
    columns = max(len(pictures) for _, pictures in sheet.rows)
    lines = max(caption.count("\n") + 1 for _, pictures in sheet.rows for _, caption in pictures)
    inches = 6.6 / columns
    has_titles = any(title for title, _ in sheet.rows)
    # In units of the width of a column.
    ratio, margin = height / width, 0.05
    step = ratio + margin + 0.14 * lines / inches
    heading = max((title.count("\n") + 1 for title in sheet.columns), default=0)
    top, left = (0.07 * bool(heading) + 0.13 * heading) / inches, (1.15 / inches if has_titles else 0)
    figure.set_size_inches(inches * (columns + left), inches * (step * len(sheet.rows) + top))
    figure.set_layout_engine("none")  # the axes below fill the figure
    axis = figure.add_axes((0, 0, 1, 1))
    for number, title in enumerate(sheet.columns):
        axis.text(number + 0.5, top / 2, title, ha="center", va="center", fontsize=8, weight="bold")
    for number, (title, pictures) in enumerate(sheet.rows):
        y = top + number * step
        axis.text(-0.1 / inches, y + ratio / 2, title, ha="right", va="center", fontsize=8)
        for column, (image, caption) in enumerate(pictures):
            _show(axis, image, (column + margin / 2, column + 1 - margin / 2, y + ratio - margin / 2, y + margin / 2))
            axis.text(column + 0.5, y + ratio + 0.02 / inches, caption, ha="center", va="top", fontsize=7)
    axis.set(xlim=(-left, columns), ylim=(step * len(sheet.rows) + top, 0), aspect="equal")
    axis.axis("off")


def _show(axis: Any, image, extent):
    picture = image if image.shape[-1] == 3 else image[..., 0]
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
    (x0, x1, y1, y0) = extent
    axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=plotting.GRAY, linewidth=0.5, scalex=False)
