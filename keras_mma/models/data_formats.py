"""Mixing layers whose data format is not that of the layers around them."""

import keras

from keras_mma.layers import FollowPlan
from keras_mma.models import graph

_OURS = (*graph.MIXING, FollowPlan)
_MOVING_AXES = ("Permute", "Reshape", "Transpose", "Moveaxis", "Swapaxes", "Lambda")


def check(predictions):
    """Raise a `ValueError` if maps pass between a mixing layer and a layer of another data format.

    Args:
        predictions: Symbolic predictions of a model.
    """
    calls = {id(tensor): call for call in graph.calls_behind(predictions) for tensor in call.outputs}
    for call in graph.feature_calls(predictions):
        layer, features = call.operation, next(iter(call.input_tensors), None)
        if not _has_format(layer):
            continue
        if isinstance(layer, _OURS):
            features, _ = graph.features_and_plan(layer, call.arguments.args, call.arguments.kwargs)
        source = _source(features, calls) if len(features.shape) == 4 else None
        ours, other = (layer, source) if isinstance(layer, _OURS) else (source, layer)
        if isinstance(ours, _OURS) and other is not None and other.data_format != ours.data_format:
            raise ValueError(
                f"`data_format` of {ours.name!r} must be that of the layers around it, {other.data_format!r} as in "
                f"{other.name!r}. Received: data_format={ours.data_format!r}"
            )


def _has_format(layer):
    # The format of `Flatten` only determines the order of what it returns.
    is_known = getattr(layer, "data_format", None) in ("channels_last", "channels_first")
    return is_known and not isinstance(layer, keras.layers.Flatten)


def _source(features, calls):
    """The last layer with a data format, such as a convolution, whose layout the features still have, or `None`.

    Layers without one keep the layout if they return the shape that they get, except those that move axes.
    """
    while True:
        call = calls[id(features)]
        if _has_format(call.operation):
            return call.operation
        inputs = call.input_tensors
        is_kept = bool(inputs) and inputs[0].shape == call.outputs[0].shape
        if not is_kept or type(call.operation).__name__ in _MOVING_AXES:
            return None
        features = inputs[0]
