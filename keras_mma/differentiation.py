"""Gradients with respect to a tensor, which each backend computes in its own way."""


def vjp(function, x, backend=None):
    """The value of a function and its vector-Jacobian product.

    Args:
        function: A function from a tensor like `x` to a tensor.
        x: Float tensor.
        backend: `"tensorflow"`, `"jax"` or `"torch"`; Keras' backend by default.

    Returns:
        The outputs, and a function from the gradient with respect to the outputs to the gradient with respect to `x`.
        It can be called once.
    """
    if backend is None:
        import keras  # here, because the help of the command imports this module without Keras

        backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # The tape watches x alone: an outer tape may be recording the same weights.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            outputs = function(x)
        return outputs, lambda gradient: tape.gradient(outputs, x, output_gradients=gradient)
    if backend == "jax":
        import jax

        outputs, pull_back = jax.vjp(function, x)
        return outputs, lambda gradient: pull_back(gradient)[0]
    if backend == "torch":
        import torch

        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            outputs = function(x)
        return outputs, lambda gradient: torch.autograd.grad(outputs, x, gradient)[0]
    raise NotImplementedError(f"Gradients require the tensorflow, jax or torch backend. Received: {backend!r}")
