"""Maps of users' detectors and attentions: NaN, infinite and negative values, and maps without any attention."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
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


def detecting_network(rng):
    """A frozen network that returns maps, and is different in training mode."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(inputs))
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same", activation="relu")(x))
    network.set_weights([rng.random(weight.shape) for weight in network.get_weights()])
    network.trainable = False
    return network


def test_a_network_that_detects_runs_in_inference_mode_and_stays_as_it_is(rng):
    images, labels = rng.random((8, 8, 8, 3)).astype("float32"), np.eye(2)[np.arange(8) % 2]
    network = detecting_network(rng)
    before = network.get_weights()
    mixer = layers.SaliencyMix(detector=network)
    np.testing.assert_array_equal(to_numpy(mixer.saliency_maps(images)), to_numpy(network(images, training=False)))
    inputs = keras.Input((8, 8, 3))
    classifier = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    model = keras_mma.mixify(classifier, mixer, at=[])
    model.compile(keras.optimizers.AdamW(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, verbose=0)
    assert not mixer.trainable_weights
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Outer(keras.Layer):
    """Computes saliency and drops pixels afterwards, both in the mode in which it is called."""

    def __init__(self, mixer):
        super().__init__()
        self.mixer, self.dropout = mixer, keras.layers.Dropout(0.5, seed=1)

    def build(self, shape):
        self.dropout.build(shape)

    def call(self, images):
        return self.mixer.saliency_maps(images), self.dropout(images)


def test_layers_that_are_called_after_a_network_that_detects_stay_in_training_mode(rng):
    images = rng.random((8, 8, 8, 3)).astype("float32")
    _, dropped = Outer(layers.SaliencyMix(detector=detecting_network(rng)))(images, training=True)
    assert 0.3 < (to_numpy(dropped) == 0).mean() < 0.7


def test_a_network_that_cannot_take_the_images_leaves_no_mode_behind(rng):
    gate = keras.layers.Conv2D(1, 3, trainable=False)
    gate.build((None, None, None, 4))
    with pytest.raises(ValueError, match="expected axis -1"):
        layers.SaliencyMix(detector=gate).saliency_maps(rng.random((2, 8, 8, 3)).astype("float32"))
    dropout = keras.layers.Dropout(0.5)
    dropout(np.ones((4, 8), "float32"), training=True)
    np.testing.assert_array_equal(to_numpy(dropout(np.ones((4, 8), "float32"))), 1.0)


class Inverted(keras.Layer):
    """A detector of its own with a `function`, as many layers have."""

    def __init__(self, function):
        super().__init__(trainable=False)
        self.function, self.built = function, True

    def call(self, images):
        return 1.0 / (1.0 + self.function(images))


def test_a_layer_with_a_function_is_no_detector_of_it(rng):
    layer = Inverted(lambda images: ops.mean(images, -1, keepdims=True))
    mixer = layers.SaliencyMix(detector=layer)
    images = rng.random((2, 8, 8, 3)).astype("float32")
    assert mixer.detector is layer
    np.testing.assert_allclose(
        to_numpy(mixer.saliency_maps(images)), 1 / (1 + images.mean(-1, keepdims=True)), rtol=1e-5
    )


@pytest.mark.parametrize("wrap", [lambda network: network, saliency.Detector], ids=["network", "Detector"])
def test_the_weights_of_a_network_that_detects_are_saved(rng, tmp_path, wrap):
    images = rng.random((4, 8, 8, 3)).astype("float32")
    network = detecting_network(rng)
    inputs = keras.Input((8, 8, 3))
    classifier = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    choice = layers.RandomChoice([layers.SaliencyMix(detector=wrap(network)), layers.CutMix()])
    for name, mixer in [("one", choice.mixers[0].copy()), ("choice", choice)]:
        keras_mma.mixify(classifier, mixer, at=[]).save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras").mixer
        loaded = loaded if name == "one" else loaded.mixers[0]
        assert not loaded.trainable_weights
        maps = to_numpy(loaded.saliency_maps(images))
        np.testing.assert_allclose(maps, to_numpy(network(images, training=False)), rtol=1e-6)


def test_mixers_of_a_choice_that_share_a_network_are_saved(rng, tmp_path):
    images, network = rng.random((4, 8, 8, 3)).astype("float32"), detecting_network(rng)
    inputs = keras.Input((8, 8, 3))
    classifier = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    mixers = [layers.SaliencyMix(detector=network), layers.SaliencyGrafting(detector=network)]
    keras_mma.mixify(classifier, layers.RandomChoice(mixers), at=[]).save(tmp_path / "choice.keras")
    for loaded in keras.models.load_model(tmp_path / "choice.keras").mixer.mixers:
        maps = to_numpy(loaded.saliency_maps(images))
        np.testing.assert_allclose(maps, to_numpy(network(images, training=False)), rtol=1e-6)


def test_a_network_that_detects_must_be_built_and_frozen(rng):
    network = detecting_network(rng)
    network.trainable = True
    for detector in (network, saliency.Detector(network), keras.layers.Conv2D(1, 3)):
        with pytest.raises(ValueError, match="`detector` must be built and have `trainable=False` if it is a layer"):
            layers.SaliencyMix(detector=detector)
