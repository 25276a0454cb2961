"""The few things that differ between backends and have no `keras.ops` name."""

import contextlib

import keras


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


def is_compiled_for_processor():
    """Whether what is traced now will run compiled, on a processor and not on an accelerator."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices()
        return tf.inside_function() and all(device.device_type == "CPU" for device in devices)
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


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
