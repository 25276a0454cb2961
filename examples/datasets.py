"""Labelled images as arrays: what `train_cifar.py` reads."""

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Images(NamedTuple):
    """A data set in memory: uint8 images (n, height, width, channels) and class numbers (n,)."""

    train: tuple
    test: tuple
    class_names: list
    flip: bool  # whether a mirrored picture is still of its class

    @property
    def shape(self):
        return self.train[0].shape[1:]


def load(name, data_dir=None, image_size=32):
    """Load `digits`, `cifar10`, `cifar100` or `folder:PATH`.

    Args:
        name: Name of the data set.
        data_dir: Folder of tensorflow-datasets, which downloads what is not there.
        image_size: Height and width to which a folder's pictures are resized.

    Returns:
        `Images`.
    """
    if name == "digits":
        return _digits()
    if name in ("cifar10", "cifar100"):
        return _cifar(name, data_dir)
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")), image_size)
    raise ValueError(f"--dataset must be digits, cifar10, cifar100 or folder:PATH. Received: {name!r}")


def balanced_subset(images, labels, fraction, seed):
    """The same share of every class, at least one image of each."""
    if not 0 < fraction <= 1:
        raise ValueError(f"--fraction must be in (0, 1]. Received: {fraction}")
    rng = np.random.default_rng(seed)
    kept = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept.append(rows[: max(1, round(fraction * len(rows)))])
    kept = np.sort(np.concatenate(kept))
    return images[kept], labels[kept]


def _digits():
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn, enlarged to 16 x 16."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.clip(zoom(data.images / 16.0, (1, 2, 2), order=1), 0, 1)
    images = np.round(255 * images).astype("uint8")[..., None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, data.target, test_size=0.25, stratify=data.target, random_state=0
    )
    return Images((train_x, train_y), (test_x, test_y), [str(digit) for digit in range(10)], flip=False)


def _cifar(name, data_dir):
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    builder.download_and_prepare()
    parts = []
    for split in ("train", "test"):
        examples = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
        parts.append((examples["image"], examples["label"]))
    return Images(*parts, builder.info.features["label"].names, flip=True)


def _folder(path, image_size):
    """`PATH/train/CLASS` and `PATH/test/CLASS`, or `PATH/CLASS`, of which every fifth picture is for testing."""
    if not path.is_dir():
        raise ValueError(f"--dataset folder:PATH must name a folder. Received: {path}")
    if (path / "train").is_dir() and (path / "test").is_dir():
        (train, names), (test, test_names) = (_read_folder(path / part, image_size) for part in ("train", "test"))
        if names != test_names:
            raise ValueError(
                f"{path}/train and {path}/test must have the same classes. Received: {names}, {test_names}"
            )
        return Images(train, test, names, flip=True)
    (images, labels), names = _read_folder(path, image_size)
    rows = np.random.default_rng(0).permutation(len(images))
    held_out, kept = np.sort(rows[::5]), np.sort(np.setdiff1d(rows, rows[::5]))
    return Images((images[kept], labels[kept]), (images[held_out], labels[held_out]), names, flip=True)


def _read_folder(path, image_size):
    from keras.utils import image_dataset_from_directory

    dataset = image_dataset_from_directory(
        path, image_size=(image_size, image_size), batch_size=64, shuffle=False, verbose=False
    )
    batches = list(dataset.as_numpy_iterator())
    images = np.concatenate([images for images, _ in batches]).round().clip(0, 255).astype("uint8")
    return (images, np.concatenate([labels for _, labels in batches])), dataset.class_names
