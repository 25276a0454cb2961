"""The form of the images that are perturbed."""

import numpy as np

from keras_mma.errors import InputError


def check_images(images, channels=()):
    """Images as an array, if they are a batch of uint8.

    Args:
        images: Images (batch, height, width, channels).
        channels: Numbers of channels that are allowed; any if empty.

    Returns:
        The images as an array.

    Raises:
        InputError: if they have another dtype or shape.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or (channels and images.shape[-1] not in channels):
        allowed = f" of {' or '.join(map(str, channels))} channels" if channels else ""
        raise InputError(
            f"`images` must be uint8 (batch, height, width, channels){allowed}. Received: {images.dtype} {images.shape}"
        )
    return images
