"""The transport of Puzzle Mix: which block of its image each place of the grid shows, for all samples at once.

Blocks that the mask hides change places with blocks that it shows, where this keeps enough saliency. With C the squared
distance of two places of an n x n grid, divided by (n - 1)^2, s the saliency of each block as a share of the whole, and
z 1 where the mask shows the image, the permutation p is one of low cost:

    E(p) = sum_j xi C(p_j, j) - z_j s_p_j
"""

import math

import numpy as np
from keras import ops

from keras_mma.resampling import resize_matrix

#: Rounds of exchanges; and the smallest gain of an exchange, above the rounding errors.
ROUNDS = 10
_TINY = 1e-6


def assign(saliency, shown, xi):
    """The block that each place shows.

    The search starts with every block at its place. Each round finds, for each place, the place with which an exchange
    of blocks lowers the cost most, and exchanges the blocks of the pairs that are each other's best. The cost never
    rises, and the result is a permutation after any number of rounds.

    Args:
        saliency: Float32 tensor (batch, blocks), the share of each block of a square grid.
        shown: Float32 tensor (batch, blocks), 1 where the mask shows the image and 0 elsewhere.
        xi: Weight of the distance, positive.

    Returns:
        Int32 tensor (batch, blocks) of permutations.
    """
    count = saliency.shape[1]
    places = ops.arange(count, dtype="int32")
    distances = xi * _squared_distances(math.isqrt(count))

    def exchange(_, blocks):
        # The cost of each place's block (second axis) at each place (third axis).
        moved = ops.take_along_axis(saliency, blocks, axis=1)
        costs = ops.take(distances, blocks, axis=0) - moved[:, :, None] * shown[:, None, :]
        current = ops.diagonal(costs, axis1=1, axis2=2)
        gains = current[:, :, None] + current[:, None, :] - (costs + ops.transpose(costs, (0, 2, 1)))
        # Ties are broken by the lowest number, so that at least one pair agrees.
        best = ops.cast(ops.argmax(gains, axis=2), "int32")
        is_agreed = ops.logical_and(ops.take_along_axis(best, best, axis=1) == places, ops.max(gains, axis=2) > _TINY)
        return ops.where(is_agreed, ops.take_along_axis(blocks, best, axis=1), blocks)

    return ops.fori_loop(0, ROUNDS, exchange, ops.broadcast_to(places, (ops.shape(saliency)[0], count)))


def pixels(blocks, height, width):
    """The pixel of the image that each pixel shows when blocks are moved.

    Blocks of an image whose sides are not multiples of the grid's differ by one pixel. The last row or column of a
    smaller one is then repeated, and that of a larger one is left out.

    Args:
        blocks: Int32 tensor (batch, blocks), the block that each place of a square grid shows.
        height, width: Size of the images.

    Returns:
        Int32 tensor (batch, height, width), the number of the pixel in row-major order.
    """
    size = math.isqrt(blocks.shape[1])
    blocks = ops.reshape(blocks, (-1, size, size))
    (row_places, row_offset, row_start, row_count), (column_places, column_offset, column_start, column_count) = (
        _divide(length, size) for length in (height, width)
    )

    def of_pixels(values):
        return ops.take(ops.take(values, row_places, axis=1), column_places, axis=2)

    def source(axis_blocks, start, count, offset):
        last = of_pixels(ops.take(ops.maximum(count - 1, 0), axis_blocks, axis=0))
        return of_pixels(ops.take(start, axis_blocks, axis=0)) + ops.minimum(last, offset)

    rows = source(blocks // size, row_start, row_count, row_offset[:, None])
    columns = source(blocks % size, column_start, column_count, column_offset)
    return rows * width + columns


def _divide(length, size):
    """How an axis is divided into blocks, as masks are enlarged: int32 tensors.

    Returns:
        The block of each pixel and the pixel's offset in it, (length,); the first pixel of each block and the number
        of its pixels, (size,).
    """
    is_inside = resize_matrix(size, length, "nearest")
    places = ops.cast(ops.argmax(is_inside, axis=1), "int32")
    count = ops.cast(ops.sum(is_inside, axis=0), "int32")
    # A block without pixels, in a grid finer than the image, shows the nearest pixel.
    start = ops.minimum(ops.cumsum(count) - count, length - 1)
    offset = ops.arange(length, dtype="int32") - ops.take(start, places, axis=0)
    return places, offset, start, count


def _squared_distances(size):
    """The squared distances of the places of a grid, divided by that of neighboring corners, (size^2, size^2)."""
    rows, columns = np.divmod(np.arange(size**2), size)
    squared = np.subtract.outer(rows, rows) ** 2 + np.subtract.outer(columns, columns) ** 2
    return (squared / (size - 1) ** 2).astype("float32")
