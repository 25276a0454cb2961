"""Run a model on arrays and backpropagate through it, on the backend that it belongs to.

Each function returns `run` and `pull_back`. `run(inputs)` returns outputs. `pull_back(inputs, gradient_of)` returns
outputs and the gradient with respect to the inputs of the loss whose gradient with respect to the outputs is
`gradient_of(outputs)`.
"""

import numpy as np

from keras_mma.differentiation import vjp


def of_signature(function, output, owner):
    """The functions of an output of a loaded signature; a reference to `owner`, the loaded model, keeps its weights."""
    import tensorflow as tf

    ((argument, spec),) = function.structured_input_signature[1].items()

    def run(inputs, owner=owner):
        return function(**{argument: tf.constant(inputs, spec.dtype)})[output]

    return lambda inputs: run(inputs).numpy(), _tensorflow_pull_back(run)


def logits_of_signature(function, output):
    """The functions of the input of the softmax or sigmoid that returns the output; `None` without one."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    place = sorted(function.structured_outputs).index(output)
    inlined = convert_variables_to_constants_v2(function)
    operation = inlined.outputs[place].op
    while operation.type in ("Identity", "Cast"):
        operation = operation.inputs[0].op
    if operation.type not in ("Softmax", "Sigmoid"):
        return None
    pruned = inlined.prune(inlined.inputs[:1], operation.inputs[0])
    dtype = inlined.inputs[0].dtype

    def run(inputs):
        return tf.nest.flatten(pruned(tf.constant(inputs, dtype)))[0]

    return lambda inputs: run(inputs).numpy(), _tensorflow_pull_back(run)


def of_keras(model):
    """The functions of a Keras model with one output, in inference mode."""
    import keras

    def call(inputs):
        (outputs,) = keras.tree.flatten(model(inputs, training=False))
        return outputs

    if keras.backend.backend() == "tensorflow":
        return _of_tensorflow(call, model.inputs[0])
    if keras.backend.backend() == "jax":
        return _of_jax(call, model.inputs[0].shape[0])
    return _of_torch(call)


def logits_of_keras(model):
    """Like `of_keras`, for the input of the softmax or sigmoid that returns the output; `None` without one."""
    logits = _logits_model(model)
    return logits and of_keras(logits)


def _logits_model(model):
    import keras

    # Keras has no public name for the operation that returned a tensor.
    operation, node_index, _ = model.outputs[0]._keras_history
    node = operation._inbound_nodes[node_index]
    if len(node.input_tensors) != 1:
        return None
    (before,) = node.input_tensors
    activation = getattr(getattr(operation, "activation", None), "__name__", None)
    if isinstance(operation, keras.Model):
        inner = _logits_model(operation)
        return inner and keras.Model(model.inputs, inner(before))
    if type(operation).__name__ in ("Softmax", "Sigmoid"):
        return keras.Model(model.inputs, before)
    if activation not in ("softmax", "sigmoid"):
        return None
    if isinstance(operation, keras.layers.Activation):
        return keras.Model(model.inputs, before)
    linear = type(operation).from_config(operation.get_config() | {"activation": "linear"})
    logits = keras.Model(model.inputs, linear(before))
    linear.set_weights(operation.get_weights())
    return logits


def _of_tensorflow(call, inputs):
    import tensorflow as tf

    compiled = tf.function(call, input_signature=[tf.TensorSpec(inputs.shape, inputs.dtype)])
    return lambda inputs: compiled(tf.constant(inputs)).numpy(), _tensorflow_pull_back(compiled)


def _tensorflow_pull_back(run):
    import tensorflow as tf

    def pull_back(inputs, gradient_of):
        outputs, backward = vjp(run, tf.constant(inputs), "tensorflow")  # a SavedModel, on any backend of Keras
        values = outputs.numpy()
        gradient = backward(tf.constant(gradient_of(values), outputs.dtype))
        if gradient is None:
            raise ValueError("an operation between the pixels and the outputs has none")
        return values, gradient.numpy().astype("float32")

    return pull_back


def _of_jax(call, fixed_size):
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(call)

    def padded(rows):
        # To a power of two, because every new batch size is compiled. A model of a fixed size gets no other one.
        size = fixed_size or 2 ** (len(rows) - 1).bit_length()
        return jnp.asarray(np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge"))

    def run(inputs):
        return np.asarray(compiled(padded(inputs)))[: len(inputs)]

    def pull_back(inputs, gradient_of):
        outputs, backward = vjp(compiled, padded(inputs), "jax")
        values = np.asarray(outputs)[: len(inputs)]
        gradient = backward(padded(gradient_of(values)).astype(outputs.dtype))
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
        outputs, backward = vjp(call, keras.ops.convert_to_tensor(inputs), "torch")
        values = to_array(outputs)
        gradient = backward(torch.as_tensor(gradient_of(values)).to(outputs))
        return values, to_array(gradient).astype("float32")

    return run, pull_back
