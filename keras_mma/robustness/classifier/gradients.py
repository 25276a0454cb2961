"""Run a model on arrays and backpropagate through it, on the backend that it belongs to.

Each function returns `run` and `pull_back`. `run(inputs)` returns outputs. `pull_back(inputs, gradient_of)` returns
outputs and the gradient with respect to the inputs of the loss whose gradient with respect to the outputs is
`gradient_of(outputs)`.
"""

import numpy as np


def of_signature(function, argument, dtype, owner):
    """For a loaded signature; `owner`, the loaded model, keeps its weights alive."""
    import tensorflow as tf

    def run(inputs, owner=owner):
        (outputs,) = function(**{argument: tf.constant(inputs, dtype)}).values()
        return outputs

    return lambda inputs: run(inputs).numpy(), _tensorflow_pull_back(run)


def of_keras(model):
    """For a Keras model, in inference mode."""
    import keras

    def call(inputs):
        (outputs,) = keras.tree.flatten(model(inputs, training=False))
        return outputs

    if keras.backend.backend() == "tensorflow":
        return _of_tensorflow(call, model.inputs[0])
    return {"jax": _of_jax, "torch": _of_torch}[keras.backend.backend()](call)


def _of_tensorflow(call, inputs):
    import tensorflow as tf

    compiled = tf.function(call, input_signature=[tf.TensorSpec(inputs.shape, inputs.dtype)])
    return lambda inputs: compiled(tf.constant(inputs)).numpy(), _tensorflow_pull_back(compiled)


def _tensorflow_pull_back(run):
    import tensorflow as tf

    def pull_back(inputs, gradient_of):
        inputs = tf.constant(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = run(inputs)
        values = outputs.numpy()
        gradient = tape.gradient(outputs, inputs, output_gradients=tf.constant(gradient_of(values), outputs.dtype))
        if gradient is None:
            raise ValueError("an operation between the pixels and the outputs has none")
        return values, gradient.numpy().astype("float32")

    return pull_back


def _of_jax(call):
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(call)

    def padded(rows):
        # To a power of two, because every new batch size is compiled.
        size = 1 << (len(rows) - 1).bit_length()
        return jnp.asarray(np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge"))

    def run(inputs):
        return np.asarray(compiled(padded(inputs)))[: len(inputs)]

    def pull_back(inputs, gradient_of):
        outputs, transposed = jax.vjp(compiled, padded(inputs))
        values = np.asarray(outputs)[: len(inputs)]
        (gradient,) = transposed(padded(gradient_of(values)).astype(outputs.dtype))
        return values, np.asarray(gradient)[: len(inputs)].astype("float32")

    return run, pull_back


def _of_torch(call):
    import keras
    import torch

    def to_array(tensor):
        return keras.ops.convert_to_numpy(tensor.detach())

    def run(inputs):
        with torch.no_grad():
            return to_array(call(keras.ops.convert_to_tensor(inputs)))

    def pull_back(inputs, gradient_of):
        inputs = keras.ops.convert_to_tensor(inputs).detach().requires_grad_(True)
        with torch.enable_grad():
            outputs = call(inputs)
        values = to_array(outputs)
        gradient_out = torch.as_tensor(gradient_of(values)).to(outputs)
        (gradient,) = torch.autograd.grad(outputs, inputs, gradient_out)
        return values, to_array(gradient).astype("float32")

    return run, pull_back
