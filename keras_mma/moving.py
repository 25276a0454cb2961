"""The `source` of images that are moved or shrunk: the index of the pixel that each place of an image shows.

All functions in this module are pure.
"""

from keras import ops


def rearrange(images, source, data_format="channels_last"):
    """Replace the pixels of each image by others of its pixels.

    Args:
        images: Tensor (batch, height, width, channels), or channels first.
        source: Pair of int32 tensors (batch, height) and (batch, width): the index of the row and of the column that
            each place gets. Or an int32 tensor (batch, height, width): the index of the pixel that each place gets, in
            row-major order.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    if not isinstance(source, tuple):
        return _take_pixels(images, source, data_format)
    row_axis = 1 if data_format == "channels_last" else 2
    for axis, index in enumerate(source, row_axis):
        shape = [1, 1, 1, 1]
        shape[0], shape[axis] = -1, ops.shape(images)[axis]
        images = ops.take_along_axis(images, ops.reshape(index, shape), axis=axis)
    return images


def _take_pixels(images, source, data_format):
    shape, source = ops.shape(images), ops.reshape(source, (ops.shape(source)[0], -1))
    if data_format == "channels_last":
        flat = ops.reshape(images, (shape[0], -1, shape[3]))
        return ops.reshape(ops.take_along_axis(flat, source[:, :, None], axis=1), shape)
    flat = ops.reshape(images, (*shape[:2], -1))
    return ops.reshape(ops.take_along_axis(flat, source[:, None], axis=2), shape)


def in_place(height, width):
    """The `source` of images that are not moved, an int32 tensor (1, height, width)."""
    return ops.reshape(ops.arange(height * width, dtype="int32"), (1, height, width))


def rolled(shift, size):
    """The `source` of an axis that is rolled by a number of places per sample.

    Args:
        shift: Int32 tensor (batch,).
        size: Length of the axis.
    """
    return ops.mod(ops.arange(size, dtype="int32")[None, :] - ops.cast(shift, "int32")[:, None], size)


def shrunk(start, length, size):
    """The `source` of an axis that is shrunk as a whole to an interval per sample.

    Args:
        start, length: Float32 tensors (batch,) of integers.
        size: Length of the axis.

    Returns:
        Int32 tensor (batch, size): the nearest position of the source for each position inside the interval.
    """
    index = ops.arange(size, dtype="float32")[None, :]
    position = (index - start[:, None] + 0.5) * ops.cast(size, "float32") / length[:, None]
    return ops.clip(ops.cast(ops.floor(position), "int32"), 0, size - 1)
