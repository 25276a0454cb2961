"""Who is mixed with whom: one partner for each row, as int32 (batch,)."""

from keras import ops

from keras_mma import sampling


def shuffle(size, seed):
    """A random permutation of the rows."""
    return sampling.partners(size, seed)


def roll(size):
    """The row before, and the last for the first: no permutation to draw, and neighbours on sharded batches."""
    return ops.mod(ops.arange(size, dtype="int32") + (size - 1), size)


def distances(maps):
    """Squared distances between maps that are scaled to a sum of 1.

    Args:
        maps: Non-negative float32 tensor (batch, height, width, 1).

    Returns:
        A float32 tensor (batch, batch).
    """
    shape = ops.shape(maps)
    flat = ops.reshape(maps, (shape[0], shape[1] * shape[2]))
    total = ops.sum(flat, axis=1, keepdims=True)
    flat = flat / ops.where(total > 0.0, total, 1.0)
    squares = ops.sum(ops.square(flat), axis=1)
    return squares[:, None] + squares[None, :] - 2.0 * ops.matmul(flat, ops.transpose(flat))


def farthest_cycle(distance, start):
    """One cycle through the batch that goes from each row to the farthest that is left.

    Args:
        distance: Float32 tensor (batch, batch).
        start: Int32 scalar, the row where the cycle begins and ends.

    Returns:
        Int32 tensor (batch,): the next row of the cycle for each.

    References:
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612: greedy pairing, written from its description.
    """
    size = ops.shape(distance)[0]
    rows = ops.arange(size, dtype="int32")

    def step(_, state):
        partner, is_left, current = state
        # Distances are not negative, up to rounding: below them all lie the rows that are used up.
        candidates = ops.where(is_left, ops.take(distance, current, axis=0), -1.0)
        following = ops.cast(ops.argmax(candidates), "int32")
        return ops.where(rows == current, following, partner), ops.logical_and(is_left, rows != following), following

    start = ops.cast(start, "int32")
    partner, _, last = ops.fori_loop(0, size - 1, step, (rows, rows != start, start))
    return ops.where(rows == last, start, partner)
