"""Images of any range and any number of channels as gray levels 0 to 255."""

import keras
from keras import ops

# ITU-R BT.601 in units of 2^-15, as OpenCV converts RGB to gray: integers below 2^24, exact in float32.
_RED, _GREEN, _BLUE, _UNIT = 9798.0, 19235.0, 3735.0, 32768.0


def to_gray(images):
    """Integer gray levels 0 to 255, whatever the range of the images.

    Integer values from 0 to 255 are kept and values in [0, 1] are multiplied by 255, so that both give the same
    levels; any other image, such as a standardized one, is stretched from its own minimum to its own maximum. Each
    image is judged separately.

    Args:
        images: Tensor (batch, height, width, channels) of any integer or float dtype. Three channels are
            read as RGB, any other number is averaged.

    Returns:
        A float32 tensor (batch, height, width) of integers.
    """
    images = to_levels(images)
    if images.shape[-1] == 3:
        gray = (_RED * images[..., 0] + _GREEN * images[..., 1] + _BLUE * images[..., 2]) / _UNIT
    else:
        gray = ops.mean(images, axis=-1)
    return ops.floor(gray + 0.5)


def to_rgb_levels(images):
    """Levels of three channels; images with another number of channels are converted to gray first.

    Args:
        images: As for `to_gray`.

    Returns:
        A float32 tensor (batch, height, width, 3) of integers 0 to 255.
    """
    if images.shape[-1] == 3:
        return to_levels(images)
    return ops.repeat(ops.expand_dims(to_gray(images), -1), 3, axis=-1)


def to_levels(images):
    """Levels 0 to 255 of every channel; the range is judged as in `to_gray`.

    Args:
        images: As for `to_gray`.

    Returns:
        A float32 tensor of the same shape, of integers.
    """
    dtype = keras.backend.standardize_dtype(images.dtype)
    images = ops.cast(images, "float32")
    if dtype == "uint8":
        return images
    low = ops.min(images, axis=(1, 2, 3), keepdims=True)
    high = ops.max(images, axis=(1, 2, 3), keepdims=True)
    has_levels = ops.logical_and(_all(images == ops.floor(images)), ops.logical_and(low >= 0.0, high <= 255.0))
    is_unit = ops.zeros_like(has_levels)
    if keras.backend.is_float_dtype(dtype):
        is_unit = ops.logical_and(low >= 0.0, high <= 1.0)
    scale = ops.where(is_unit, 255.0, ops.where(has_levels, 1.0, 255.0 / ops.where(high > low, high - low, 1.0)))
    offset = ops.where(ops.logical_or(has_levels, is_unit), 0.0, low)
    # Rounded: the unit range gives back exactly the levels it was made from.
    return ops.floor((images - offset) * scale + 0.5)


def _all(flags):
    """`ops.all` over each image, combined in halves first: XLA stores the operand of a reduction."""
    for _ in range(3):
        height = flags.shape[1]
        if height is None or height % 2:
            break
        flags = ops.logical_and(flags[:, : height // 2], flags[:, height // 2 :])
    return ops.all(flags, axis=(1, 2, 3), keepdims=True)
