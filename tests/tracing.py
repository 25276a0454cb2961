"""What a test need not trace on TensorFlow, and what it has to compile on JAX, so that it takes little time."""

import keras

#: Arguments of `compile` for a test of a few steps whose content does not depend on tracing: on TensorFlow, tracing a
#: step takes ten times as long as running it. JAX compiles each operation of an eager step; PyTorch traces nothing.
UNTRACED = {"run_eagerly": True} if keras.backend.backend() == "tensorflow" else {}


def predictions(model, images):
    """The predictions of a model, by a call on TensorFlow, where `predict` traces each model anew."""
    if keras.backend.backend() == "tensorflow":
        return keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=False))
    return model.predict(images, verbose=0)


def compiled_on_jax(function):
    """A pure function of arrays, compiled as a whole on JAX, which would compile each operation for each shape."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(lambda *arrays: function(*arrays))
