"""What detectors do with images: gray levels from 0 to 255 whatever their range, and small separable filters."""

import math

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
    levels = to_levels(images)
    if is_rgb(images):
        gray = (_RED * levels[..., 0] + _GREEN * levels[..., 1] + _BLUE * levels[..., 2]) / _UNIT
    else:
        gray = ops.mean(levels, axis=-1)
    return ops.floor(gray + 0.5)


def is_rgb(images):
    """Whether images (batch, height, width, channels) have three channels; a `ValueError` if that is not known."""
    if images.shape[-1] is None:
        raise ValueError(
            "`images` must have a known number of channels: decode them with `channels=3`, or call `set_shape`. "
            f"Received: shape {tuple(images.shape)}"
        )
    return images.shape[-1] == 3


def to_rgb_levels(images):
    """Levels of three channels; images with another number of channels are converted to gray first.

    Args:
        images: As for `to_gray`.

    Returns:
        A float32 tensor (batch, height, width, 3) of integers 0 to 255.
    """
    if is_rgb(images):
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


def blur(images, kernel):
    """Filter rows and columns with the same odd, symmetric kernel, padding by reflection.

    Args:
        images: Float tensor (batch, height, width, ...).
        kernel: The weights along one axis.

    Returns:
        A tensor of the same shape.
    """
    return separable(images, kernel, reflect_pad)


def separable(images, kernel, pad):
    """`blur` with another padding: `pad(images, radius, axis)`."""
    for axis in (1, 2):
        images = convolve(pad(images, len(kernel) // 2, axis), kernel, axis)
    return images


def edge_pad(images, radius, axis):
    """Pad both ends of an axis by repeating the edge pixel; the arguments are those of `reflect_pad`."""
    length = ops.shape(images)[axis]
    first, last = _slice(images, 0, 1, axis), _slice(images, length - 1, 1, axis)
    return ops.concatenate([*[first] * radius, images, *[last] * radius], axis=axis)


def reflect_pad(images, radius, axis):
    """Pad both ends of an axis by reflection, without repeating the edge pixel.

    Args:
        images: Tensor (batch, height, width, ...).
        radius: Number of pixels at each end.
        axis: 1 or 2.

    Returns:
        A tensor that is `2 * radius` longer along the axis.
    """
    length = images.shape[axis]
    if length is None:
        length = ops.shape(images)[axis]
        period = ops.maximum(2 * (length - 1), 1)
        index = ops.mod(ops.arange(-radius, length + radius, dtype="int32"), period)
        return ops.take(images, ops.minimum(index, period - index), axis=axis)
    # Slices where the length is static: XLA compiles them to a copy, and an index to a slow gather.
    period = max(2 * (length - 1), 1)
    padding = [index % period for index in (*range(-radius, 0), *range(length, length + radius))]
    edges = [_slice(images, min(index, period - index), 1, axis) for index in padding]
    return ops.concatenate([*edges[:radius], images, *edges[radius:]], axis=axis)


def convolve(images, kernel, axis):
    """Filter one axis wherever the whole kernel fits: the result is `len(kernel) - 1` shorter."""
    length = ops.shape(images)[axis] - (len(kernel) - 1)
    return sum(weight * _slice(images, offset, length, axis) for offset, weight in enumerate(kernel))


def gaussian(length, sigma):
    """The weights of a Gaussian along one axis, with a sum of 1."""
    # A tiny sigma has the square 0.
    variance = max(sigma**2, 1e-300)
    weights = [math.exp(-((index - length // 2) ** 2) / (2 * variance)) for index in range(length)]
    return [weight / sum(weights) for weight in weights]


def _slice(images, start, length, axis):
    index = [slice(None)] * len(images.shape)
    index[axis] = slice(start, start + length)
    return images[tuple(index)]
