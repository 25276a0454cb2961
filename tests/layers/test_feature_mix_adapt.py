"""`FeatureMixAdapt`: masks, features and weights equal the loops; invariants; ablations."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers, plans
from keras_mma.layers import FeatureMixAdapt
from keras_mma.layers.feature_mix_adapt import balance
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.tracing import compiled_on_jax

ROOT = Path(__file__).parents[2]
#: The softmax of masks and attentions as they are.
PLAIN = {"combine": "multiply", "attention_spread": None, "preserve_ratio": False, "edge_blur": 0}


@pytest.fixture
def plan(rng):
    mask = np.ones((6, 16, 20, 1), "float32")
    for sample in range(5):  # sample 5 stays unmixed
        top, left = rng.integers(0, 10, 2)
        mask[sample, top : top + rng.integers(3, 9), left : left + rng.integers(3, 9)] = 0
    mask[4] = rng.random((16, 20, 1))
    return plans.make(np.array([3, 0, 1, 5, 2, 4]), mask, site=2)


@pytest.fixture
def features(rng):
    return rng.normal(size=(6, 8, 10, 7)).astype("float32")


def call(layer, features, plan):
    mix = compiled_on_jax(lambda features, plan: layer(features, plan, training=True))
    return to_numpy(mix(features, plan))


@pytest.mark.parametrize("shape", [(8, 10), (5, 7), (16, 20), (1, 1), (20, 33)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.0},
        {"combine": "multiply"},
        {"attention": None},
        {"preserve_ratio": False},
        {"smooth": False},
        {"smooth": False, "attention": None},
        {"smooth": False, "combine": "multiply", "attention_spread": None, "edge_blur": 1.0},
        {"attention_spread": None},
        {"edge_blur": 0.0},
        {"temperature": 0.25, "attention_spread": 0.5, "edge_blur": 2.0},
        PLAIN,
    ],
    ids=str,
)
def test_mask_features_and_weight_equal_the_loop(rng, plan, shape, options):
    features = rng.normal(size=(6, *shape, 7)).astype("float32")
    mixed, after = call(FeatureMixAdapt(2, **options), features, plan)
    oracle = {**options, "attention": options.get("attention", "activation") is not None}
    mask = oracles.adapt(features, to_numpy(plan), **oracle)
    expected = oracles.mix(features, {"mask": mask, "partner": to_numpy(plan["partner"])})
    np.testing.assert_allclose(mixed, expected, atol=2e-5)
    np.testing.assert_allclose(after["weight"], mask.mean((1, 2, 3)), atol=1e-5)


def test_layers_of_other_sites_do_nothing(plan, features):
    for site, training in ((1, True), (3, True), (2, False), (2, None)):
        mixed, after = to_numpy(FeatureMixAdapt(site)(features, plan, training=training))
        np.testing.assert_array_equal(mixed, features)
        keras.tree.map_structure(np.testing.assert_array_equal, after, to_numpy(plan))
    mixed, after = call(FeatureMixAdapt(2), features, plan)
    assert not np.array_equal(mixed, features)
    for key in ("partner", "site"):
        np.testing.assert_array_equal(after[key], to_numpy(plan[key]))


@pytest.mark.parametrize("options", [{}, {"preserve_ratio": False}, {"attention": None, "smooth": False}], ids=str)
def test_the_plan_gets_the_adapted_mask_at_the_size_of_the_images(plan, features, options):
    layer = FeatureMixAdapt(2, **options)
    _, after = call(layer, features, plan)
    adapted = to_numpy(layer.mask(features, plan))[..., 0]
    expected = [oracles.area_pool(mask, *plan["mask"].shape[1:3]) for mask in adapted]
    np.testing.assert_allclose(after["mask"][..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(after["weight"], after["mask"].mean((1, 2, 3)), atol=1e-5)
    is_unmixed = (to_numpy(plan["mask"]) == 1).all((1, 2, 3))
    assert is_unmixed.any() and (after["mask"][is_unmixed] == 1).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"label": "mixer"}, {"combine": "multiply"}, {"attention": "cbam"}, {"edge_blur": 0}, PLAIN],
    ids=str,
)
def test_unmixed_samples_are_unchanged(plan, features, options):
    mixed, after = call(FeatureMixAdapt(2, **options), features, plan)
    np.testing.assert_array_equal(mixed[5], features[5])
    assert after["weight"][5] == 1


def test_nan_affects_only_samples_that_are_mixed_with_it(plan, features):
    features[0, 2, 2] = np.nan
    mixed, after = call(FeatureMixAdapt(2), features, plan)
    is_affected = np.isin(np.arange(6), [0, 1])  # sample 1 is mixed with sample 0
    assert np.isfinite(mixed[~is_affected]).all() and np.isfinite(after["weight"][~is_affected]).all()
    # A mixer never draws this plan, but a user can write it: sample 5 is unmixed, and its partner contains NaN.
    handwritten = {**to_numpy(plan), "partner": np.array([1, 2, 3, 4, 5, 0], "int32")}
    assert np.isfinite(call(FeatureMixAdapt(2), features, handwritten)[0][5]).all()


def test_label_mixer_keeps_the_mixers_weight(plan, features):
    calibrated = {**plan, "weight": ops.convert_to_tensor(np.linspace(0.1, 1, 6), "float32")}
    _, after = call(FeatureMixAdapt(2, label="mixer"), features, calibrated)
    np.testing.assert_allclose(after["weight"], np.linspace(0.1, 1, 6), atol=1e-6)
    np.testing.assert_array_equal(after["mask"], to_numpy(plan["mask"]))
    _, adapted = call(FeatureMixAdapt(2), features, calibrated)
    assert not np.allclose(adapted["weight"], after["weight"])


@pytest.mark.parametrize("attention", ["activation", "cbam", None])
@pytest.mark.parametrize("temperature", [0.05, 0.25, 1.0])
def test_preserve_ratio_keeps_the_mean_of_the_mask(plan, features, attention, temperature):
    options = {"temperature": temperature, "attention": attention, "edge_blur": 0}
    _, after = call(FeatureMixAdapt(2, **options), features, plan)
    np.testing.assert_allclose(after["weight"], to_numpy(plan["mask"]).mean((1, 2, 3)), atol=1e-5)
    free = call(FeatureMixAdapt(2, preserve_ratio=False, **options), features, plan)[1]["weight"]
    assert np.abs(free - after["weight"]).max() > 1e-3


def test_the_lowest_temperatures_give_hard_masks(plan, features):
    masks = [
        call(layers.FeatureMixAdapt(2, temperature=temperature), features, plan)[1]["mask"]
        for temperature in (1e-6, 1e-40)
    ]
    np.testing.assert_array_equal(*masks)
    is_soft = (masks[0] > 0.01) & (masks[0] < 0.99)
    assert np.isfinite(masks).all() and is_soft[:5].mean() < 0.05


def test_balance_reaches_extreme_means(rng):
    logits = rng.normal(size=(4, 6, 6, 1)).astype("float32") * 50
    mean = np.array([0.0, 1e-3, 0.5, 1 - 1e-3], "float32").reshape(4, 1, 1, 1)
    shift = ops.convert_to_numpy(balance(ops.convert_to_tensor(logits), ops.convert_to_tensor(mean)))
    balanced = 1 / (1 + np.exp(-(logits + shift.astype("float64"))))
    np.testing.assert_allclose(balanced.mean((1, 2, 3)), mean.ravel(), atol=1e-5)


def test_naive_mixing_uses_the_resized_mask(plan, features):
    naive = FeatureMixAdapt(2, attention=None, smooth=False, resize="nearest")
    mask = ops.convert_to_numpy(naive.mask(features, plan))
    mixer = to_numpy(plan["mask"])
    rows, columns = (np.arange(8) * 2 + 1), (np.arange(10) * 2 + 1)  # center of each 2 x 2 cell, rounded up
    np.testing.assert_allclose(mask, mixer[:, rows][:, :, columns], atol=1e-6)


def test_temperature_pulls_the_weight_towards_one_half():
    """Uniform features, so attention has no effect: T = 1 pulls the weights towards 1/2, T = 0.25 keeps the areas."""
    areas = np.array([0.125, 0.25, 0.5, 0.75, 0.875])
    mask = np.zeros((5, 32, 32, 1), "float32")
    for sample, area in enumerate(areas):
        mask[sample, : int(32 * area)] = 1
    plan = plans.make(np.array([1, 2, 3, 4, 0]), mask, site=1)
    features = np.ones((5, 32, 32, 1), "float32")
    warm = call(FeatureMixAdapt(1, temperature=1.0, **PLAIN), features, plan)[1]["weight"]
    cool = call(FeatureMixAdapt(1, temperature=0.25, **PLAIN), features, plan)[1]["weight"]
    assert (np.abs(cool - areas) < 0.02).all()
    assert (np.abs(warm - 0.5) < 0.62 * np.abs(areas - 0.5) + 1e-6).all()


def test_the_softmax_smooths_the_mask_where_features_are_insignificant(plan):
    features = np.ones((6, 16, 20, 3), "float32")
    features[:, :, :10] = 0.01
    mask = ops.convert_to_numpy(FeatureMixAdapt(2, temperature=0.25, **PLAIN).mask(features, plan))[0, ..., 0]
    assert np.abs(mask[:, :10] - 0.5).max() < 0.05  # features of low energy: an even blend
    assert np.abs(mask[:, 10:] - 0.5).min() > 0.45  # features of high energy: the mask of the mixer


def test_masks_do_not_depend_on_the_scale_of_the_features_and_are_finite_for_zeros(plan, features):
    layer = FeatureMixAdapt(2)
    expected = ops.convert_to_numpy(layer.mask(features, plan))
    np.testing.assert_allclose(ops.convert_to_numpy(layer.mask(1000 * features, plan)), expected, atol=1e-5)
    for options in ({}, {"smooth": False}, {"attention": "cbam"}):
        mask = ops.convert_to_numpy(FeatureMixAdapt(2, **options).mask(np.zeros_like(features), plan))
        assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1


def test_cbam_equals_scipy(rng):
    from scipy import ndimage

    from keras_mma.layers.feature_mix_adapt import cbam

    features = rng.normal(size=(2, 9, 11, 5)).astype("float32")
    pooled = features.mean(-1) + features.max(-1)
    filtered = np.stack([ndimage.uniform_filter(maps, 7, mode="constant") for maps in pooled])
    share_inside = ndimage.uniform_filter(np.ones((9, 11)), 7, mode="constant")
    expected = 1 / (1 + np.exp(-filtered / share_inside))
    np.testing.assert_allclose(ops.convert_to_numpy(cbam(features))[..., 0], expected, atol=1e-4)


def test_channels_first_equals_channels_last(plan, features):
    last, after = call(FeatureMixAdapt(2, data_format="channels_last"), features, plan)
    first, after_first = call(FeatureMixAdapt(2, data_format="channels_first"), features.transpose(0, 3, 1, 2), plan)
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, atol=1e-6)
    np.testing.assert_allclose(after_first["weight"], after["weight"], atol=1e-6)


def test_without_the_softmax_nothing_else_is_smoothed_by_default():
    layer = FeatureMixAdapt(1, smooth=False)
    assert layer.edge_blur == 0 and layer.preserve_ratio is False
    layer = FeatureMixAdapt(1)
    assert layer.edge_blur == 1 and layer.preserve_ratio is True
    assert FeatureMixAdapt.from_config(layer.get_config()).get_config() == layer.get_config()
    assert FeatureMixAdapt(1, smooth=False, edge_blur=2).edge_blur == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_features_and_plan_keep_their_dtypes(plan, features, dtype):
    mixed, after = FeatureMixAdapt(2)(ops.cast(features, dtype), plan, training=True)
    assert keras.backend.standardize_dtype(mixed.dtype) == dtype
    assert {key: keras.backend.standardize_dtype(after[key].dtype) for key in plans.KEYS} == {
        "partner": "int32",
        "mask": "float32",
        "weight": "float32",
        "site": "int32",
    }


def test_config_round_trip(plan, features):
    layer = FeatureMixAdapt(
        2,
        temperature=0.3,
        attention="cbam",
        combine="multiply",
        attention_spread=0.5,
        preserve_ratio=False,
        label="mixer",
        resize="nearest",
        edge_blur=0.5,
        data_format="channels_last",
    )
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(call(copy, features, plan)[0], call(layer, features, plan)[0])


def test_attention_can_be_a_layer_that_is_not_trained(plan, features, tmp_path):
    gate = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    for _ in range(2):  # not built, then trainable
        with pytest.raises(ValueError, match="`attention` must be built and have `trainable=False` if it is a layer"):
            FeatureMixAdapt(2, attention=gate)
        if not gate.built:
            gate.build((None, 8, 10, features.shape[-1]))
    gate.trainable = False
    inputs = keras.Input((16, 16, 3))
    x, made = layers.CutMix(sites=(1,), seed=1)(inputs)
    x = keras.layers.Conv2D(features.shape[-1], 3)(x)
    x, made = FeatureMixAdapt(1, attention=gate)(x, made)
    model = keras_mma.MixModel(inputs, (keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)), made))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = keras.ops.convert_to_numpy(gate.kernel)
    model.fit(np.ones((4, 16, 16, 3), "float32"), np.array([0, 1, 0, 1]), verbose=0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(gate.kernel), before)
    model.trainable = False
    model.trainable = True
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (layer,) = (layer for layer in loaded.layers if isinstance(layer, FeatureMixAdapt))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.attention.kernel), before)


def test_an_attention_that_is_the_detector_too_is_saved(tmp_path):
    gate = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", trainable=False)
    gate.build((None, None, None, 3))
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same", name="first")])
    network.add(keras.layers.GlobalAveragePooling2D())
    model = keras_mma.mixify(network, layers.SaliencyMix(detector=gate), at=["first"], attention=gate)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (adapter,) = (layer for layer in loaded.layers if isinstance(layer, FeatureMixAdapt))
    for layer in (adapter.attention, loaded.mixer.detector):
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(of.kernel) for of in (layer, gate)))


class Gate(keras.Layer):
    """A layer that Keras cannot copy."""

    def __init__(self, units):
        super().__init__(trainable=False)
        self.dense, self.built = keras.layers.Dense(units), True

    def call(self, features):
        return ops.abs(self.dense(features))


def test_an_attention_that_cannot_be_copied_is_shared_with_a_warning():
    gate = Gate(1)
    gate.dense.build((None, None, None, 4))
    network = keras.Sequential([keras.Input((8, 8, 3))])
    for name in ("first", "second"):
        network.add(keras.layers.Conv2D(4, 3, padding="same", name=name))
    network.add(keras.layers.GlobalAveragePooling2D())
    with pytest.warns(UserWarning, match="could not be copied, so that a saved model cannot be loaded"):
        model = keras_mma.mixify(network, layers.CutMix(), at=["first", "second"], attention=gate)
    assert all(layer.attention is gate for layer in model.layers if isinstance(layer, FeatureMixAdapt))


def test_mixing_points_that_share_an_attention_are_saved(tmp_path):
    gate = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", trainable=False)
    gate.build((None, None, None, 4))
    network = keras.Sequential([keras.Input((8, 8, 3))])
    for name in ("first", "second"):
        network.add(keras.layers.Conv2D(4, 3, padding="same", name=name))
    network.add(keras.layers.GlobalAveragePooling2D())
    model = keras_mma.mixify(network, layers.CutMix(), at=["first", "second"], attention=gate)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    adapters = [layer for layer in loaded.layers if isinstance(layer, FeatureMixAdapt)]
    assert len(adapters) == 2
    for layer in adapters:
        assert not layer.trainable_weights
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(of.kernel) for of in (layer.attention, gate)))


class Outer(keras.Layer):
    """Adapts a mask and drops features afterwards, both in the mode in which it is called."""

    def __init__(self, attention):
        super().__init__()
        self.adapt, self.dropout = FeatureMixAdapt(2, attention=attention), keras.layers.Dropout(0.5, seed=1)

    def call(self, features, plan):
        return self.adapt(features, plan)[1]["mask"], self.dropout(features)


def test_an_attention_that_is_a_layer_is_in_inference_mode(plan, features):
    """A frozen layer with dropout is not random, and the layers that are called after it are in training mode."""
    gate = keras.Sequential([keras.layers.Dropout(0.5, seed=1), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    gate.build((None, 8, 10, features.shape[-1]))
    gate.trainable = False
    outer = Outer(gate)
    masks, dropped = zip(*(to_numpy(outer(features, plan, training=True)) for _ in range(2)), strict=True)
    np.testing.assert_array_equal(*masks)
    expected = FeatureMixAdapt(2, attention=lambda x: gate(x, training=False))(features, plan, training=True)
    np.testing.assert_allclose(masks[0], to_numpy(expected[1]["mask"]), atol=1e-6)
    assert all(0.3 < (values == 0).mean() < 0.7 for values in dropped)
    # Outside of a layer's call, nothing is left behind.
    outer.adapt.mask(features, plan)
    assert (to_numpy(keras.layers.Dropout(0.5)(features, training=True)) == 0).any()
    assert not (to_numpy(keras.layers.Dropout(0.5)(features)) == 0).any()


def test_attention_can_be_a_callable(plan, features):
    layer = FeatureMixAdapt(2, attention=lambda x: ops.mean(ops.abs(x), -1, keepdims=True))
    np.testing.assert_allclose(call(layer, features, plan)[0], call(FeatureMixAdapt(2), features, plan)[0], atol=1e-6)


@pytest.mark.parametrize("site", [1, 2])
def test_a_site_that_does_not_fire_computes_nothing(needs_tensorflow, plan, features, site):
    import tensorflow as tf

    calls = []

    def attention(x):
        tf.py_function(lambda: calls.append(1), [], [])
        return ops.mean(ops.abs(x), -1, keepdims=True)

    layer = FeatureMixAdapt(site, attention=attention)
    graph = tf.function(lambda x, p: layer(x, p, training=True))  # the site of the plan, 2, is unknown when traced
    for _ in range(3):
        graph(features, plan)
    assert len(calls) == (3 if site == 2 else 0)


def test_maps_of_a_callable_are_checked(plan, features):
    for attention in (lambda x: x, lambda x: x[:, :4, :, :1], lambda x: x[..., 0]):
        with pytest.raises(ValueError, match=r"`attention` must return maps of shape \(6, 8, 10, 1\). Received: shape"):
            FeatureMixAdapt(2, attention=attention)(features, plan, training=True)
    mask = FeatureMixAdapt(2, attention=lambda x: x[..., :1], smooth=False).mask(features, plan)
    assert ops.convert_to_numpy(mask).min() >= 0


def test_features_carry_a_gradient_and_masks_do_not(needs_tensorflow, plan, features):
    import tensorflow as tf

    x = tf.constant(features)
    layer = FeatureMixAdapt(2)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        mixed, after = layer(x, plan, training=True)
        weight, total = tf.reduce_sum(after["weight"]), tf.reduce_sum(mixed)
    assert tape.gradient(weight, x) is None or not np.any(tape.gradient(weight, x))
    mask = ops.convert_to_numpy(layer.mask(features, plan))
    expected = mask.copy()
    for sample, partner in enumerate(to_numpy(plan["partner"])):
        expected[partner] += 1 - mask[sample]
    np.testing.assert_allclose(
        tf.convert_to_tensor(tape.gradient(total, x)), np.broadcast_to(expected, x.shape), atol=1e-5
    )


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"])
def test_compiled_and_eager_calls_agree(needs_tensorflow, plan, features, xla):
    import tensorflow as tf

    for options in ({}, {"attention": "cbam"}, PLAIN):
        layer = FeatureMixAdapt(2, **options)
        expected, after = call(layer, features, plan)
        compiled = tf.function(lambda x, p, layer=layer: layer(x, p, training=True), jit_compile=xla)
        mixed, after_compiled = to_numpy(compiled(features, plan))
        # A mask that is nearly hard determines the shift that keeps its mean to fewer digits.
        np.testing.assert_allclose(mixed, expected, atol=5e-5 if layer.preserve_ratio else 1e-5)
        np.testing.assert_allclose(after_compiled["weight"], after["weight"], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"site": 0}, "`site` must be an integer of at least 1. Received: site=0"),
        ({"site": "1"}, "`site` must be .* Received: site='1'"),
        ({"temperature": 0}, "`temperature` must be .* Received: temperature=0"),
        ({"attention": "se"}, "`attention` must be one of .* Received: attention='se'"),
        ({"attention_spread": 0}, "`attention_spread` must be .* Received: attention_spread=0"),
        ({"edge_blur": -1}, "`edge_blur` must be .* Received: edge_blur=-1"),
        ({"combine": "max"}, "`combine` must be one of .* Received: combine='max'"),
        ({"preserve_ratio": 1}, "`preserve_ratio` must be True or False. Received: preserve_ratio=1"),
        ({"preserve_ratio": True, "smooth": False}, "`preserve_ratio` requires `smooth`"),
        ({"label": "area"}, "`label` must be one of .* Received: label='area'"),
        ({"resize": "cubic"}, "`resize` must be one of .* Received: resize='cubic'"),
        ({"smooth": "yes"}, "`smooth` must be True or False. Received: smooth='yes'"),
    ],
)
def test_invalid_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        FeatureMixAdapt(**{"site": 1, **arguments})


def test_invalid_inputs_raise(plan, features):
    layer = FeatureMixAdapt(2)
    with pytest.raises(ValueError, match=r"`features` must be a batch of maps of rank 4.* Received: shape \(6, 8\)"):
        layer(features[:, :, 0, 0], plan)
    with pytest.raises(ValueError, match="must be for the same batch .* expected 5 samples. Received: .* 6 samples"):
        layer(features[:5], plan)
    with pytest.raises(ValueError, match="`plan` must be a dict with the keys"):
        layer(features, {"mask": plan["mask"]})


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_gradients_in_a_graph_equal_those_of_an_eager_call(needs_tensorflow, rng, features, plan, jit_compile):
    import tensorflow as tf

    layer, upstream = FeatureMixAdapt(2), rng.normal(size=features.shape).astype("float32")

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, plan, training=True)[0] * upstream)
        return tape.gradient(total, x)

    compiled = tf.function(gradient, jit_compile=jit_compile)
    own, expected = to_numpy(layer.mask(ops.convert_to_tensor(features), plan)), np.zeros_like(features)
    for sample, partner in enumerate(to_numpy(plan["partner"])):
        expected[sample] += own[sample] * upstream[sample]
        expected[partner] += (1 - own[sample]) * upstream[sample]
    for step in (gradient, compiled):
        np.testing.assert_allclose(step(tf.constant(features)), expected, atol=1e-5)


def test_features_of_partners_are_not_kept_for_the_backward_pass(needs_tensorflow, features, plan):
    """What the branch of a graph keeps, it returns as optional values."""
    import tensorflow as tf

    layer = FeatureMixAdapt(2)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, plan, training=True)[0])
        return tape.gradient(total, x)

    # A site that is known beforehand leaves no branch.
    plan = {**plan, "site": tf.Variable(2)}
    graph = tf.function(gradient).get_concrete_function(tf.TensorSpec(features.shape, tf.float32)).graph
    kept, operations = [], {}
    for function in graph.as_graph_def().library.function:
        operations |= {node.name: node.op for node in function.node_def}
        kept += [node.input[0].split(":")[0] for node in function.node_def if node.op == "OptionalFromValue"]
    assert kept and "GatherV2" not in [operations.get(name) for name in kept]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_site_that_does_not_fire_allocates_nothing():
    if keras.backend.backend() == "jax":
        pytest.skip("XLA reserves memory for the branch that needs most, whichever runs")
    process = subprocess.run(
        [sys.executable, "-m", "tests.layers.site_memory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    peak = json.loads(process.stdout.splitlines()[-1])
    assert peak["fires"] > 1 and peak["does_not_fire"] < 0.1
