"""Catch-up Mix: its mask channel by channel, the plan that it returns, and a probe for masks over channels."""

import math

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plans
from tests.layers.mixers import to_numpy
from tests.pictures import blobs
from tests.test_zero_loss import MODES, TOLERANCE, losses


def expected_masks(features, plan):
    """The channels that each sample keeps, (batch, channels)."""
    size, height, width, channels = features.shape
    norms = np.zeros((size, channels))
    for sample in range(size):
        for channel in range(channels):
            squares = sum(float(features[sample, y, x, channel]) ** 2 for y in range(height) for x in range(width))
            norms[sample, channel] = math.sqrt(squares)
        norms[sample] /= norms[sample].sum()
    masks = np.zeros((size, channels))
    for sample, partner in enumerate(plan["partner"]):
        order = sorted(range(channels), key=lambda channel: norms[sample, channel] - norms[partner, channel])
        masks[sample, order[: math.floor(plan["weight"][sample] * channels + 1e-4)]] = 1
    return masks


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_features_and_plan_equal_the_loop(data_format, rng):
    features = rng.normal(size=(6, 5, 7, 10)).astype("float32")
    mask = np.broadcast_to(np.array([0.7, 0.25, 1.0, 0.0, 0.55, 0.04])[:, None, None, None], (6, 8, 8, 1))
    plan = to_numpy(plans.make(np.array([1, 2, 3, 4, 5, 0]), mask.astype("float32"), site=1))
    is_last = data_format == "channels_last"
    given = features if is_last else features.transpose(0, 3, 1, 2)
    mixed, after = to_numpy(layers.CatchUpMix(1, data_format=data_format)(given, plan, training=True))
    mixed = mixed if is_last else mixed.transpose(0, 2, 3, 1)
    masks = expected_masks(features, plan)
    np.testing.assert_array_equal(masks.sum(1), [7, 2, 10, 0, 5, 0])
    own = masks[:, None, None, :].astype("float32")
    np.testing.assert_array_equal(mixed, own * features + (1 - own) * features[plan["partner"]])
    np.testing.assert_allclose(after["weight"], masks.mean(1), atol=1e-6)
    np.testing.assert_allclose(
        after["mask"], np.broadcast_to(masks.mean(1)[:, None, None, None], mask.shape), atol=1e-6
    )


def test_labels_that_are_maps_follow_the_mask_of_the_mixer_if_vectors_do(rng):
    features = keras.ops.convert_to_tensor(rng.random((8, 4, 4, 6)).astype("float32"))
    _, plan = layers.CutMix(sites=(1,), seed=3)(np.zeros((8, 8, 8, 3), "float32"), training=True)
    _, followed = layers.CatchUpMix(1, label="mixer")(features, plan, training=True)
    for key in ("mask", "weight"):
        np.testing.assert_array_equal(to_numpy(followed[key]), to_numpy(plan[key]))


def test_a_site_that_does_not_fire_and_inference_change_nothing(rng):
    features = rng.normal(size=(2, 4, 4, 6)).astype("float32")
    plan = to_numpy(plans.make(np.array([1, 0]), np.full((2, 8, 8, 1), 0.5, "float32"), site=2))
    for site, training in ((1, True), (2, False)):
        mixed, after = to_numpy(layers.CatchUpMix(site)(features, plan, training=training))
        np.testing.assert_array_equal(mixed, features)
        keras.tree.map_structure(np.testing.assert_array_equal, after, plan)


def probe(rng, size=24, channels=10):
    """Images whose channels all have the mean of their class, 0 or 1, and textures, so that their norms differ."""
    labels = rng.integers(0, 2, size)
    texture = rng.normal(size=(size, 12, 12, channels)) * rng.uniform(0.2, 2, (size, 1, 1, channels))
    texture -= texture.mean((1, 2), keepdims=True)
    return (labels[:, None, None, None] + texture).astype("float32"), labels


def averaging_network(mixer, feature_sites, channels=10):
    inputs = keras.Input((12, 12, channels))
    x, plan = mixer(inputs)
    for site in feature_sites:
        x, plan = layers.CatchUpMix(site)(keras.layers.Identity()(x), plan)
    share = keras.ops.mean(x, axis=(1, 2, 3))[:, None]
    return keras_mma.MixModel(inputs, (keras.ops.concatenate([1 - share, share], axis=1), plan))


@pytest.mark.sampled
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mixer", [layers.CutMix, layers.MixUp, layers.SaliencyMix])
def test_the_loss_is_zero(mode, mixer, rng):
    """The mean of the channels is the label's share whichever channels are taken from the partner."""
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = probe(rng)
    model = averaging_network(mixer(sites=(1, 2), probability=0.8, seed=3), (1, 2))
    assert losses(model, images, labels, mode, epochs=3).max() < {"float32": 1e-9}.get(policy, 20 * TOLERANCE[policy])


def test_the_probe_can_fail(rng):
    images, labels = probe(rng)
    model = averaging_network(layers.CutMix(sites=(1,), seed=3), (1,))
    next(layer for layer in model.layers if isinstance(layer, layers.CatchUpMix)).label = "mixer"
    assert losses(model, images, labels).max() > 1e-5


def test_mixify_inserts_it_and_the_model_is_saved(rng, tmp_path):
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=4)
    mixer = layers.CutMix(border="inside")
    model = keras_mma.mixify(network, mixer, at=["stage1", "stage2"], adapter=layers.CatchUpMix, label="mixer")
    inserted = [layer for layer in model.layers if isinstance(layer, layers.FeatureMixer)]
    assert [(type(layer), layer.site, layer.label) for layer in inserted] == [
        (layers.CatchUpMix, 1, "mixer"),
        (layers.CatchUpMix, 2, "mixer"),
    ]
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    images = blobs(rng, 8, 16, 16).astype("float32")
    model.fit(images, np.arange(8) % 4, verbose=0)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
