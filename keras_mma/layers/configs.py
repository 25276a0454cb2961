"""Objects in the configs of layers, which are serialized for files and kept as they are for copies."""

import contextvars
import warnings

import keras

_IS_FOR_COPY = contextvars.ContextVar("is_for_copy", default=False)


def serialize(value):
    """The config of an object, such as a detector or a mixer; the object itself inside `for_copy`."""
    return value if _IS_FOR_COPY.get() else keras.saving.serialize_keras_object(value)


def restore_frozen(config):
    """The object of a config that `serialize` wrote. A layer is frozen, also if its model was frozen and unfrozen."""
    value = keras.saving.deserialize_keras_object(config)
    if isinstance(value, keras.layers.Layer):
        value.trainable = False
    return value


def copied(layer):
    """A frozen copy of a built layer: a file holds the weights of a layer once, in only one of its holders.

    A layer that cannot be copied is returned itself, with a warning.
    """
    try:
        copy = type(layer).from_config(layer.get_config())
        if not copy.built:
            copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    except Exception as error:  # of Keras or of the layer itself
        warnings.warn(
            f"{layer.name!r} is shared by several layers and could not be copied, so that a saved model cannot be "
            f"loaded: give the layer a `get_config` and a `build`. Received: {error}",
            stacklevel=2,
        )
        return layer
    copy.trainable = False
    return copy


def for_copy(layer):
    """The config of a layer with the objects themselves, which need not be such that Keras can serialize them."""
    token = _IS_FOR_COPY.set(True)
    try:
        return layer.get_config()
    finally:
        _IS_FOR_COPY.reset(token)
