"""The few things that differ between backends and have no `keras.ops` name."""

import contextlib
import contextvars
import functools

import keras

_IS_LEFT_ALONE = contextvars.ContextVar("is_left_alone", default=False)


def replica_id():
    """The number of this replica under `tf.distribute`, and 0 wherever there is only one.

    Returns:
        A Python int, or a scalar int32 tensor inside a replica of a multi-replica strategy.
    """
    if keras.backend.backend() != "tensorflow":
        # JAX draws for the whole sharded batch at once: there is one stream of numbers.
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    return context.replica_id_in_sync_group


def row_groups(rows):
    """The number of equal groups of neighbouring rows that lie on devices of their own, and are mixed among themselves.

    Under `tf.distribute` each replica sees its own batch. JAX sees one batch, spread over the devices of
    `keras.distribution`: mixed as a whole, most of it would travel between them in every step.

    Args:
        rows: Number of rows in the batch, or `None`.

    Returns:
        A Python int, 1 wherever a batch is on one device or cannot be split evenly.
    """
    if keras.backend.backend() != "jax":
        return 1
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.batch_dim_name is None:
        return 1
    mesh = distribution.device_mesh
    groups = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    return groups if isinstance(rows, int) and rows % groups == 0 else 1


def is_of_another_backend(*values):
    """Whether symbolic tensors of TensorFlow are among the values, on another backend: they hold no numbers."""
    if keras.backend.backend() == "tensorflow":
        return False
    leaves = keras.tree.flatten(values)
    return any(type(leaf).__module__.startswith("tensorflow.") and not hasattr(leaf, "numpy") for leaf in leaves)


def is_compiled_for_processor():
    """Whether what is traced now will run on a processor, in a machine without an accelerator, and not eagerly."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices()
        return tf.inside_function() and all(device.device_type == "CPU" for device in devices)
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


def compiled(function):
    """Let XLA compile a pure function of tensors where TensorFlow would run a graph op by op on a processor.

    That is in the pipeline (`Dataset.map`) and in a model that is not compiled by XLA as a whole, in a machine without
    an accelerator. Between its kernels TensorFlow writes whole batches to the main memory; XLA fuses them. All sizes
    but the first of each tensor must be known, so that there is no compiling for each image; each number of rows is
    compiled once. The first such function brings XLA's compiler into the process, a tenth of a GiB; see `op_by_op`.

    Args:
        function: From tensors, structures of tensors and Python values to tensors. The same values come out, up to
            rounding.

    Returns:
        A function with the same arguments.
    """

    @functools.cache
    def with_xla():
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args, **kwargs):
        if _IS_LEFT_ALONE.get() or keras.backend.backend() != "tensorflow" or not is_compiled_for_processor():
            return function(*args, **kwargs)
        leaves = keras.tree.flatten((args, kwargs))
        is_known = all(None not in leaf.shape[1:] for leaf in leaves if getattr(leaf, "shape", None) is not None)
        return with_xla()(*args, **kwargs) if is_known else function(*args, **kwargs)

    return run


@contextlib.contextmanager
def op_by_op():
    """A context in which `compiled` functions are left to TensorFlow: where they would not pay for the compiler."""
    token = _IS_LEFT_ALONE.set(True)
    try:
        yield
    finally:
        _IS_LEFT_ALONE.reset(token)


def aside():
    """A context in which layers are called beside the training: what they add to the losses or update is dropped."""
    if keras.backend.backend() == "jax":
        # Training runs in a scope of its own there, which holds the traced weights and must not be covered.
        return contextlib.nullcontext()
    return keras.StatelessScope(collect_losses=False)


def input_gradient(function, x):
    """The gradient of a scalar function at a float tensor.

    Args:
        function: From a tensor like `x` to a scalar tensor.
        x: Float tensor.

    Returns:
        A tensor like `x`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Of an outer tape's own computation nothing is watched here but x.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            value = function(x)
        return tape.gradient(value, x)
    if backend == "jax":
        import jax

        return jax.grad(function)(x)
    if backend == "torch":
        import torch

        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(function(x), x)[0]
    raise NotImplementedError(f"Gradients need the tensorflow, jax or torch backend. Received: {backend!r}")
