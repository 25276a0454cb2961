"""`FeatureMixAdapt` on the token sequences of vision transformers."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plans
from keras_mma.layers import FeatureMixAdapt
from keras_mma.layers.tokens import find_grid
from tests import oracles
from tests.layers.mixers import to_numpy


@pytest.fixture
def plan(rng):
    mask = np.ones((6, 24, 32, 1), "float32")
    for sample in range(5):  # sample 5 stays unmixed
        mask[sample, 4 * sample : 4 * sample + 8, 3 * sample : 3 * sample + 13] = 0
    return plans.make(np.array([3, 0, 1, 5, 2, 4]), mask, site=1)


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (196, (224, 224), (14, 14)),
        (197, (224, 224), (14, 14)),
        (198, (224, 224), (14, 14)),  # class and distillation tokens
        (261, (224, 224), (16, 16)),  # class and register tokens of patches of 14 pixels
        (49, (24, 32), (6, 8)),
        (12, (24, 32), (3, 4)),
        (13, (24, 32), (3, 4)),
        (23, (24, 32), None),  # more prefix tokens than any network has
        (17, (30, 30), (4, 4)),  # patches of 8 pixels, padded
        (16, (35, 35), (4, 4)),  # patches of 8 pixels, the remainder dropped
        (78, (7, 11), (7, 11)),
        (None, (24, 32), None),
        (13, (None, 32), None),
    ],
)
def test_the_grid_is_that_of_square_patches(tokens, size, grid):
    assert find_grid(tokens, *size) == grid


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_patch_tokens_are_mixed_like_maps_and_prefix_tokens_by_the_mean(rng, plan, prefix):
    features = rng.normal(size=(6, prefix + 48, 7)).astype("float32")
    mixed, after = to_numpy(FeatureMixAdapt(1)(features, plan, training=True))
    maps = features[:, prefix:].reshape(6, 6, 8, 7)
    mask = oracles.adapt(maps, to_numpy(plan))
    expected = oracles.mix(maps, {"mask": mask, "partner": to_numpy(plan["partner"])})
    np.testing.assert_allclose(mixed[:, prefix:], expected.reshape(6, 48, 7), atol=2e-5)
    mean = mask.mean((1, 2, 3))
    np.testing.assert_allclose(after["weight"], mean, atol=1e-5)
    for sample, partner in enumerate(to_numpy(plan["partner"])):
        blended = mean[sample] * features[sample, :prefix] + (1 - mean[sample]) * features[partner, :prefix]
        np.testing.assert_allclose(mixed[sample, :prefix], blended, atol=1e-5)
    np.testing.assert_array_equal(mixed[5], features[5])


def test_tokens_are_unchanged_at_other_sites_and_in_inference(rng, plan):
    features = rng.normal(size=(6, 49, 7)).astype("float32")
    for layer, training in ((FeatureMixAdapt(2), True), (FeatureMixAdapt(1), False)):
        np.testing.assert_array_equal(to_numpy(layer(features, plan, training=training)[0]), features)


def test_the_grid_can_be_passed_and_is_checked(rng, plan):
    features = rng.normal(size=(6, 41, 7)).astype("float32")  # a class token and 5 x 8 patches, which are not square
    with pytest.raises(ValueError, match=r"`grid` must be the rows and columns.* of size \(24, 32\) .*grid=None"):
        FeatureMixAdapt(1)(features, plan, training=True)
    layer = FeatureMixAdapt(1, grid=[5, 8])
    assert layer(features, plan, training=True)[0].shape == (6, 41, 7)
    assert FeatureMixAdapt.from_config(layer.get_config()).grid == (5, 8)
    for wrong in ((7, 8), (2, 2)):
        with pytest.raises(ValueError, match=r"grid=\(., .\), features of shape \(6, 41, 7\)"):
            FeatureMixAdapt(1, grid=wrong)(features, plan, training=True)
    for invalid in (7, (7,), (0, 2), "ab"):
        with pytest.raises(ValueError, match="`grid(\\[.\\])?` must be"):
            FeatureMixAdapt(1, grid=invalid)


def test_the_loss_of_a_transformer_is_zero(rng):
    """The zero-loss probe with tokens: the class token contains the label, the patches contain texture."""
    labels = np.eye(5, dtype="float32")[rng.integers(0, 5, 24)]
    label_channels = np.broadcast_to(labels[:, None, None], (24, 12, 12, 5))
    images = np.concatenate([label_channels, rng.random((24, 12, 12, 2))], -1).astype("float32")
    inputs = keras.Input((12, 12, 7))
    x, plan = layers.SaliencyMix(sites=(0, 1), seed=3)(inputs)
    patches = keras.layers.Reshape((16, 7))(keras.layers.AveragePooling2D(3)(x))
    class_token = keras.ops.mean(patches, axis=1, keepdims=True)
    x, plan = FeatureMixAdapt(1)(keras.ops.concatenate([class_token, patches], axis=1), plan)
    model = keras_mma.MixModel(inputs, (x[:, 0, :5], plan))
    model.compile("sgd", "mse")
    losses = model.fit(images, labels, batch_size=8, epochs=3, verbose=0).history["loss"]
    assert max(losses) < 1e-9


@pytest.mark.slow
def test_xla_compiles_the_step_of_a_transformer(needs_tensorflow, rng):
    inputs = keras.Input((8, 8, 3))
    x, plan = layers.CutMix(sites=(0, 1), seed=1)(inputs)
    x = keras.layers.Reshape((4, 5))(keras.layers.Conv2D(5, 4, strides=4)(x))
    x, plan = FeatureMixAdapt(1)(keras.layers.Dense(5)(x), plan)
    model = keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)), plan))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=True)
    assert np.isfinite(model.train_on_batch(rng.random((6, 8, 8, 3)).astype("float32"), np.arange(6) % 3))
