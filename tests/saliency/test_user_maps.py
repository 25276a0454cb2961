"""Maps of users' detectors and attentions: NaN, infinite and negative values, and maps without any attention."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import layers, saliency
from keras_mma.layers import feature_mix_adapt
from tests.layers.mixers import to_numpy

HOSTILE = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0, 1e38, -0.0], "float32")
CLEAN = np.array([0.0, None, 0.0, 0.0, 0.0, 2.0, None, 0.0])


def hostile(images):
    """Each image has one of the values, and 1 in its first pixel."""
    maps = np.broadcast_to(HOSTILE[:, None, None, None], (8, *images.shape[1:3], 1)).copy()
    maps[:, 0, 0] = 1.0
    return ops.convert_to_tensor(maps)


@pytest.mark.parametrize("is_registered", [False, True])
def test_maps_are_finite_and_not_negative(rng, is_registered):
    detector = saliency.register("hostile")(hostile) and "hostile" if is_registered else hostile
    images = rng.random((8, 6, 6, 3)).astype("float32")
    mixer = layers.SaliencyMix(detector=detector, label="saliency", seed=1)
    maps = to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images)))
    assert (maps[:, 0, 0] == 1).all()
    for value, received in zip(CLEAN, maps[:, 1:, 1:], strict=True):
        assert np.isfinite(received.astype("float64").sum()) and (received >= 0).all()
        assert value is None or (received == value).all()
    # Sums over a map of the largest values are finite too.
    mixed, plan = to_numpy(mixer(images, training=True))
    assert np.isfinite(mixed).all() and np.isfinite(plan["weight"]).all()


@keras.saving.register_keras_serializable("keras_mma_tests")
def signed(features):
    """The first channel, negative in places."""
    return features[..., :1]


def adapted(features, attention, **arguments):
    mask = np.zeros((2, 4, 4, 1), "float32")
    mask[:, :2] = 1.0
    plan = {"partner": np.array([1, 0], "int32"), "mask": mask, "weight": np.full(2, 0.5, "float32")}
    plan = keras.tree.map_structure(ops.convert_to_tensor, plan | {"site": np.int32(1)})
    layer = layers.FeatureMixAdapt(1, attention=attention, **arguments)
    _, result = layer(ops.convert_to_tensor(features), plan, training=True)
    return to_numpy(result["mask"])


def test_negative_attention_counts_as_none(rng):
    features = rng.normal(size=(2, 4, 4, 3)).astype("float32")
    clipped = features.copy()
    clipped[..., 0] = np.maximum(features[..., 0], 0)
    assert (features[..., 0] < 0).any()
    np.testing.assert_array_equal(adapted(features, signed), adapted(clipped, signed))


@pytest.mark.parametrize("combine", ["multiply", "add"])
@pytest.mark.parametrize("dead", ["own", "both"])
def test_features_without_attention_have_the_same_everywhere(rng, combine, dead):
    """A dead feature map, as ReLU leaves it, is as good as one of ones."""
    features = rng.random((2, 4, 4, 3)).astype("float32")
    features[: {"own": 1, "both": 2}[dead]] = 0.0
    ones = np.where(features.any((1, 2, 3), keepdims=True), features, 1.0).astype("float32")
    received, expected = (adapted(x, "activation", combine=combine) for x in (features, ones))
    assert np.isfinite(received).all()
    np.testing.assert_allclose(received, expected, atol=1e-6)
    dead_map = to_numpy(feature_mix_adapt.normalize(ops.zeros((1, 2, 2, 1))))
    assert (dead_map == 1).all()


def test_a_mixer_with_a_detector_of_a_function_is_saved():
    config = keras.saving.serialize_keras_object(layers.SaliencyMix(detector=saliency.Detector(signed)))
    detector = keras.saving.deserialize_keras_object(json.loads(json.dumps(config))).detector
    assert isinstance(detector, saliency.Detector) and detector.function is signed and not detector.is_pure
