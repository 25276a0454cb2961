"""Objects in the configs of layers, which are serialized for files and kept as they are for copies."""

import contextvars

import keras

_IS_FOR_COPY = contextvars.ContextVar("is_for_copy", default=False)


def serialize(value):
    """The config of an object, such as a detector or a mixer; the object itself inside `for_copy`."""
    return value if _IS_FOR_COPY.get() else keras.saving.serialize_keras_object(value)


def for_copy(layer):
    """The config of a layer with the objects themselves, which need not be such that Keras can serialize them."""
    token = _IS_FOR_COPY.set(True)
    try:
        return layer.get_config()
    finally:
        _IS_FOR_COPY.reset(token)
