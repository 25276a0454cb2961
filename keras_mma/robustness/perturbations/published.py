"""The published corrupted test sets, CIFAR-10-C and CIFAR-100-C."""

import hashlib
from pathlib import Path

import numpy as np

from keras_mma import datasets
from keras_mma.errors import InputError

# The corruptions of the published sets, which do not change if more can be regenerated.
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
# These have no part in the published mean errors.
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SEVERITIES = (1, 2, 3, 4, 5)
# Names that differ in tensorflow-datasets.
_TFDS_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}


def source(options, dataset):
    """The source of corrupted images that the option `corruptions` names, unless they are regenerated."""
    names = CORRUPTIONS + EXTRA_CORRUPTIONS * options.extra_corruptions
    if options.corruptions == "tfds":
        return TensorflowDatasets(dataset.name, dataset.shape, options.data_dir, names)
    return Folder(options.corruptions, dataset, names)


class TensorflowDatasets:
    """CIFAR-10-C as `cifar10_corrupted/NAME_SEVERITY` of tensorflow-datasets."""

    def __init__(self, dataset_name, shape=(32, 32, 3), data_dir=None, names=CORRUPTIONS):
        if dataset_name != "cifar10":
            raise InputError(
                "`corruptions` tfds is CIFAR-10-C and needs `dataset` cifar10; CIFAR-100-C is read from the folder of "
                f"its .npy files. Received: dataset={dataset_name!r}"
            )
        if tuple(shape) != (32, 32, 3):
            raise InputError(
                "`corruptions` tfds needs color images of 32 x 32 pixels: omit `image_size`, or regenerate the "
                f"corruptions. Received: {' x '.join(map(str, shape))}"
            )
        self.data_dir, self.names = data_dir, names
        self.label, self.identity = "CIFAR-10-C, published (tensorflow-datasets)", "tfds"

    def load(self, corruption, severity):
        """The `Dataset` of a corruption and severity."""
        name = _TFDS_NAMES.get(corruption, corruption)
        return datasets.load(f"tfds:cifar10_corrupted/{name}_{severity}", data_dir=self.data_dir).test


class Folder:
    """A folder of the published `.npy` files: five severities in succession in each, and `labels.npy`."""

    def __init__(self, path, dataset, names=CORRUPTIONS):
        self.path, self.names = Path(path), names
        if not self.path.is_dir():
            raise InputError(f"`corruptions` must be regenerate, tfds or a folder. Received: corruptions={str(path)!r}")
        if not any(self.path.glob("*.npy")):
            raise InputError(f"{path} must hold the published .npy files. Received: a folder without any")
        missing = [name for name in names if not (self.path / f"{name}.npy").is_file()]
        if missing:
            raise InputError(
                f"{path} must hold a file of every corruption. "
                f"Received: a folder without {', '.join(f'{name}.npy' for name in missing)}"
            )
        self.classes = dataset.classes
        self.labels = datasets.read_npy(self.path / "labels.npy")
        title = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}.get(dataset.name, "published arrays")
        files = [self.path / f"{name}.npy" for name in ("labels", *names)]
        self.identity = datasets.file_stamp(files, self.path)
        # Reports are comparable if the files are the same, wherever they are.
        self.label = f"{title}, published (SHA-256 {_digest(files)})"
        # Check all of them first, because measuring takes long.
        expected = (len(SEVERITIES) * len(dataset), *dataset.shape)
        for name in names:
            shape = datasets.read_npy(self.path / f"{name}.npy").shape
            if shape != expected:
                raise InputError(
                    f"{self.path / name}.npy must hold five severities of the images of {dataset.name}, {expected}. "
                    f"Received: {shape}"
                )
        # All corruptions have these labels, in an order that differs from that of some datasets.
        for severity in SEVERITIES:
            part = self.load(CORRUPTIONS[0], severity)
            if (np.sort(part.labels) != np.sort(dataset.labels)).any():
                raise InputError(
                    f"{self.path / 'labels.npy'} must hold each class as often as {dataset.name}: it belongs to other "
                    f"images. Received: {_counts(part)} images of the classes, for {_counts(dataset)}"
                )

    def load(self, corruption, severity):
        """The `Dataset` of a corruption and severity."""
        file = self.path / f"{corruption}.npy"
        images = datasets.read_npy(file)
        count, rest = divmod(len(images), len(SEVERITIES)) if images.ndim == 4 else (0, 1)
        if rest or count == 0 or self.labels.ndim == 0 or len(self.labels) not in (count, len(images)):
            raise InputError(
                f"{file} must hold five severities of as many images as labels.npy has labels. Received: "
                f"{images.shape} and {self.labels.shape}"
            )
        part = slice((severity - 1) * count, severity * count)
        labels = self.labels[part] if len(self.labels) == len(images) else self.labels
        name = f"{self.path.name}/{corruption}/{severity}"
        return datasets.Dataset.of_arrays(images[part], labels, name, self.classes, identity=self.identity)


def _digest(files):
    """The first digits of the SHA-256 of several files in this order."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _counts(dataset):
    """Numbers of images of the first classes, for a one-line error."""
    counts = np.bincount(dataset.labels, minlength=dataset.classes).tolist()
    return ", ".join(map(str, counts[:5])) + (", ..." if len(counts) > 5 else "")
