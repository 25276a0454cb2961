"""A grid of images and maps with the labels below them."""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Column:
    """Pictures of one kind, one for each sample.

    Args:
        title: The title above the column.
        pictures: Array (samples, height, width, channels).
        kind: `"image"`; `"mask"`, gray from 0 to 1; or a heat map, `"saliency"`, in which each map has a maximum of its
            own, or `"attention"`, whose maximum is that of the column.
        notes: Words below each picture, or `None`.
        bars: Labels (samples, classes), drawn as a bar below each picture, or `None`.
    """

    title: str
    pictures: np.ndarray
    kind: str = "image"
    notes: Sequence[str] | None = None
    bars: np.ndarray | None = None

    def limit(self, sample: int) -> float | None:
        """The value of the lightest color of a map, or `None` for images."""
        if self.kind == "image":
            return None
        if self.kind == "mask":
            return 1.0
        maps = self.pictures[sample] if self.kind == "saliency" else self.pictures
        return max(float(maps.max()), 1e-6)


def draw_grid(columns: Sequence[Column], samples: int, path: Any) -> "Figure":
    """A row for each sample and a column for each kind of picture. The first column has the unmixed images."""
    images = columns[0].pictures
    scale, height = value_range(images), WIDTH * images.shape[1] / images.shape[2]
    labelpad = 3 if all(column.bars is None for column in columns) else 9
    with plotting.style():
        figure = plotting.new_figure(WIDTH * len(columns) + 0.1, (height + 0.35) * samples + 0.3)
        axes = figure.subplots(samples, len(columns), squeeze=False)
        for sample, line in enumerate(axes):
            for axis, column in zip(line, columns, strict=True):
                is_heat = column.kind in ("saliency", "attention")
                show(axis, column.pictures[sample], scale, column.limit(sample), is_heat)
                if sample == 0:
                    axis.set_title(column.title, fontsize=8)
                if column.notes is not None:
                    axis.set_xlabel(column.notes[sample], fontsize=7, labelpad=labelpad)
                if column.bars is not None:
                    _draw_bar(axis, column.bars[sample])
    plotting.save(figure, path)
    return figure


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
