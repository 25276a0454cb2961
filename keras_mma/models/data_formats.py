"""Mixing layers inside a network whose data format is not that of the features that they get."""

from keras_mma.layers import FollowPlan
from keras_mma.models import graph

_FORMATS = ("channels_last", "channels_first")


def check(predictions, plan):
    """Raise a `ValueError` if features come from a layer of another data format than that of the layer that mixes them.

    Args:
        predictions: Symbolic predictions of a model.
        plan: The symbolic plan that the model returns.
    """
    followers = [call for call in graph.feature_calls(predictions) if isinstance(call.operation, FollowPlan)]
    for call in [*graph.plan_calls(plan)[1:], *followers]:
        layer = call.operation
        features, _ = graph.features_and_plan(layer, call.arguments.args, call.arguments.kwargs)
        source = _source(features) if len(features.shape) == 4 else None
        if source is not None and source.data_format != layer.data_format:
            raise ValueError(
                f"`data_format` of {layer.name!r} must be that of its features, {source.data_format!r} as in the layer "
                f"{source.name!r}. Received: data_format={layer.data_format!r}"
            )


def _source(features):
    """The last layer with a data format, such as a convolution, whose layout the features still have, or `None`.

    Layers without one keep the layout if they return the shape that they get, except those that move axes.
    """
    calls = {id(tensor): call for call in graph.calls_behind(features) for tensor in call.outputs}
    while True:
        call = calls[id(features)]
        layer = call.operation
        if getattr(layer, "data_format", None) in _FORMATS:
            return layer
        inputs = call.input_tensors
        is_kept = bool(inputs) and inputs[0].shape == call.outputs[0].shape
        if not is_kept or type(layer).__name__ in ("Permute", "Reshape", "Transpose", "Moveaxis", "Swapaxes", "Lambda"):
            return None
        features = inputs[0]
