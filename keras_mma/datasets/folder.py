"""Folders of image files, one folder for each class."""

import functools
import os
import stat

import numpy as np

from keras_mma.datasets import resizing
from keras_mma.datasets.arrays import file_stamp
from keras_mma.datasets.dataset import Dataset, split_off_fifth
from keras_mma.errors import InputError, first_line

#: The formats that are read, by the endings of the file names.
FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Decoded images that are kept for the next pass over a dataset.
_CACHE_BYTES = 2**30


def class_folders(path):
    """The folders of the classes below `path`, in alphabetical order."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders:
        _check_name(folder)
    return folders


def read_folder(path, name, image_size=None, resize="antialiased", skip_damaged=False, part=None):
    """The `Dataset` of the image files in `path/CLASS`, decoded as RGB when they are read.

    Args:
        path: A `pathlib.Path`.
        name: Name for messages and reports.
        image_size: Height and width to which images are resized. If `None`, all must have the same size.
        resize: One of `resizing.RESIZES`.
        skip_damaged: Whether to leave out files that cannot be decoded. This decodes every file once.
        part: `"test"` for every fifth file, `"train"` for the others, `None` for all. Damaged files count, so that
            leaving them out moves no other file between the parts.

    Returns:
        A `Dataset`. Its `skipped` names the files left out.
    """
    folders = class_folders(path)
    if len(folders) < 2:
        names = ", ".join(folder.name for folder in folders) or "no folder"
        raise InputError(f"{path} must hold images in one folder for each class, at least two. Received: {names}")
    files, labels = [], []
    for index, folder in enumerate(folders):
        members = _image_files(folder)
        if not members:
            raise InputError(
                f"{folder} must hold at least one image file ({', '.join(FORMATS)}). Received: a class without any"
            )
        files += members
        labels += [index] * len(members)
    indices, selection = split_off_fifth(len(files), part)
    skipped = []
    if skip_damaged:
        skipped = [index for index in indices if _is_damaged(files[index], image_size, resize)]
        indices = np.setdiff1d(indices, skipped)
    else:
        for file in files:  # of both parts, so that training and evaluation say the same of a folder
            _check_regular(file)
    labels = np.array(labels)[indices]
    missing = np.setdiff1d(np.arange(len(folders)), labels)
    if len(missing) and part != "test" or len(indices) == 0:
        folder = folders[missing[0]]
        damaged = sum(files[index].is_relative_to(folder) for index in skipped)
        raise InputError(
            f"{folder} must hold more image files: none is left for {part or 'use'}. "
            f"Received: {len(_image_files(folder))} files, {damaged} damaged"
        )
    pillow = resizing.import_pillow().__version__
    chosen = [files[index] for index in indices]
    shape = decode(chosen[0], image_size, resize).shape
    return Dataset(
        name,
        _reader(path, chosen, shape, image_size, resize),
        labels,
        tuple(folder.name for folder in folders),
        shape,
        identity=f"{file_stamp(chosen, path)} {image_size} {resize}",
        decoding=f"RGB decoded by Pillow {pillow}, {resizing.describe(image_size, resize)}",
        selection=selection,
        skipped=tuple(str(files[index].relative_to(path)) for index in skipped),
    )


def _reader(path, files, shape, image_size, resize):
    """A function from sample indices to images of a shape, which are decoded once if they fit into the cache."""

    @functools.lru_cache(max(1, _CACHE_BYTES // int(np.prod(shape))))
    def image_of(index):
        image = decode(files[index], image_size, resize)
        if image.shape != shape:
            raise InputError(
                f"{path}: images must be of one size, or `image_size` must be given. Received: {files[0].name} of "
                f"{shape[:2]}, {files[index].name} of {image.shape[:2]}"
            )
        return image

    return lambda indices: np.stack([image_of(int(index)) for index in np.asarray(indices)])


def _is_damaged(file, image_size, resize):
    try:
        decode(file, image_size, resize)
    except DamagedFile:
        return True
    return False


class DamagedFile(InputError):
    """An image file that cannot be decoded."""


def decode(file, image_size=None, resize="antialiased"):
    """Decode an image file as uint8 RGB (height, width, 3), resized to `image_size` unless that is `None`."""
    Image = resizing.import_pillow()
    try:
        _check_regular(file)
        with Image.open(file) as picture:
            width, height = picture.size
            resizing.check_pixels(file, height, width, image_size)
            return resizing.resize_image(_rgb(picture), image_size, resize)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow's own, such as DecompressionBombError, and ValueError or SyntaxError of formats
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{file} cannot be read: {first_line(error)}") from error  # the system's, not the file's
        raise DamagedFile(
            f"{file} is damaged or not an image: {first_line(error)}; `skip_damaged` leaves such files out"
        ) from error


def _check_regular(file):
    """Refuse what would block its reader, and what is not there."""
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        raise DamagedFile(
            f"{file} must be a file that can be read. Received: a missing file or a broken link"
        ) from None
    if not stat.S_ISREG(mode):
        raise DamagedFile(f"{file} must be a regular file. Received: a FIFO, a socket or a device")


def _rgb(picture):
    """The pixels as uint8 RGB. Pillow clips 16-bit gray values at 255, so they are scaled here."""
    if picture.mode == "F":
        raise ValueError("pixels must be integers. Received: floating-point values, whose range is unknown")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype("int64")
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"gray values must be 0 to 65535. Received: {values.min()} to {values.max()}")
        gray = np.round(values / 257).astype("uint8")
        return np.repeat(gray[..., None], 3, -1)
    return np.asarray(picture.convert("RGB"))


def _image_files(folder):
    """The image files anywhere below a folder, in alphabetical order, without hidden files and folders."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in FORMATS and not file.is_dir())
    files = [file for file in files if not any(name.startswith(".") for name in file.relative_to(folder).parts)]
    for file in files:
        _check_name(file)
    return files


def _check_name(path):
    """Refuse names that no report could print."""
    try:
        os.fsencode(path.name).decode()
    except UnicodeDecodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(f"file names must be UTF-8. Received: {shown}") from None
