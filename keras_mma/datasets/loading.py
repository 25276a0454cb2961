"""Datasets by name, and their parts."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_mma import checks
from keras_mma.datasets import arrays, digits, folder, resizing, tfds
from keras_mma.datasets.dataset import Dataset, balanced_indices, split_off_fifth
from keras_mma.errors import InputError

#: The names that `load` takes.
NAMES = "digits, cifar10, cifar100, tfds:NAME, folder:PATH or arrays:FOLDER"
#: The parts of a dataset.
PARTS = ("train", "validation", "test")
#: Names of folders, in lower case, and the parts that they hold. Of several for one part, the first is taken.
_PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_PARTS |= dict.fromkeys(("validation", "val", "valid"), "validation")
# Names that parts were perhaps given instead, such as `train_set`.
_PART_LIKE = {
    "train": re.compile(r"(train|training)([^a-z].*)?"),
    "test": re.compile(r"(test|testing|validation|val|valid|dev|eval)([^a-z].*)?"),
}


def load(
    dataset: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    resize: str = "antialiased",
    validation_fraction: float = 0.1,
    seed: int = 0,
    skip_damaged: bool = False,
) -> "Parts":
    """The parts of a dataset, each of which is read at its first access.

    A source with a test part has it as `test`. A source with a validation part but no test part has that as `test`.
    Any other source holds out every fifth image of a fixed random order. `validation` is the source's own if it has one
    beside the test part. Otherwise it is a class-balanced share of the training images, which are then removed from
    `train`.

    Args:
        dataset: `digits` (scikit-learn's 8 x 8 digits, enlarged to 16 x 16), `cifar10`, `cifar100` or `tfds:NAME` (a
            set of tensorflow-datasets with the features `image` and `label`), `folder:PATH` (image files in
            `PATH/CLASS`, or in `PATH/train/CLASS` and `PATH/test/CLASS`) or `arrays:FOLDER` (`images.npy`, uint8, and
            `labels.npy` in `FOLDER`, or in `FOLDER/train` and `FOLDER/test`).
        data_dir: Folder of tensorflow-datasets, which downloads what is missing there.
        image_size: Height and width to which images are resized. By default images keep their size, which must not
            exceed `MAX_PIXELS` pixels.
        resize: `"antialiased"` (bilinear, with antialiasing), `"area"` or `"bilinear"` (without antialiasing, as
            `keras.utils.image_dataset_from_directory` resizes).
        validation_fraction: Share of the training images of every class that becomes `validation`, in [0, 1). With 0
            there is no validation part.
        seed: Seed of that draw.
        skip_damaged: Whether to leave out image files that cannot be decoded; `Dataset.skipped` names them.

    Returns:
        `Parts`, with the attributes `train`, `validation` and `test`.

    Raises:
        InputError: if the name is unknown or an argument is invalid; and at the first access of a part that cannot be
            read.

    Example:

    >>> data = keras_mma.datasets.load("digits")
    >>> len(data.train), len(data.validation), len(data.test), data.test.shape
    (1211, 136, 450, (16, 16, 1))
    """
    resizing.check_resize(image_size, resize)
    if not checks.is_number(validation_fraction) or not 0 <= validation_fraction < 1:
        raise InputError(
            f"`validation_fraction` must be in [0, 1). Received: validation_fraction={validation_fraction!r}"
        )
    if not isinstance(dataset, str):
        raise InputError(f"`dataset` must be {NAMES}. Received: dataset={dataset!r}")
    kind, _, path = dataset.partition(":")
    readers = None
    if dataset == "digits":
        readers = digits.readers(image_size, resize)
    elif dataset in ("cifar10", "cifar100"):
        readers = tfds.readers(dataset, dataset, data_dir, image_size, resize)
    elif kind == "tfds" and path:
        readers = tfds.readers(dataset, path, data_dir, image_size, resize)
    elif kind == "folder" and path:
        readers = _folder_readers(dataset, Path(path), image_size, resize, skip_damaged)
    elif kind == "arrays" and path:
        readers = _array_readers(dataset, Path(path), image_size, resize)
    else:
        raise InputError(f"`dataset` must be {NAMES}. Received: dataset={dataset!r}")
    return Parts(dataset, readers, validation_fraction, seed)


class Parts:
    """The parts of a dataset: `train`, `validation` and `test`.

    Args:
        name: Name of the dataset.
        readers: Dict from `"train"`, `"validation"` and `"test"`, where the source has them, to a function that
            returns the `Dataset`. With `"train"` alone, every fifth image of it is held out as `test`.
        validation_fraction: Share of the training images of every class that becomes `validation`.
        seed: Seed of that draw.
    """

    def __init__(
        self,
        name: str,
        readers: dict[str, Callable[[], Dataset]],
        validation_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        readers = dict(readers)
        if "test" not in readers and "validation" in readers:
            readers["test"] = readers.pop("validation")
        self.name, self._readers = name, {part: functools.cache(reader) for part, reader in readers.items()}
        self._validation_fraction, self._seed = validation_fraction, seed

    @functools.cached_property
    def train(self) -> Dataset:
        """The training images, without those of `validation`."""
        indices = self._own_validation_indices
        if indices is None:
            return self._training
        kept = np.setdiff1d(self._training.indices(), indices)
        return self._training.take(kept, f"{self._training.selection}, without {len(indices)} for validation")

    @functools.cached_property
    def validation(self) -> Dataset:
        """Images for choices that must not touch the test part."""
        if "validation" in self._readers:
            return self._readers["validation"]()
        indices = self._own_validation_indices
        if indices is None:
            raise InputError(
                f"`validation_fraction` must be positive, because {self.name} has no validation part of its own. "
                "Received: validation_fraction=0"
            )
        selection = f"{self._validation_fraction:g} of every class, drawn by seed {self._seed}, of the training images"
        return self._training.take(indices, selection)

    @functools.cached_property
    def test(self) -> Dataset:
        """Images that neither training nor choices have seen."""
        return self._readers["test"]() if "test" in self._readers else self._of_undivided("test")

    @functools.cached_property
    def _training(self):
        """The training images, with those that `validation` draws from them."""
        if "train" not in self._readers:
            raise InputError(f"{self.name} must have a training part. Received: a test part only")
        return self._readers["train"]() if "test" in self._readers else self._of_undivided("train")

    def _of_undivided(self, part):
        """A part of a source without parts."""
        undivided = self._readers["train"]()
        dataset = undivided.take(*split_off_fifth(len(undivided), part))
        missing = np.setdiff1d(undivided.labels, dataset.labels)
        if part == "train" and len(missing):
            raise InputError(
                f"{self.name} must have more images of class {undivided.class_names[missing[0]]}: none is left for "
                "training when every fifth image is held out for testing. "
                f"Received: {np.count_nonzero(undivided.labels == missing[0])} images of it"
            )
        return dataset

    @functools.cached_property
    def _own_validation_indices(self):
        if "validation" in self._readers or self._validation_fraction == 0:
            return None
        labels = self._training.labels
        indices = balanced_indices(labels, self._validation_fraction, self._seed)
        missing = np.setdiff1d(labels, np.delete(labels, indices))
        if len(missing):
            raise InputError(
                f"{self.name} must have more training images of class {self._training.class_names[missing[0]]}, or "
                "`validation_fraction` must be smaller: none is left for training. Received: "
                f"{np.count_nonzero(labels == missing[0])} images, "
                f"validation_fraction={self._validation_fraction}"
            )
        return indices


def _folder_readers(name, path, image_size, resize, skip_damaged):
    folders = _part_folders(name, path)
    classes = {part: [entry.name for entry in folder.class_folders(below)] for part, below in folders.items()}
    first = next(iter(classes))
    for part in classes:
        if classes[part] != classes[first]:
            raise InputError(
                f"{folders[first]} and {folders[part]} must have the same classes. "
                f"Received: {classes[first]}, {classes[part]}"
            )

    def reader(below, part=None):
        return lambda: folder.read_folder(below, name, image_size, resize, skip_damaged, part)

    if set(folders) == {"train"}:
        return {part: reader(folders["train"], part) for part in ("train", "test")}
    return {part: reader(below) for part, below in folders.items()}


def _array_readers(name, path, image_size, resize):
    folders = _part_folders(name, path, has_classes=False)
    reader = functools.partial(arrays.read_arrays, name=name, image_size=image_size, resize=resize)
    return {part: functools.partial(reader, below) for part, below in folders.items()}


def _part_folders(name, path, has_classes=True):
    """The folders of the parts; without parts, everything is `"train"`. A class may have the name of a part, too."""
    if not path.is_dir():
        raise InputError(f"`dataset` {name.partition(':')[0]}:PATH must name a folder. Received: {path}")
    below = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    by_name = {entry.name.lower(): entry for entry in below}
    named = {part: by_name[word] for word, part in reversed(_PARTS.items()) if word in by_name}
    are_classes = (
        has_classes
        and len(named) < len(below)
        and not all(any(map(Path.is_dir, entry.iterdir())) for entry in named.values())
    )
    folders = {} if are_classes else {part: named[part] for part in ("train", "test") if part in named}
    if folders and "validation" in named:
        folders["validation"] = named["validation"]
    _check_other_names(path, [entry.name for entry in below if entry not in named.values()], folders)
    return folders or {"train": path}


def _check_other_names(path, names, folders):
    """Refuse folders that seem to be parts under other names: they would be taken for classes, or left out."""
    alike = {part: [name for name in names if pattern.fullmatch(name.lower())] for part, pattern in _PART_LIKE.items()}
    if folders:
        found = [name for part in alike if part not in folders for name in alike[part]]
    else:
        found = sum(alike.values(), []) if all(alike.values()) else []
        found = found if len(found) == len(names) else []
    if found:
        raise InputError(
            f"the parts in {path} must be named train, validation and test. Received: {', '.join(sorted(found))}"
        )
