"""Partners: for each sample, the sample that it is mixed with, as int32 (batch,).

In a batch that is sharded over devices, all policies pair samples of the same device.
"""

from keras import ops

from keras_mma import sampling
from keras_mma.backend import device_groups, xla_compiled

#: In batches with more samples than the first number, the distances are computed for as many at once as the second.
_LARGE, _BLOCK = 1024, 256


def sample(policy, batch_size, maps, seed):
    """Sample partners.

    Args:
        policy: `"shuffle"`, `"derangement"`, `"roll"` or `"distance"`.
        batch_size: Number of samples.
        maps: The saliency maps, for `"distance"`.
        seed: A seed generator.

    Returns:
        Int32 tensor (batch,).
    """
    if policy == "distance":
        return farthest(maps, seed)
    if policy == "roll":
        return roll(batch_size)
    return derangement(batch_size, seed) if policy == "derangement" else shuffle(batch_size, seed)


def shuffle(batch_size, seed):
    """A random permutation of the samples."""
    groups = device_groups(batch_size)
    if groups == 1:
        return ops.cast(ops.argsort(sampling.uniform((batch_size,), seed)), "int32")
    samples = batch_size // groups
    order = ops.cast(ops.argsort(sampling.uniform((groups, samples), seed), axis=1), "int32")
    return ops.reshape(order + samples * ops.arange(groups, dtype="int32")[:, None], (batch_size,))


def roll(batch_size):
    """The previous sample; for the first sample, the last one. Nothing is drawn."""
    samples = _at_least_one(batch_size // device_groups(batch_size))
    index = ops.arange(batch_size, dtype="int32")
    return index // samples * samples + ops.mod(index + (samples - 1), samples)


def derangement(batch_size, seed):
    """One random cycle through the samples: no sample is its own partner, unless it is alone."""
    groups = device_groups(batch_size)
    samples = batch_size // groups
    order = ops.cast(ops.argsort(sampling.uniform((groups, samples), seed), axis=1), "int32")
    # The partner of each sample is the one that comes before it in the random order.
    partner = ops.take_along_axis(ops.roll(order, 1, axis=1), ops.argsort(order, axis=1), axis=1)
    return ops.reshape(partner + samples * ops.arange(groups, dtype="int32")[:, None], (batch_size,))


def farthest(maps, seed):
    """One cycle through the batch that goes from each sample to the farthest of the remaining ones.

    Args:
        maps: Non-negative float32 tensor (batch, height, width, 1).
        seed: A seed generator, from which the start of each cycle is drawn.

    Returns:
        Int32 tensor (batch,).
    """
    batch_size, height, width = ops.shape(maps)[:3]
    groups = device_groups(batch_size)
    if not isinstance(batch_size, int) or batch_size < 1:
        # `argmax` fails for an empty batch, which a replica may get at the end of an epoch: pair a map of zeros.
        missing = ops.zeros((_at_least_one(batch_size) - batch_size, height, width, 1), "float32")
        maps = ops.concatenate([maps, missing])
    samples = _at_least_one(batch_size) // groups
    start = ops.cast(sampling.uniform((groups,), seed, maxval=1.0) * ops.cast(samples, "float32"), "int32")
    start = ops.minimum(start, samples - 1)
    return _farthest(maps, start, groups)[:batch_size]


def _at_least_one(number):
    return max(number, 1) if isinstance(number, int) else ops.maximum(number, 1)


@xla_compiled
def _farthest(maps, start, groups):
    batch_size, height, width = ops.shape(maps)[:3]
    samples = batch_size // groups
    cycles = farthest_cycles(distances(ops.reshape(maps, (groups, samples, height * width))), start)
    return ops.reshape(cycles + samples * ops.arange(groups, dtype="int32")[:, None], (batch_size,))


def distances(maps):
    """Squared distances between maps that are normalized to a sum of 1.

    The distances of n samples take 4 n^2 bytes. In large batches of known size, intermediate results are those of a
    block of samples.

    Args:
        maps: Non-negative float32 tensor (groups, samples, pixels).

    Returns:
        A float32 tensor (groups, samples, samples).
    """
    total = ops.sum(maps, axis=2, keepdims=True)
    maps = maps / ops.where(total > 0.0, total, 1.0)
    squares = ops.sum(ops.square(maps), axis=2)
    groups, samples, pixels = ops.shape(maps)
    if not isinstance(samples, int) or samples <= _LARGE:
        return _distances(maps, squares, maps, squares)

    def step(index, rows):
        # The last block overlaps the one before if the number of samples is not a multiple.
        start = ops.minimum(index * _BLOCK, samples - _BLOCK)
        block = ops.slice(maps, (0, start, 0), (groups, _BLOCK, pixels))
        block_squares = ops.slice(squares, (0, start), (groups, _BLOCK))
        return ops.slice_update(rows, (0, start, 0), _distances(block, block_squares, maps, squares))

    return ops.fori_loop(0, -(-samples // _BLOCK), step, ops.zeros((groups, samples, samples), "float32"))


def _distances(maps, squares, others, other_squares):
    """Squared distances of maps (groups, samples, pixels) to others; the squares are sums over the pixels."""
    products = ops.matmul(maps, ops.transpose(others, (0, 2, 1)))
    return squares[:, :, None] + other_squares[:, None, :] - 2.0 * products


def farthest_cycles(distance, start):
    """One cycle through each group that goes from each sample to the farthest of the remaining ones.

    Args:
        distance: Float32 tensor (groups, samples, samples).
        start: Int32 tensor (groups,), the sample where the cycle starts and ends.

    Returns:
        Int32 tensor (groups, samples): the next sample of the cycle for each sample.

    References:
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612: greedy pairing, written from its description.
    """
    size = ops.shape(distance)[1]
    samples = ops.arange(size, dtype="int32")[None, :]

    def step(_, state):
        partner, is_left, current = state
        # Distances are non-negative up to rounding, so -1 excludes the samples that are used up.
        from_current = ops.squeeze(ops.take_along_axis(distance, current[:, None, None], axis=1), 1)
        following = ops.cast(ops.argmax(ops.where(is_left, from_current, -1.0), axis=1), "int32")
        partner = ops.where(samples == current[:, None], following[:, None], partner)
        return partner, ops.logical_and(is_left, samples != following[:, None]), following

    start = ops.cast(start, "int32")
    unused = samples + ops.zeros_like(start)[:, None]
    partner, _, last = ops.fori_loop(0, size - 1, step, (unused, samples != start[:, None], start))
    return ops.where(samples == last[:, None], start[:, None], partner)
