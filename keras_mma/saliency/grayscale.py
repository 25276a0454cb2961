"""Images of any range and any number of channels as grey levels 0 to 255."""

import keras
from keras import ops

# ITU-R BT.601 in units of 2^-15, as OpenCV converts RGB bytes to grey: whole numbers below 2^24, exact in float32.
_RED, _GREEN, _BLUE, _UNIT = 9798.0, 19235.0, 3735.0, 32768.0


def to_gray(images):
    """Integer grey levels 0 to 255, whatever the range of the images.

    Bytes (0 to 255) are taken as they are and the unit range (0 to 1) is multiplied by 255, so that both give
    the same levels; an image of any other range, a normalised one for instance, is stretched from its own
    minimum and maximum. Each image is judged by itself.

    Args:
        images: Tensor (batch, height, width, channels) of any integer or float dtype. Three channels are
            read as RGB, any other number is averaged.

    Returns:
        A float32 tensor (batch, height, width) of whole numbers.
    """
    dtype = keras.backend.standardize_dtype(images.dtype)
    images = ops.cast(images, "float32")
    if dtype != "uint8":
        images = _to_bytes(images, is_float=keras.backend.is_float_dtype(dtype))
    if images.shape[-1] == 3:
        gray = (_RED * images[..., 0] + _GREEN * images[..., 1] + _BLUE * images[..., 2]) / _UNIT
    else:
        gray = ops.mean(images, axis=-1)
    return ops.floor(gray + 0.5)


def _to_bytes(images, is_float):
    low = ops.min(images, axis=(1, 2, 3), keepdims=True)
    high = ops.max(images, axis=(1, 2, 3), keepdims=True)
    is_bytes = ops.logical_and(low >= 0.0, high <= 255.0)
    spread = ops.where(high > low, high - low, 1.0)
    scale, offset = ops.where(is_bytes, 1.0, 255.0 / spread), ops.where(is_bytes, 0.0, low)
    if is_float:
        is_unit = ops.logical_and(low >= 0.0, high <= 1.0)
        scale = ops.where(is_unit, 255.0, scale)
    # Rounded: the unit range gives back exactly the bytes it was made from.
    return ops.floor((images - offset) * scale + 0.5)
