"""One way to resize images, for training and evaluation alike."""

import dataclasses

import numpy as np

from keras_mma import checks
from keras_mma.errors import InputError

#: The methods, with their descriptions for reports.
RESIZES = {
    "antialiased": "bilinear interpolation with antialiasing",
    "area": "area averaging",
    "bilinear": "bilinear interpolation without antialiasing, as keras.utils.image_dataset_from_directory",
}
#: Largest image (in pixels) that is read without `image_size`: a batch of 128 takes 1.6 GB as float32.
MAX_PIXELS = 2**20


def check_resize(image_size, resize):
    """Refuse a size that is not a positive integer and an unknown method."""
    if image_size is not None:
        checks.integer("image_size", image_size)
    if resize not in RESIZES:
        raise InputError(f"`resize` must be one of {', '.join(RESIZES)}. Received: resize={resize!r}")


def check_pixels(what, height, width, image_size):
    """Refuse an image of more than `MAX_PIXELS`, unless it is resized."""
    if image_size is None and height * width > MAX_PIXELS:
        raise InputError(
            f"{what} must have at most {MAX_PIXELS:,} pixels, or `image_size` must be given. "
            f"Received: {height} x {width} pixels"
        )


def describe(image_size, resize):
    """Description of a resize for reports."""
    return "not resized" if image_size is None else f"resized to {image_size} x {image_size} by {RESIZES[resize]}"


def resized(dataset, image_size, resize="antialiased"):
    """The `Dataset` with images of `image_size`, resized when they are read; `None` leaves it unchanged."""
    if image_size is None:
        return dataset
    return dataclasses.replace(
        dataset,
        read=lambda indices: np.stack([resize_image(image, image_size, resize) for image in dataset.read(indices)]),
        shape=(image_size, image_size, dataset.shape[-1]),
        identity=f"{dataset.identity} {image_size} {resize}",
        decoding=f"{dataset.decoding}, {describe(image_size, resize)}",
    )


def resize_image(image, image_size, resize="antialiased"):
    """Resize a uint8 image (height, width, channels) to `image_size` squared; `None` returns it unchanged."""
    if image_size is None or image.shape[:2] == (image_size, image_size):
        return image
    if resize == "bilinear":
        return _bilinear(image, image_size)
    Image = import_pillow()
    method = {"antialiased": Image.Resampling.BILINEAR, "area": Image.Resampling.BOX}[resize]

    def resized(pixels):
        return np.asarray(Image.fromarray(pixels).resize((image_size, image_size), method))

    if image.shape[-1] == 3:
        return resized(image)
    # Pillow has no images of two or of five channels.
    return np.stack([resized(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)], -1)


def import_pillow():
    """The module `PIL.Image`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("images need Pillow: pip install 'keras-mma[datasets]'") from error
    return Image


def _bilinear(image, image_size):
    """Bilinear interpolation at the centers of the new pixels, which skips pixels where an image shrinks."""
    image = image.astype("float32")
    for axis in (0, 1):
        count = image.shape[axis]
        position = (np.arange(image_size, dtype="float32") + 0.5) * np.float32(count / image_size) - 0.5
        low = np.floor(position)
        fraction = (position - low).reshape([-1 if axis == index else 1 for index in range(3)])
        lower, upper = (np.clip(edge, 0, count - 1).astype(int) for edge in (low, low + 1))
        image = image.take(lower, axis) * (1 - fraction) + image.take(upper, axis) * fraction
    return np.round(image).clip(0, 255).astype("uint8")
