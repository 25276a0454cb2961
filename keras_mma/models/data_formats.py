"""Mixing layers whose data format is not that of the layers around them."""

import keras

from keras_mma.layers import FollowPlan
from keras_mma.models import graph

_OURS = (*graph.MIXING, FollowPlan)
_layers = keras.layers
#: Layers of Keras whose data format says what the layout of their maps is. Others have a format that they do not use.
_SPATIAL = (
    *(_layers.Conv2D, _layers.Conv2DTranspose, _layers.DepthwiseConv2D, _layers.SeparableConv2D),
    *(_layers.MaxPooling2D, _layers.AveragePooling2D, _layers.GlobalMaxPooling2D, _layers.GlobalAveragePooling2D),
    *(_layers.UpSampling2D, _layers.ZeroPadding2D, _layers.Cropping2D),
)
#: Layers and operations of Keras that return maps of the layout that they get.
_KEEPING = (
    *("Identity", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Dropout", "GaussianNoise", "SpatialDropout2D"),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "Normalization", "Rescaling"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Divide", "TrueDivide"),
    *("Relu", "Relu6", "Gelu", "Silu", "Sigmoid", "Tanh", "Elu", "HardSwish", "HardSigmoid", "Cast"),
)


def check(predictions):
    """Raise a `ValueError` if maps pass between a mixing layer and a layer of another data format.

    Args:
        predictions: Symbolic predictions of a model.
    """
    calls = {id(tensor): call for call in graph.calls_behind(predictions) for tensor in call.outputs}
    for call in graph.feature_calls(predictions):
        layer, features = call.operation, next(iter(call.input_tensors), None)
        if not isinstance(layer, (*_OURS, *_SPATIAL)):
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


def _source(features, calls):
    """The last layer with a data format, such as a convolution, whose layout the features still have, or `None`."""
    while True:
        call = calls[id(features)]
        if isinstance(call.operation, (*_OURS, *_SPATIAL)):
            return call.operation
        kind = type(call.operation)
        # A scalar or a vector may come first, as in `2 * x`.
        maps = [tensor for tensor in call.input_tensors if tensor.shape == call.outputs[0].shape]
        if not maps or not kind.__module__.startswith("keras.") or kind.__name__ not in _KEEPING:
            return None
        features = maps[0]
