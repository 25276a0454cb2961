"""Arrays in `.npy` files."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_mma.datasets import resizing
from keras_mma.datasets.dataset import Dataset
from keras_mma.errors import InputError, first_line


def read_arrays(path, name, image_size=None, resize="antialiased"):
    """The `Dataset` of `images.npy` and `labels.npy` in a folder, resized to `image_size` unless that is `None`."""
    files = [path / "images.npy", path / "labels.npy"]
    images, labels = map(read_npy, files)
    dataset = Dataset.of_arrays(images, labels, name, identity=file_stamp(files, path))
    resizing.check_pixels(f"images of {name}", *dataset.shape[:2], image_size)
    return resizing.resized(dataset, image_size, resize)


def read_npy(path: Path) -> np.ndarray:
    """Open an array that stays on disk until its samples are read.

    Args:
        path: `Path` of a .npy file.

    Returns:
        A read-only array that maps the file.

    Raises:
        InputError: if the file is missing, damaged or holds anything but one array.
    """
    if not path.is_file():
        raise InputError(f"{path} must be a .npy file. Received: no such file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything, such as tokenize.TokenError
        raise InputError(f"{path} is damaged or not a .npy file: {first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} must hold one array. Received: {type(array).__name__}")
    return array


def file_stamp(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 of the names below a folder, sizes and modification times of files."""
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except FileNotFoundError as error:
            raise InputError(
                f"{file} must be a file that can be read. Received: a missing file or a broken link"
            ) from error
        name = os.fsencode(file.relative_to(folder))
        digest.update(name + f"\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
