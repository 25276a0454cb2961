"""Every argument of every layer is part of its config: `mixify` copies mixers by it, and files hold it."""

import inspect

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers

CLASSES = [
    *sorted(
        {layers.FeatureMixAdapt, layers.CatchUpMix, layers.FollowPlan, *layers.MIXERS.values()},
        key=lambda c: c.__name__,
    )
]
#: Values that are the default of no layer. Where two layers need different ones, the name of the layer comes first.
OTHERS = {
    "alpha": 0.3,
    "attention": None,
    "attention_spread": 0.7,
    "attribution_layer": "stage1",
    "beta": 0.4,
    "blur_sigma": 1.5,
    "border": "inside",
    "SaliencyMix.border": "clip",
    "box": "batch",
    "combine": "multiply",
    "count": 3,
    "data_format": "channels_first",
    "decay": 1.5,
    "detector": "frequency_tuned",
    "detector_size": 12,
    "edge_blur": 0.5,
    "eta": 0.4,
    "gamma": 0.6,
    "grid": 5,
    "CatchUpMix.grid": (4, 6),
    "FeatureMixAdapt.grid": (4, 6),
    "grids": (2, 4),
    "ignore_zero_weight": True,
    "label": "sumix",
    "CatchUpMix.label": "mixer",
    "FeatureMixAdapt.label": "mixer",
    "norm": 1,
    "num_classes": 7,
    "partner": "roll",
    "per": "batch",
    "RandomChoice.per": "sample",
    "preserve_ratio": False,
    "probabilities": [0.2, 0.8],
    "probability": 0.4,
    "ratio": 0.3,
    "requires_mix_model": False,
    "resize": "nearest",
    "scale": (0.2, 0.6),
    "scheme": "salient_to_salient",
    "seed": 5,
    "sigma": (0.2, 0.3),
    "site": 3,
    "site_weights": (2.0, 1.0),
    "sites": (0, 2),
    "smooth": False,
    "temperature": 0.3,
    "threshold": 0.4,
    "ties": "first",
    "transport": True,
    "xi": 0.5,
}
#: What another argument requires.
WITH = {
    "site_weights": {"sites": (0, 2)},
    "detector": {"label": "saliency"},
    "detector_size": {"label": "saliency", "detector": "frequency_tuned"},
    "attribution_layer": {"label": "saliency", "detector": "activation"},
    "edge_blur": {"smooth": True},
}
#: Arguments that a layer refuses, and those whose values are layers.
EXCLUDED = {
    ("RandomChoice", "partner"),  # belongs to its mixers, as the next three
    ("RandomChoice", "detector"),
    ("RandomChoice", "detector_size"),
    ("RandomChoice", "attribution_layer"),
    ("RandomChoice", "mixers"),
    ("ResizeMix", "sites"),  # mixes at the input only
    ("ResizeMix", "site_weights"),
}


def arguments_of(cls):
    """Names of the arguments of a layer and of its bases in this package."""
    names = []
    for base in cls.__mro__:
        if base.__module__.startswith("keras_mma") and "__init__" in vars(base):
            parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
            names += [each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    return list(dict.fromkeys(names))


def make(cls, **settings):
    needs_site = "site" in arguments_of(cls) and "site" not in settings
    return cls(**({"site": 1} if needs_site else {}) | settings)


def plain(value):
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_argument_is_saved(cls):
    missing = set(arguments_of(cls)) - set(make(cls).get_config())
    assert not missing


@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls in CLASSES for name in arguments_of(cls) if (cls.__name__, name) not in EXCLUDED],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_argument_is_that_of_the_copy(cls, name):
    value = OTHERS.get(f"{cls.__name__}.{name}", OTHERS.get(name))
    layer, usual = make(cls, **WITH.get(name, {}) | {name: value}), make(cls)
    assert plain(usual.get_config()[name]) != plain(value), "the default, which shows nothing"
    for copy in (
        layer,
        cls.from_config(layer.get_config()),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)),
    ):
        assert plain(copy.get_config()[name]) == plain(value)
        if hasattr(copy, name) and name != "detector":
            assert plain(getattr(copy, name)) == plain(value)


def test_the_mixer_of_a_mixed_model_has_the_arguments_that_were_given():
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=3)
    mixer = layers.SaliencyMix(alpha=0.3, ties="first", border="clip", detector="frequency_tuned", seed=3)
    model = keras_mma.mixify(network, mixer, at=["stage1"], temperature=0.3, smooth=False, attention=None)
    assert {key: model.mixer.get_config()[key] for key in ("alpha", "ties", "border", "detector", "seed")} == {
        "alpha": 0.3,
        "ties": "first",
        "border": "clip",
        "detector": "frequency_tuned",
        "seed": 3,
    }
    (adapter,) = [layer for layer in model.layers if isinstance(layer, layers.FeatureMixAdapt)]
    assert (adapter.temperature, adapter.smooth, adapter.attention) == (0.3, False, None)
    assert np.isclose(model.mixer.alpha, 0.3)
