"""A labeled set of images."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_mma.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labeled uint8 images, which may stay on disk until they are read.

    Args:
        name: Name for messages and reports.
        read: Function from an array of sample indices to uint8 images (n, height, width, channels).
        labels: Class indices (count,).
        class_names: Names of the classes, in the order of the class indices.
        shape: Shape of an image (height, width, channels).
        exact: Whether the number of classes is known. Otherwise it is the highest class index plus one.
        identity: String that distinguishes this data from other data of the same name; cheap to compute.
        flip: Whether a mirrored image still belongs to its class.
        decoding: How the images were decoded and resized, for reports.
        selection: Which images of the source these are, for reports.
        skipped: Names of damaged files that were left out.

    Raises:
        InputError: if there is no image or a label is not a class index.

    Example:

    >>> dataset = keras_mma.datasets.Dataset.of_arrays(np.zeros((6, 8, 8, 3), "uint8"), [0, 1, 2, 0, 1, 2])
    >>> len(dataset), dataset.classes, dataset.shape
    (6, 3, (8, 8, 3))
    >>> dataset.take([3, 4]).labels.tolist()
    [0, 1]
    """

    name: str
    read: Callable[[Any], np.ndarray]
    labels: np.ndarray
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    exact: bool = True
    identity: str = ""
    flip: bool = True
    decoding: str = "uint8 arrays, used as they are"
    selection: str = "all images"
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", np.asarray(self.labels).astype("int64"))
        if len(self.labels) == 0:
            raise InputError(f"{self.name} must hold at least one image. Received: none")
        low, high = self.labels.min(), self.labels.max()
        if low < 0 or high >= self.classes:
            raise InputError(f"{self.name}: labels must be 0 to {self.classes - 1}. Received: {low} to {high}")

    @classmethod
    def of_arrays(
        cls,
        images: np.ndarray,
        labels: Any,
        name: str = "arrays",
        classes: int | None = None,
        identity: str | None = None,
        class_names: Sequence[str] | None = None,
        **attributes: Any,
    ) -> "Dataset":
        """A dataset of arrays.

        Args:
            images: uint8 images (n, height, width, channels) or (n, height, width).
            labels: Class indices (n,) or (n, 1).
            name: Name for messages and reports.
            classes: Number of classes. By default that of `class_names`, or the highest class index plus one.
            identity: See the class. By default the SHA-256 of the images.
            class_names: Names of the classes. By default their indices.
            **attributes: Other attributes of the class.

        Returns:
            A `Dataset`.

        Raises:
            InputError: if the arrays have another form.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise InputError(
                f"{name}: images must be uint8 (n, height, width, channels). Received: {images.dtype} {images.shape}"
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
            raise InputError(f"{name}: labels must be {len(images)} integers. Received: {labels.dtype} {labels.shape}")
        if len(labels) == 0:
            raise InputError(f"{name} must hold at least one image. Received: none")
        if identity is None:
            identity = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
        exact = class_names is not None or classes is not None
        if class_names is None:
            class_names = [str(index) for index in range(classes or int(labels.max()) + 1)]

        def read(indices):
            return np.asarray(images[indices])

        shape = tuple(images.shape[1:])
        return cls(name, read, labels, tuple(class_names), shape, exact, identity, **attributes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images and their labels, in memory."""
        return self.read(np.arange(len(self))), self.labels

    def indices(self, limit: int | None = None, seed: int = 0) -> np.ndarray:
        """Ascending indices of all samples, or of `limit` samples drawn by the seed."""
        if limit is None or limit >= len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])

    def batches(self, indices: Any, size: int) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Yield (indices, images, labels) of at most `size` of the samples `indices`."""
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, self.read(part), self.labels[part]

    def digest(self, indices: Any = None, size: int = 128) -> str:
        """SHA-256 of the images and labels of `indices`, by default of all samples, read `size` at a time."""
        if indices is None:
            return self._digest_of_all
        digest = hashlib.sha256()
        for _, images, _ in self.batches(indices, size):
            digest.update(np.ascontiguousarray(images))
        digest.update(self.labels[indices])
        return digest.hexdigest()

    @functools.cached_property
    def _digest_of_all(self):
        return self.digest(np.arange(len(self)))

    def take(self, indices: Any, selection: str | None = None) -> "Dataset":
        """The dataset of the samples `indices`, in that order."""
        indices = np.asarray(indices)
        identity = hashlib.sha256(f"{self.identity}\n".encode() + indices.astype("int64").tobytes()).hexdigest()
        return dataclasses.replace(
            self,
            read=lambda subset: self.read(indices[subset]),
            labels=self.labels[indices],
            identity=identity,
            selection=selection or self.selection,
        )

    def with_channels(self, channels: int | None) -> "Dataset":
        """The dataset with images of one or three channels; any other number, or `None`, leaves it unchanged.

        Three channels become their luma by ITU-R BT.601, in which gray images keep their values; one is repeated.
        """
        if channels is None or (self.shape[-1], channels) not in ((1, 3), (3, 1)):
            return self
        convert, text = _to_gray, "converted to gray (ITU-R BT.601)"
        if channels == 3:
            convert, text = (lambda images: np.repeat(images, 3, axis=-1)), "gray repeated in three channels"
        return dataclasses.replace(
            self,
            read=lambda indices: convert(self.read(indices)),
            shape=(*self.shape[:2], channels),
            identity=f"{self.identity} {channels} channels",
            decoding=f"{self.decoding}, {text}",
        )

    def balanced_subset(self, fraction: float, seed: int) -> "Dataset":
        """The same fraction of every class, at least one image of each.

        Args:
            fraction: Share of the images, in (0, 1].
            seed: Seed of the draw.

        Returns:
            A `Dataset`.
        """
        indices = balanced_indices(self.labels, fraction, seed)
        selection = f"{fraction:g} of every class, drawn by seed {seed}, of {self.selection}"
        return self if fraction == 1 else self.take(indices, selection)


def _to_gray(images):
    """uint8 images (n, height, width, 3) to (n, height, width, 1)."""
    return ((images @ np.array([19595, 38470, 7471], "int64") + 2**15) >> 16).astype("uint8")[..., None]


def balanced_indices(labels: Any, fraction: float, seed: int) -> np.ndarray:
    """Draw the same fraction of every class, at least one sample of each.

    Args:
        labels: Class indices (count,).
        fraction: Share of the samples of each class, in (0, 1].
        seed: Seed of the draw.

    Returns:
        Ascending indices of the drawn samples.

    Raises:
        InputError: if `fraction` is out of range.

    Example:

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> kept = keras_mma.datasets.balanced_indices(labels, fraction=0.5, seed=1)
    >>> labels[kept].tolist()
    [0, 0, 1]
    """
    if not 0 < fraction <= 1:
        raise InputError(f"`fraction` must be in (0, 1]. Received: fraction={fraction}")
    rng = np.random.default_rng(seed)
    kept = []
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        kept.append(indices[: max(1, round(fraction * len(indices)))])
    return np.sort(np.concatenate(kept))


def split_off_fifth(count, part=None):
    """Indices of the samples of a part, and their description for reports, if a source has no parts.

    Every fifth sample is for testing. The draw is fixed, so that training and evaluation agree.

    Args:
        count: Number of samples.
        part: `"train"`, `"test"` or `None` for all.

    Returns:
        Ascending indices and a string.
    """
    test = np.sort(np.random.default_rng(0).permutation(count)[::5])
    if part == "test":
        return test, f"every fifth of {count} images, because there is no test part"
    if part == "train":
        return np.setdiff1d(np.arange(count), test), f"{count - len(test)} of {count} images, every fifth held out"
    return np.arange(count), "all images"
