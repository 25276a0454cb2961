"""Resizing as two small matrix products, one over rows and one over columns.

It is exact for any pair of sizes, differentiable, and compiles under XLA (`ops.image.resize` has no area method, and
its antialiasing has no XLA kernel).
"""

from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["resize"]

METHODS = ("area", "nearest", "bilinear")
# Above the rounding errors of a mean of a mask, below any share that matters.
_ROUNDING = 1e-6


def resize(maps: Any, height: Any, width: Any, method: str = "area") -> Any:
    """Resize maps, such as masks and saliency.

    Args:
        maps: Float tensor (batch, source height, source width, channels).
        height, width: Target size in pixels.
        method: `"area"` (mean of the source pixels under each target pixel), `"nearest"` or `"bilinear"`.

    Returns:
        A tensor (batch, height, width, channels) of the same dtype.

    Raises:
        ValueError: If the maps are not floats: the weights of the pixels are fractions.

    Example:

    >>> maps = np.arange(4.0).reshape(1, 2, 2, 1)
    >>> keras.ops.convert_to_numpy(keras_mma.resampling.resize(maps, 1, 4))[0, :, :, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """
    dtype = keras.backend.standardize_dtype(maps.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(f"`maps` must be floats: cast them before. Received: maps of dtype {dtype}")
    source_height, source_width = ops.shape(maps)[1:3]
    if _is_static(source_height, source_width, height, width) and (source_height, source_width) == (
        height,
        width,
    ):
        return maps
    rows = ops.cast(resize_matrix(source_height, height, method), maps.dtype)
    columns = ops.cast(resize_matrix(source_width, width, method), maps.dtype)
    if maps.shape[-1] == 1:
        resized = ops.matmul(rows, ops.squeeze(maps, -1))
        return ops.expand_dims(ops.matmul(resized, ops.transpose(columns)), -1)
    return ops.einsum("ih,bhwc,jw->bijc", rows, maps, columns)


def resize_mask(mask, height, width):
    """A mask at another size, with the same mean, up to rounding.

    Args:
        mask: Float32 tensor (batch, source height, source width, 1) in [0, 1].
        height, width: Target size in pixels.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1]. Where the mask is 0 or 1 in the whole area of a pixel, so
        is the result, exactly.
    """
    resized = resize(mask, height, width, "area")
    if resized is mask:
        return mask
    # The sums of the weights of a pixel are 1 up to rounding.
    return ops.where(resized < _ROUNDING, 0.0, ops.where(resized > 1.0 - _ROUNDING, 1.0, resized))


def resize_matrix(source, target, method):
    """The (target, source) matrix that resizes one axis."""
    # Static sizes give a constant, computed in double precision.
    xp, dtype = (np, "float64") if _is_static(source, target) else (ops, "float32")
    source_index = xp.arange(source, dtype=dtype)[None, :]
    target_index = xp.arange(target, dtype=dtype)[:, None]
    scale = _as_float(source) / _as_float(target)
    if method == "area":
        # Target pixel i covers [i, i + 1) * scale of the source; the weight is the share of that in source pixel j.
        start, end = target_index * scale, (target_index + 1) * scale
        overlap = xp.minimum(end, source_index + 1) - xp.maximum(start, source_index)
        return xp.maximum(overlap, 0.0) / scale
    center = (target_index + 0.5) * scale
    if method == "nearest":
        return ops.cast(xp.equal(xp.floor(center), source_index), "float32")
    if method == "bilinear":
        # Half-pixel centers; the edge is repeated beyond the outermost centers.
        position = xp.minimum(xp.maximum(center - 0.5, 0.0), _as_float(source) - 1.0)
        return xp.maximum(1.0 - xp.abs(position - source_index), 0.0)
    raise ValueError(f"`method` must be one of {METHODS}. Received: method={method!r}")


def _is_static(*sizes):
    return all(isinstance(size, int) for size in sizes)


def _as_float(size):
    return float(size) if _is_static(size) else ops.cast(size, "float32")
