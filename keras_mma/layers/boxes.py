"""Boxes: their size by a share of the label, their place, their rasterised mask."""

from keras import ops


def box_size(share, height, width):
    """Whole numbers of rows and columns of boxes that cover the share `1 - share` of an image.

    Args:
        share: Float tensor (batch,), the lambda that was drawn.
        height, width: Size of the images.

    Returns:
        Two int32 tensors (batch,): floor(height sqrt(1 - lambda)), floor(width sqrt(1 - lambda)).
    """
    side = ops.sqrt(1.0 - share)
    return (
        ops.cast(ops.floor(side * ops.cast(height, "float32")), "int32"),
        ops.cast(ops.floor(side * ops.cast(width, "float32")), "int32"),
    )


def interval(centre, length, size, border):
    """Start and end of intervals around a centre, inside [0, size).

    Args:
        centre, length: Int32 tensors (batch,).
        size: Length of the axis.
        border: `"shift"` moves an interval that crosses the border inside and keeps its length; `"clip"` cuts it
            off, and, as the published code, makes it `2 (length // 2)` long.

    Returns:
        Two int32 tensors (batch,): start (included) and end (not included).
    """
    start = centre - length // 2
    if border == "shift":
        start = ops.clip(start, 0, size - length)
        return start, start + length
    return ops.clip(start, 0, size), ops.clip(centre + length // 2, 0, size)


def mask_outside(rows, columns, height, width):
    """1 outside the boxes, 0 inside.

    Args:
        rows, columns: Pairs (start, end) of int32 tensors (batch,).
        height, width: Size of the masks.

    Returns:
        A float32 tensor (batch, height, width, 1).
    """
    is_inside = ops.logical_and(inside(rows, height)[:, :, None], inside(columns, width)[:, None, :])
    return ops.expand_dims(1.0 - ops.cast(is_inside, "float32"), -1)


def inside(bounds, size):
    """Which places of an axis lie inside intervals.

    Args:
        bounds: Pair (start, end) of int32 tensors (batch,).
        size: Length of the axis.

    Returns:
        Booleans (batch, size).
    """
    index = ops.arange(size, dtype="int32")[None, :]
    start, end = bounds
    return ops.logical_and(index >= start[:, None], index < end[:, None])
