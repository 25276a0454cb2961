"""The few things that differ between backends and have no `keras.ops` name."""

import contextlib
import contextvars
import functools

import keras
import numpy as np

#: Smallest image (in pixels) for which compiling the mixing with XLA pays off inside a model.
MIN_PIXELS_FOR_XLA = 64 * 64

_XLA_IS_DISABLED = contextvars.ContextVar("xla_is_disabled", default=False)


def replica_id():
    """The index of this replica under `tf.distribute`, and 0 wherever there is only one.

    Returns:
        A Python int, or a scalar int32 tensor inside a replica of a multi-replica strategy.
    """
    if keras.backend.backend() != "tensorflow":
        # JAX draws once for the whole sharded batch: there is a single stream of random numbers.
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    return context.replica_id_in_sync_group


def device_groups(batch_size):
    """The number of equal groups of consecutive samples that lie on different devices and are mixed separately.

    Under `tf.distribute`, each replica sees its own batch. JAX sees a single batch, sharded over the devices of
    `keras.distribution`: if it were mixed as a whole, most of it would travel between devices in every step.

    Args:
        batch_size: Number of samples in the batch, or `None`.

    Returns:
        A Python int, 1 if the batch lies on one device or cannot be split evenly.
    """
    if keras.backend.backend() != "jax":
        return 1
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.batch_dim_name is None:
        return 1
    mesh = distribution.device_mesh
    groups = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    return groups if isinstance(batch_size, int) and batch_size % groups == 0 else 1


def known_shape(tensor):
    """The static shape of a tensor as a tuple, or `None` where a TensorFlow graph does not know the rank."""
    shape = tensor.shape
    return None if getattr(shape, "rank", 0) is None else tuple(shape)


def known_values(tensor):
    """The values of a tensor as a NumPy array, or `None` while a graph is being traced or the values are not here."""
    backend = keras.backend.backend()
    if isinstance(tensor, keras.KerasTensor) or not hasattr(tensor, "shape"):
        return None
    module = type(tensor).__module__.partition(".")[0]
    if module == "tensorflow" and not hasattr(tensor, "numpy"):
        return None
    if backend == "jax":
        import jax

        is_traced = isinstance(tensor, jax.core.Tracer)
        if is_traced or (isinstance(tensor, jax.Array) and not tensor.is_fully_addressable):
            return None
    if backend == "torch":
        import torch

        if torch.is_tensor(tensor) and (tensor.is_meta or torch.compiler.is_compiling()):
            return None
    return keras.ops.convert_to_numpy(tensor) if keras.ops.is_tensor(tensor) else np.asarray(tensor)


def refuse_wide_integers(*values):
    """Raise a `ValueError` for NumPy integers that JAX would silently wrap around to 32 bits."""
    if keras.backend.backend() != "jax":
        return
    for leaf in keras.tree.flatten(values):
        is_wide = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iu" and leaf.dtype.itemsize == 8
        if is_wide and leaf.size and not -(2**31) <= leaf.min() <= leaf.max() < 2**31:
            value = leaf.max() if leaf.max() >= 2**31 else leaf.min()
            raise ValueError(f"Integers must fit into 32 bits on the jax backend. Received: the value {value}")


def has_foreign_symbols(*values):
    """Whether the values contain symbolic TensorFlow tensors on another backend, which cannot read them."""
    if keras.backend.backend() == "tensorflow":
        return False
    leaves = keras.tree.flatten(values)
    return any(type(leaf).__module__.startswith("tensorflow.") and not hasattr(leaf, "numpy") for leaf in leaves)


def is_compiled_for_cpu():
    """Whether the code being traced will run in a graph on a CPU, on a machine without an accelerator."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices()
        return tf.inside_function() and all(device.device_type == "CPU" for device in devices)
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


def xla_compiled(function):
    """Compile a pure function of tensors with XLA where TensorFlow would run its operations one by one on a CPU.

    This applies to `Dataset.map` and to models that are not compiled by XLA as a whole, on a machine without an
    accelerator. TensorFlow writes whole batches to main memory between its kernels; XLA fuses the kernels. All
    dimensions except the first of each tensor must be static, so that each image size is compiled once; each batch
    size is compiled once too. The first compiled function loads XLA's compiler (about 0.1 GiB); see `without_xla`.

    Args:
        function: A function from tensors, structures of tensors and Python values to tensors. The compiled function
            returns the same values, up to rounding.

    Returns:
        A function with the same arguments.
    """

    @functools.cache
    def with_xla():
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args, **kwargs):
        if _XLA_IS_DISABLED.get() or keras.backend.backend() != "tensorflow" or not is_compiled_for_cpu():
            return function(*args, **kwargs)
        leaves = keras.tree.flatten((args, kwargs))
        is_static = all(None not in leaf.shape[1:] for leaf in leaves if getattr(leaf, "shape", None) is not None)
        return with_xla()(*args, **kwargs) if is_static else function(*args, **kwargs)

    return run


@contextlib.contextmanager
def without_xla():
    """A context in which `xla_compiled` functions are not compiled, because compiling them would not pay off."""
    token = _XLA_IS_DISABLED.set(True)
    try:
        yield
    finally:
        _XLA_IS_DISABLED.reset(token)


def xla_if_it_pays_off(is_labeled, height, width):
    """A context for mixing images in which `xla_compiled` functions are compiled only if that pays off at their size.

    Labeled batches come from pipelines, where XLA pays off for every image size.
    """
    is_small = isinstance(height, int) and isinstance(width, int) and height * width < MIN_PIXELS_FOR_XLA
    return without_xla() if is_small and not is_labeled else contextlib.nullcontext()


@contextlib.contextmanager
def stateless_call(model):
    """A context for calling a model outside the training step: its losses and state updates are discarded."""
    is_jax = keras.backend.backend() == "jax"
    # Keras' JAX trainer already runs in a scope that holds the traced weights, which another scope would hide. It also
    # calls layers without the model, so that each forgets the losses of its previous call.
    weights = [(weight, weight.value) for weight in model.variables] if is_jax else []
    losses = [(layer, set(layer._loss_ids)) for layer in model._flatten_layers()] if is_jax else []
    with keras.StatelessScope(weights, collect_losses=False):
        yield
    for layer, before in losses:
        layer._loss_ids.update(before)


def compiled_once(method):
    """Compile a method of a mixer where JAX would compile each of its operations, for each new shape.

    Args:
        method: A method that takes and returns a dict of tensors, of a layer that says by `is_pure` whether it consists
            of tensor operations alone.

    Returns:
        A method with the same results, up to rounding. It is compiled again for other shapes and other arguments of the
        layer.
    """

    @functools.wraps(method)
    def run(layer, batch):
        is_distributed = keras.distribution.distribution() is not None
        if keras.backend.backend() != "jax" or not layer.is_pure or is_distributed:
            return method(layer, batch)
        import jax

        if any(isinstance(leaf, jax.core.Tracer) for leaf in keras.tree.flatten(batch)):
            return method(layer, batch)
        variables = layer.non_trainable_variables
        with layer.seed_generator.lock:  # so that no other thread draws from the same state
            values, results = _jitted(layer, method)([variable.value for variable in variables], batch)
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return results

    return run


def _jitted(layer, method):
    """The compiled method of a layer with the arguments that it has now."""
    import jax

    def pure(values, batch):
        variables = layer.non_trainable_variables
        with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
            results = method(layer, batch)
        return [scope.get_current_value(variable) for variable in variables], results

    arguments = [
        (name, value)
        for inner in layer._flatten_layers()
        for name, value in vars(inner).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str, tuple, type(None)))
    ]
    compiled = vars(layer).setdefault("_compiled", {})
    return compiled.setdefault(str(arguments), jax.jit(pure))


def scaled(x, factor):
    """`factor * x`, for a factor without gradient that broadcasts to `x`.

    A branch of a TensorFlow graph keeps `x` until the backward pass for the gradient of the factor, which nobody needs.
    """
    factor = keras.ops.stop_gradient(factor)
    if keras.backend.backend() != "tensorflow":
        return factor * x
    import tensorflow as tf

    if not tf.inside_function():
        return factor * x
    with tf.compat.v1.get_default_graph().gradient_override_map({"Mul": _gradient_of_scaled()}):
        return factor * x


@functools.cache
def _gradient_of_scaled():
    """The name under which TensorFlow finds the gradient of `scaled`."""
    import tensorflow as tf

    name = "KerasMmaScaled"
    tf.RegisterGradient(name)(lambda op, upstream: (None, upstream * op.inputs[0]))
    return name


class MultiWorkerTraining:
    """A mixin, placed before `keras.Model`, that makes `fit` and `evaluate` work on several TensorFlow workers.

    Keras 3 builds models and reports results as if all replicas were in one process, and `fit` fails on several workers
    (keras-team/keras#20585). Without a strategy, the overrides do nothing. `_maybe_symbolic_build` is private: there is
    no public hook between the first batch and the building of the metrics.
    """

    if keras.backend.backend() == "tensorflow":

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            if iterator is not None and self._distribute_strategy is not None:
                # The trainer would average the batch over the replicas, which fails for replicas of other processes and
                # converts integer labels to floats. The part of any replica has the right shapes and dtypes.
                _, _, batches = next(iter(iterator))
                local = self.distribute_strategy.experimental_local_results
                iterator, data_batch = None, keras.tree.map_structure(lambda x: local(x)[0], next(batches))
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

        def train_step(self, *args, **kwargs):
            return self._with_batch_axis(super().train_step(*args, **kwargs))

        def test_step(self, *args, **kwargs):
            return self._with_batch_axis(super().test_step(*args, **kwargs))

        def _with_batch_axis(self, logs):
            """The trainer averages the logs of several workers over a first axis, which scalars do not have."""
            if not _is_multi_worker(self.distribute_strategy):
                return logs
            return keras.tree.map_structure(lambda value: keras.ops.expand_dims(value, 0), logs)


def _is_multi_worker(strategy):
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()
