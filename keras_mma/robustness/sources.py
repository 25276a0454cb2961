"""Labelled test images: bundled, of tensorflow-datasets, of arrays and of folders of pictures."""

import hashlib
from pathlib import Path

import numpy as np

from keras_mma.errors import InputError, first_line

NAMES = "digits, cifar10, cifar100, arrays:FOLDER or folder:PATH"
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


class Dataset:
    """Test images and their class numbers.

    Args:
        name: What the report calls it.
        read: From an array of row numbers to uint8 images (n, height, width, channels).
        labels: Class numbers (count,).
        classes: Number of classes.
        exact: Whether that number is known; otherwise it is only the highest class number and one.
        identity: What tells this data from other data of the same name, for resuming.
    """

    def __init__(self, name, read, labels, classes, exact=True, identity=""):
        self.name, self.read, self.labels = name, read, np.asarray(labels).astype("int64")
        self.classes, self.exact, self.identity = classes, exact, identity
        if len(self.labels) == 0:
            raise InputError(f"{name} must hold at least one image. Received: none")
        if self.labels.min() < 0 or self.labels.max() >= classes:
            low, high = self.labels.min(), self.labels.max()
            raise InputError(f"{name}: class numbers must be 0 to {classes - 1}. Received: {low} to {high}")

    @classmethod
    def of_arrays(cls, images, labels, name="arrays", classes=None, identity=None):
        """Images (n, height, width, channels) uint8, or (n, height, width), and class numbers (n,)."""
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise InputError(
                f"{name}: images must be uint8 (n, height, width, channels). Received: {images.dtype} {images.shape}"
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
            raise InputError(
                f"{name}: labels must be {len(images)} whole numbers. Received: {labels.dtype} {labels.shape}"
            )
        if len(labels) == 0:
            raise InputError(f"{name} must hold at least one image. Received: none")
        if identity is None:
            identity = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
        exact = classes is not None
        return cls(
            name, lambda rows: np.asarray(images[rows]), labels, classes or int(labels.max()) + 1, exact, identity
        )

    def __len__(self):
        return len(self.labels)

    def rows(self, limit=None, seed=0):
        """The rows that are evaluated: all, or `limit` of them drawn by the seed, in ascending order."""
        if limit is None or limit >= len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])

    def batches(self, rows, size):
        """Yield (rows, images, labels) of at most `size` rows each."""
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield part, self.read(part), self.labels[part]

    def digest(self, rows, size):
        """SHA-256 of the images and labels of rows, read `size` at a time."""
        digest = hashlib.sha256()
        for _, images, _ in self.batches(rows, size):
            digest.update(np.ascontiguousarray(images))
        digest.update(self.labels[rows])
        return digest.hexdigest()


def load(name, data_dir=None, image_size=None):
    """Load test images by name.

    Args:
        name: `digits` (the test part of scikit-learn's digits that `examples/train_cifar.py` holds out), `cifar10` or
            `cifar100` (the test part, through tensorflow-datasets), `arrays:FOLDER` (`images.npy`, uint8, and
            `labels.npy` in it) or `folder:PATH` (pictures in `PATH/test/CLASS` or `PATH/CLASS`).
        data_dir: Folder of tensorflow-datasets, which downloads what is not there.
        image_size: Height and width to which a folder's pictures are resized; pictures of that size already if `None`.

    Returns:
        A `Dataset`.

    Raises:
        InputError: if there is no such data set, or it cannot be read.
    """
    kind, _, path = name.partition(":")
    if image_size is not None and kind != "folder":
        raise InputError(f"--image-size has a meaning for folder:PATH only. Received: --dataset {name}")
    if name == "digits":
        return _digits()
    if name in ("cifar10", "cifar100"):
        return from_tfds(name, data_dir)
    if kind == "arrays" and path:
        folder = Path(path)
        images, labels = read_npy(folder / "images.npy"), read_npy(folder / "labels.npy")
        return Dataset.of_arrays(images, labels, name, identity=_stamp([folder / "images.npy", folder / "labels.npy"]))
    if kind == "folder" and path:
        return _folder(name, Path(path), image_size)
    raise InputError(f"--dataset must be {NAMES}. Received: {name!r}")


def read_npy(path):
    """An array that stays on disk until its rows are read."""
    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything, such as tokenize.TokenError
        raise InputError(f"{path} is damaged or no .npy file: {first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} must hold one array. Received: {type(array).__name__}")
    return array


def from_tfds(name, data_dir=None):
    """The test part of a data set of tensorflow-datasets, by its name there."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(f"{name} needs tensorflow-datasets: pip install 'keras-mma[datasets]'") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
        examples = tfds.as_numpy(builder.as_dataset(split="test", batch_size=-1))
    except Exception as error:
        raise InputError(f"{name} cannot be had from tensorflow-datasets: {first_line(error)}") from error
    classes = builder.info.features["label"].num_classes
    return Dataset.of_arrays(examples["image"], examples["label"], name, classes, identity=str(builder.info.version))


def _digits():
    """The quarter of scikit-learn's 8 x 8 digits that `examples/train_cifar.py` tests on, enlarged to 16 x 16."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(255 * np.clip(zoom(data.images / 16.0, (1, 2, 2), order=1), 0, 1)).astype("uint8")
    _, images, _, labels = train_test_split(images, data.target, test_size=0.25, stratify=data.target, random_state=0)
    return Dataset.of_arrays(images, labels, "digits", classes=10)


def _folder(name, path, image_size):
    """Pictures, one folder for each class, read as RGB when they are needed."""
    if not path.is_dir():
        raise InputError(f"--dataset folder:PATH must name a folder. Received: {path}")
    path = path / "test" if (path / "test").is_dir() else path
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files, labels = [], []
    for number, folder in enumerate(classes):
        found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
        files += found
        labels += [number] * len(found)
    if not files:
        raise InputError(f"{path} must hold pictures in one folder for each class. Received: none")

    shape = _read_picture(files[0], image_size).shape

    def read(rows):
        pictures = [_read_picture(files[row], image_size) for row in rows]
        for row, picture in zip(rows, pictures, strict=True):
            if picture.shape != shape:
                raise InputError(
                    f"{path}: pictures must be of one size, or --image-size given. Received: {files[0].name} of "
                    f"{shape[:2]}, {files[row].name} of {picture.shape[:2]}"
                )
        return np.stack(pictures)

    identity = f"{_stamp(files)} {image_size}"
    return Dataset(name, read, np.array(labels), len(classes), True, identity)


def _read_picture(file, image_size):
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture = picture.convert("RGB")
            if image_size is not None:
                picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except Exception as error:  # Pillow's own, such as DecompressionBombError, and ValueError or SyntaxError of formats
        raise InputError(f"{file} is damaged or no picture: {first_line(error)}") from error


def _stamp(files):
    """A digest of names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
