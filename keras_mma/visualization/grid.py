"""A grid of images and maps with the labels below them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_mma import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SALIENCY, _MASK = "magma", "gray"
# Float images without negative values and with a larger maximum have the range 0 to 255; a smaller one is white itself.
_BRIGHT = 8
#: Width of a picture in inches.
WIDTH = 1.5


def draw_grid(columns: dict, notes: dict, bars: Any, samples: int, path: Any, titles: Any = None) -> "Figure":
    """A row for each sample and a column for each kind of picture; maps have one channel and a color map."""
    images = columns["own image"]
    scale, height = value_range(images), WIDTH * images.shape[1] / images.shape[2]
    limits = {title: max(float(maps.max()), 1e-6) for title, maps in columns.items() if _is_heat(title)}
    with plotting.style():
        figure = plotting.new_figure(WIDTH * len(columns) + 0.1, (height + 0.35) * samples + 0.3)
        axes = figure.subplots(samples, len(columns), squeeze=False)
        for sample, line in enumerate(axes):
            for axis, (title, values) in zip(line, columns.items(), strict=True):
                if _is_heat(title) and "saliency" in title:  # each map has a maximum of its own
                    limits[title] = max(float(values[sample].max()), 1e-6)
                is_map = _is_heat(title) or "mask" in title or title.startswith("MMA")
                show(axis, values[sample], scale, limits.get(title, 1.0) if is_map else None, _is_heat(title))
                if sample == 0:
                    axis.set_title((titles or {}).get(title, title), fontsize=8)
                if title in notes:
                    axis.set_xlabel(notes[title][sample], fontsize=7, labelpad=9 if bars is not None else 3)
                if title == "mixed" and bars is not None:
                    _draw_bar(axis, bars[sample])
    plotting.save(figure, path)
    return figure


def _is_heat(title: str) -> bool:
    return not title.startswith("MMA at ") and ("saliency" in title or "attention" in title)


def show(axis: "Axes", picture: np.ndarray, scale: Any, limit: float | None = None, is_heat: bool = False) -> None:
    if limit is None:
        picture, limit = np.clip((picture.astype("float32") - scale[0]) / scale[1], 0, 1), 1.0
    axis.imshow(
        picture if picture.shape[-1] == 3 else picture[..., 0],
        cmap=_SALIENCY if is_heat else _MASK,
        vmin=0,
        vmax=limit,
        interpolation="nearest",
        aspect="auto" if picture.shape[0] == 1 else "equal",
    )
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set(linewidth=0.5, color=plotting.GRAY)


def _draw_bar(axis: "Axes", label: np.ndarray) -> None:
    """The label as a bar of one color for each class, below the image."""
    height = axis.images[0].get_size()[0] / axis.images[0].get_size()[1]  # of the image, where its width is 1
    bar = axis.inset_axes((0.0, -0.06 / height, 1.0, 0.035 / height))
    start = 0.0
    for number, index in enumerate(_largest(label)):
        bar.barh(0, label[index], left=start, color=plotting.COLORS[number % len(plotting.COLORS)])
        start += float(label[index])
    bar.set(xlim=(0, max(1.0, start)), xticks=[], yticks=[])
    bar.grid(False)
    bar.spines[:].set_visible(False)


def in_words(label: np.ndarray, class_names: Sequence[str] | None) -> str:
    """The label as `cat 0.71, dog 0.29`, or `cat`; several long names are cut to fit below an image."""
    names = [str(index) if class_names is None else plotting.plain(class_names[index]) for index in _largest(label)]
    if len(names) == 1:
        return _cut(names[0], 30)
    names = [_cut(name, 30 // len(names) - 4) for name in names]
    names = [f"{name}:" if name.isdigit() else name for name in names]
    return ", ".join(f"{name} {label[index]:.2f}" for name, index in zip(names, _largest(label), strict=True))


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1].rstrip()}…"


def _largest(label: np.ndarray) -> list[int]:
    """The classes that a label names, at most three."""
    order = np.argsort(-label, kind="stable")[:3]
    return [int(index) for index in order if label[index] > 0.005]


def value_range(images: np.ndarray) -> tuple[float, float]:
    """The value that is black, and the distance from it to white."""
    low, high = float(images.min()), float(images.max())
    if low >= 0:
        is_integer = np.issubdtype(images.dtype, np.integer)
        if high <= 255 and (is_integer or high > _BRIGHT):
            return 0.0, 255.0
        return 0.0, 1.0 if high <= 1 else high
    # A few extreme pixels of standardized images would leave everything else gray.
    low, high = (float(value) for value in np.percentile(images, (0.5, 99.5)))
    return low, max(high - low, 1e-6)
