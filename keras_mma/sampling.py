"""Random draws that work under XLA, on every backend and on every replica."""

import contextlib
import contextvars
import math

import keras
from keras import ops

from keras_mma.backend import replica_id

# Any large odd numbers: they keep the streams of neighbouring replicas and consecutive draws far apart.
_REPLICA_STRIDE = 0x1E3779B1
_DRAW_STRIDE = 0x5851F42D

_BRANCH_SEEDS = contextvars.ContextVar("branch_seeds", default=None)


class SeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose draws differ between the replicas of a `tf.distribute` strategy.

    Every replica keeps a copy of the same state, so the stock generator returns the same seed on all of them.
    """

    def next(self, ordered=True):
        seed = super().next(ordered)
        replica = replica_id()
        if isinstance(replica, int) and replica == 0:
            return seed
        offset = ops.stack([ops.cast(replica, seed.dtype) * _REPLICA_STRIDE, ops.zeros((), seed.dtype)])
        return seed + offset


class _BranchSeeds(keras.random.SeedGenerator):
    """Seeds derived from one seed, without a state."""

    def __init__(self, seed):
        self._seed, self._count = seed, 0

    def next(self, ordered=True):
        self._count += 1
        offset = ops.convert_to_tensor([0, self._count * _DRAW_STRIDE % 2**31], self._seed.dtype)
        return self._seed + offset


@contextlib.contextmanager
def branch(seed):
    """A context in which all draws derive from one seed, whatever generator they are given.

    A branch of `ops.cond` or `ops.switch` must not update the state of a generator.

    Args:
        seed: What `SeedGenerator.next()` returned outside the branch.
    """
    token = _BRANCH_SEEDS.set(_BranchSeeds(seed))
    try:
        yield
    finally:
        _BRANCH_SEEDS.reset(token)


def uniform(shape, seed, minval=0.0, maxval=1.0):
    """Uniform float32 numbers in [minval, maxval)."""
    seed = _BRANCH_SEEDS.get() or seed
    return keras.random.uniform(shape, minval=minval, maxval=maxval, dtype="float32", seed=seed)


def bernoulli(shape, probability, seed):
    """Booleans that are true with the given probability."""
    return uniform(shape, seed) < probability


def beta(shape, alpha, seed):
    """Draw from the symmetric Beta(alpha, alpha) distribution.

    `keras.random.beta` has no XLA kernel under TensorFlow. For equal parameters, Bailey's polar method is exact and
    needs two uniform numbers U, V:

        X = 1/2 + 1/2 sign(c) / sqrt(1 + 1/w),   c = cos(2 pi V),   w = (U^(-1/alpha) - 1) c^2

    Args:
        shape: Shape of the result.
        alpha: Positive float.
        seed: A `SeedGenerator`, or an int.

    Returns:
        A float32 tensor in [0, 1].

    References:
        - R. W. Bailey, Polar generation of random variates with the t-distribution, Math. Comp. 62 (1994).
    """
    if isinstance(seed, int):
        seed = SeedGenerator(seed)  # U and V must differ
    # One draw for both. U = 0 would give 0 * inf below.
    uniforms = uniform((2, *shape), seed, minval=1e-30)
    u, v = uniforms[0], uniforms[1]
    cosine = ops.cos(2.0 * math.pi * v)
    w = ops.expm1(-ops.log(u) / alpha) * ops.square(cosine)
    return 0.5 + 0.5 * ops.sign(cosine) * ops.rsqrt(1.0 + 1.0 / w)
