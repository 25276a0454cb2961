"""Small separable filters, mirrored at the border without repeating it."""

from keras import ops


def blur(images, kernel):
    """Filter the rows and the columns by the same odd, symmetric kernel.

    Args:
        images: Float tensor (batch, height, width, ...).
        kernel: The weights of one axis.

    Returns:
        A tensor of the same shape.
    """
    for axis in (1, 2):
        images = _filter(images, kernel, axis)
    return images


def _filter(images, kernel, axis):
    radius = len(kernel) // 2
    length = ops.shape(images)[axis]
    if images.shape[axis] is not None and images.shape[axis] <= radius:
        # Too short to mirror: the border is repeated.
        index = ops.clip(ops.arange(-radius, length + radius, dtype="int32"), 0, length - 1)
    else:
        index = ops.abs(ops.arange(-radius, length + radius, dtype="int32"))
        index = (length - 1) - ops.abs((length - 1) - index)
    padded = ops.take(images, index, axis=axis)
    return sum(weight * _slice(padded, offset, length, axis) for offset, weight in enumerate(kernel))


def _slice(images, start, length, axis):
    index = [slice(None)] * len(images.shape)
    index[axis] = slice(start, start + length)
    return images[tuple(index)]
