"""Small separable filters."""

import math

from keras import ops


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
    weights = [math.exp(-((index - length // 2) ** 2) / (2 * sigma**2)) for index in range(length)]
    return [weight / sum(weights) for weight in weights]


def _slice(images, start, length, axis):
    index = [slice(None)] * len(images.shape)
    index[axis] = slice(start, start + length)
    return images[tuple(index)]
