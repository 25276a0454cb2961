"""Random draws that work under XLA, on every backend and on every replica."""

import contextlib
import contextvars
import itertools
import math
import multiprocessing
import os
import threading
import time
import zlib
from typing import Any

import keras
from keras import ops

from keras_mma.backend import replica_id

__all__ = ["bernoulli", "beta", "normal", "uniform"]

_IS_EAGER = keras.backend.backend() == "torch"

# Any large odd numbers: they keep the streams of neighboring replicas and consecutive draws far apart.
_REPLICA_STRIDE = 0x1E3779B1
_DRAW_STRIDE = 0x5851F42D
_STEP_STRIDE = 0x2545F491

_BRANCH_SEEDS = contextvars.ContextVar("branch_seeds", default=None)


class SeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose draws differ between replicas, between worker processes and between threads.

    Every replica of a `tf.distribute` strategy keeps a copy of the same state, so the stock generator returns the same
    seed on all of them. So do processes that inherit the generator, such as the workers of a torch `DataLoader`, and
    threads that read the state before one of them has advanced it.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(seed, **kwargs)
        self._process, self._locks = os.getpid(), {}

    @property
    def lock(self):
        """What a thread holds while it draws. Each process has its own: that of a parent may be held in the fork."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def next(self, ordered=True):
        with self.lock:
            seed = super().next(ordered)
        if _IS_EAGER:  # PyTorch's backend adds both numbers, so that the draws of a seed would be those of the next one
            step = ops.cast(seed[1], "int64") * _STEP_STRIDE % 2**31
            return ops.stack([seed[0], ops.cast(step, seed.dtype)])
        replica = replica_id()
        if isinstance(replica, int) and replica == 0:
            return seed
        offset = ops.stack([ops.cast(replica, seed.dtype) * _REPLICA_STRIDE, ops.zeros((), seed.dtype)])
        return seed + offset

    def enter_process(self):
        """Continue with other draws if this process is a fork of the one that made the generator.

        Raises:
            RuntimeError: On the TensorFlow and JAX backends, whose operations hang after a fork.
        """
        if os.getpid() == self._process:
            return
        if keras.backend.backend() != "torch":
            raise RuntimeError(
                "Mixing must not take place in a forked worker process, where the operations of the "
                f"{keras.backend.backend()} backend hang: mix the batches that leave the workers, or put the mixer "
                f"into the model. Received: a mixer of process {self._process} in its fork {os.getpid()}"
            )
        with self.lock:
            if os.getpid() != self._process:
                self.fold_worker()

    def fold_worker(self):
        """Move the state to a part of the stream that belongs to this process alone.

        The number that `multiprocessing` gives to a worker is repeatable. Without a seed, nothing has to be: the
        process and the time are folded in too.
        """
        # Counted over the whole life of the parent, so that new workers in the next epoch draw other numbers. There is
        # no public name for it except as a part of the process' name, which a user can change.
        parts = list(multiprocessing.current_process()._identity)
        if self._initial_seed is None:
            parts += [os.getpid(), time.time_ns()]
        if parts:
            offset = zlib.crc32(repr(parts).encode()) >> 1
            self.state.assign(self.state + ops.convert_to_tensor([offset, 0], self.state.dtype))
        self._process = os.getpid()  # last: other threads of this process wait for it


class SeededLayer(keras.layers.Layer):
    """A layer with a seed generator whose state is saved and differs between worker processes.

    Args:
        seed: Int, or `None`.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def __call__(self, *args, **kwargs):
        self.seed_generator.enter_process()
        return super().__call__(*args, **kwargs)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    # Keras does not save seed states; without them, a resumed training would repeat its draws.
    def save_own_variables(self, store):
        super().save_own_variables(store)  # variables of the layer of a user
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        # A file of the network without its mixer has none.
        if "seed_state" in store:
            self.seed_generator.state.assign(store["seed_state"][...])
        names = set(store.keys()) - {"seed_state"}
        others = {name: store[name] for name in names}
        if others:
            super().load_own_variables(others)

    def __reduce__(self):
        load, arguments = super().__reduce__()
        return _unpickle, (os.getpid(), load, *arguments)


def _unpickle(process, load, *arguments):
    """Load a pickled layer; in a worker process that received it from another one, it continues with other draws."""
    layer = load(*arguments)
    if process != os.getpid():
        layer.seed_generator.fold_worker()
    return layer


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


def uniform(shape: tuple, seed: Any, minval: float = 0.0, maxval: float = 1.0) -> Any:
    """Draw from the uniform distribution on [minval, maxval).

    Args:
        shape: Shape of the result.
        seed: The `seed_generator` of a layer, or an int.
        minval, maxval: Bounds of the distribution.

    Returns:
        A float32 tensor.
    """
    seed = _BRANCH_SEEDS.get() or seed
    return keras.random.uniform(shape, minval=minval, maxval=maxval, dtype="float32", seed=seed)


def normal(shape: tuple, seed: Any) -> Any:
    """Draw from the standard normal distribution.

    Args:
        shape: Shape of the result.
        seed: The `seed_generator` of a layer, or an int.

    Returns:
        A float32 tensor.
    """
    return keras.random.normal(shape, dtype="float32", seed=_BRANCH_SEEDS.get() or seed)


def choice(values, weights, seed, shape=()):
    """Draw from several integers.

    Args:
        values: Tuple of integers.
        weights: Their relative frequencies, or `None` if they are equal.
        seed: A `SeedGenerator`.
        shape: Shape of the result.

    Returns:
        An int32 tensor of that shape, or the integer itself if there is only one. Nothing is drawn then.
    """
    if len(values) == 1:
        return values[0]
    bounds = list(itertools.accumulate(weights or [1.0] * len(values)))
    number = uniform(shape, seed, maxval=float(bounds[-1]))
    index = sum(ops.cast(number >= bound, "int32") for bound in bounds[:-1])
    return ops.take(ops.convert_to_tensor(values, "int32"), index, axis=0)


def bernoulli(shape: tuple, probability: Any, seed: Any) -> Any:
    """Draw booleans that are true with the given probability.

    Args:
        shape: Shape of the result.
        probability: Float or float scalar tensor.
        seed: The `seed_generator` of a layer. If `probability` is a tensor of 1, its state does not change.

    Returns:
        A boolean tensor.
    """
    if isinstance(probability, float) or _BRANCH_SEEDS.get() is not None:
        return uniform(shape, seed) < probability
    with seed.lock:
        before = seed.state.value * 1  # a copy
        numbers = uniform(shape, seed)
        seed.state.assign(ops.where(probability < 1.0, seed.state.value, before))
    return numbers < probability


def beta(shape: tuple, alpha: Any, seed: Any) -> Any:
    """Draw from the symmetric Beta(alpha, alpha) distribution.

    `keras.random.beta` has no XLA kernel under TensorFlow. For equal parameters, Bailey's polar method is exact and
    needs two uniform numbers U, V:

        X = 1/2 + 1/2 sign(c) / sqrt(1 + 1/w),   c = cos(2 pi V),   w = (U^(-1/alpha) - 1) c^2

    Args:
        shape: Shape of the result.
        alpha: Positive float or float scalar tensor.
        seed: The `seed_generator` of a layer, or an int.

    Returns:
        A float32 tensor in [0, 1].

    Example:

    >>> lam = keras_mma.sampling.beta((4,), 0.2, seed=1)
    >>> tuple(lam.shape), bool(keras.ops.all((0 <= lam) & (lam <= 1)))
    ((4,), True)

    References:
        - R. W. Bailey, Polar generation of random variates with the t-distribution, Math. Comp. 62 (1994).
    """
    if isinstance(seed, int):
        seed = SeedGenerator(seed)  # U and V must differ
    # One draw for both. U = 0 would give 0 * inf below.
    u, v = ops.unstack(uniform((2, *shape), seed, minval=1e-30), 2)
    cosine = ops.cos(2.0 * math.pi * v)
    w = ops.expm1(-ops.log(u) / alpha) * ops.square(cosine)
    return 0.5 + 0.5 * ops.sign(cosine) * ops.rsqrt(1.0 + 1.0 / w)


class AdjustableNumber(object if _IS_EAGER else keras.random.SeedGenerator):
    """A number that compiled training steps read when they run, so that it can change without another compilation.

    Keras passes the states of seed generators through compiled steps, but neither counts nor saves them as weights,
    which is what such a number needs: it is part of the config. PyTorch compiles nothing; the number itself is enough.

    Args:
        number: Float.
        name: Name of the variable.
    """

    def __init__(self, number, name):
        self.name = name
        self.number = number
        if not _IS_EAGER:
            with keras.name_scope(name):
                self.state = keras.Variable(
                    number, dtype="float32", trainable=False, autocast=False, aggregation="none", name=name
                )

    def change(self, number):
        """Set the number, also for steps that are already compiled."""
        self.number = number
        if not _IS_EAGER:
            self.state.assign(number)

    def read(self):
        """The number as a step uses it: a float32 scalar tensor, or a float on PyTorch."""
        return self.number if _IS_EAGER else self.state.value
