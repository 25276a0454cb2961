"""Who is mixed with whom: one partner for each row, as int32 (batch,)."""

from keras import ops

from keras_mma import sampling
from keras_mma.backend import compiled, row_groups


def shuffle(size, seed):
    """A random permutation of the rows."""
    return sampling.partners(size, seed)


def roll(size):
    """The row before, and the last for the first: no permutation to draw. Within each device's group of rows."""
    rows = size // row_groups(size)
    index = ops.arange(size, dtype="int32")
    return index // rows * rows + ops.mod(index + (rows - 1), rows)


def farthest(maps, seed):
    """One cycle through the batch, or through each device's group of rows, from each row to the farthest that is left.

    Args:
        maps: Non-negative float32 tensor (batch, height, width, 1).
        seed: A seed generator; it draws where each cycle begins.

    Returns:
        Int32 tensor (batch,).
    """
    size = ops.shape(maps)[0]
    groups = row_groups(size)
    rows = size // groups
    start = ops.cast(sampling.uniform((groups,), seed, maxval=1.0) * ops.cast(rows, "float32"), "int32")
    start = ops.minimum(start, rows - 1)
    return _farthest(maps, start, groups)


@compiled
def _farthest(maps, start, groups):
    size, height, width = ops.shape(maps)[:3]
    rows = size // groups
    cycles = farthest_cycles(distances(ops.reshape(maps, (groups, rows, height * width))), start)
    return ops.reshape(cycles + rows * ops.arange(groups, dtype="int32")[:, None], (size,))


def distances(maps):
    """Squared distances between maps that are scaled to a sum of 1.

    Args:
        maps: Non-negative float32 tensor (groups, rows, pixels).

    Returns:
        A float32 tensor (groups, rows, rows).
    """
    total = ops.sum(maps, axis=2, keepdims=True)
    maps = maps / ops.where(total > 0.0, total, 1.0)
    squares = ops.sum(ops.square(maps), axis=2)
    products = ops.matmul(maps, ops.transpose(maps, (0, 2, 1)))
    return squares[:, :, None] + squares[:, None, :] - 2.0 * products


def farthest_cycles(distance, start):
    """One cycle through the rows of each group that goes from each row to the farthest that is left.

    Args:
        distance: Float32 tensor (groups, rows, rows).
        start: Int32 tensor (groups,), the row where the cycle begins and ends.

    Returns:
        Int32 tensor (groups, rows): the next row of the cycle for each.

    References:
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612: greedy pairing, written from its description.
    """
    size = ops.shape(distance)[1]
    rows = ops.arange(size, dtype="int32")[None, :]

    def step(_, state):
        partner, is_left, current = state
        # Distances are not negative, up to rounding: below them all lie the rows that are used up.
        from_current = ops.squeeze(ops.take_along_axis(distance, current[:, None, None], axis=1), 1)
        following = ops.cast(ops.argmax(ops.where(is_left, from_current, -1.0), axis=1), "int32")
        partner = ops.where(rows == current[:, None], following[:, None], partner)
        return partner, ops.logical_and(is_left, rows != following[:, None]), following

    start = ops.cast(start, "int32")
    unused = rows + ops.zeros_like(start)[:, None]
    partner, _, last = ops.fori_loop(0, size - 1, step, (unused, rows != start[:, None], start))
    return ops.where(rows == last[:, None], start[:, None], partner)
