"""The features that reach the mixer and each mixing point of a model, without any mixing."""

from typing import Any, NamedTuple

import keras

from keras_mma import plans
from keras_mma.layers.feature_mixer import FeatureMixer
from keras_mma.layers.follow_plan import FollowPlan
from keras_mma.layers.mixer import Mixer
from keras_mma.models import graph


class SiteFeatures(NamedTuple):
    """Where a model mixes.

    Args:
        mixer: The `Mixer` of the model.
        layers: Dict from the number of a site to its `FeatureMixer`.
        model: A Functional model from images to a dict from the number of a site to its features; site 0 is what the
            mixer receives.
    """

    mixer: Mixer
    layers: dict[int, FeatureMixer]
    model: keras.Model


def site_features(
    model: Any, name: str = "model", expected: str = "a `MixModel`, such as `mixify(network, MixUp())`"
) -> SiteFeatures:
    """The model of features at the sites of a `MixModel`, which shares its layers.

    It is built once and kept with the `MixModel`: Keras records each symbolic call of a layer as long as the layer
    lives.

    Args:
        model: A `MixModel`.
        name: Name of the argument in the error.
        expected: What the argument must be, in the error.

    Returns:
        A `SiteFeatures`.

    Raises:
        ValueError: If `model` is not a `MixModel`.
    """
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, (tuple, list)) or len(outputs) != 2 or not plans.is_plan(outputs[1]):
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={model!r}")
    if not hasattr(model, "_get_site_features"):
        sites = _build(model)
        # A closure, so that Keras neither tracks nor saves it.
        model._get_site_features = lambda: sites
    kept: SiteFeatures = model._get_site_features()
    return kept


def _build(model: Any) -> SiteFeatures:
    outputs = model.output
    mixer = graph.plan_calls(outputs[1])[0].operation
    layers, features = {}, {}

    def call(path: str, layer: keras.layers.Layer, args: tuple, kwargs: dict) -> Any:
        if isinstance(layer, FollowPlan):
            return graph.without_mixing(layer, args, kwargs)
        if not isinstance(layer, graph.MIXING):
            return layer(*args, **kwargs)
        values, _ = graph.features_and_plan(layer, args, kwargs)
        if isinstance(layer, FeatureMixer):
            layers[layer.site] = layer
        features[layer.site if isinstance(layer, FeatureMixer) else 0] = values
        return graph.without_mixing(layer, args, kwargs)

    inputs, values = graph.fresh_inputs(model.input)
    graph.rebuild_graph(outputs[0], values, call)
    return SiteFeatures(mixer, dict(sorted(layers.items())), keras.Model(inputs, features))


def at_input(mixer, **changes):
    """A copy of a mixer that mixes at the input whenever it is called, with some arguments changed.

    By itself, without the predictions that SUMix compares, its labels follow the area instead; and without labels, no
    sample weights are 0.
    """
    label = "area" if mixer.label == "sumix" else mixer.label
    usual = {"sites": (0,), "probability": 1.0, "label": label, "ignore_zero_weight": False}
    return mixer.copy(**usual | changes)
