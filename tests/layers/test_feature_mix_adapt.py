"""MMA against loops, its invariants, and every ablation."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import plans
from keras_mma.layers import FeatureMixAdapt
from keras_mma.layers.feature_mix_adapt import balance
from tests import oracles
from tests.layers.mixers import to_numpy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(rng):
    mask = np.ones((6, 16, 20, 1), "float32")
    for row in range(5):  # row 5 stays unmixed
        top, left = rng.integers(0, 10, 2)
        mask[row, top : top + rng.integers(3, 9), left : left + rng.integers(3, 9)] = 0
    mask[4] = rng.random((16, 20, 1))
    return plans.make(np.array([3, 0, 1, 5, 2, 4]), mask, site=2)


@pytest.fixture
def features(rng):
    return rng.normal(size=(6, 8, 10, 7)).astype("float32")


def call(layer, features, plan):
    return to_numpy(layer(features, plan, training=True))


@pytest.mark.parametrize("shape", [(8, 10), (5, 7), (16, 20), (1, 1), (20, 33)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.0},
        {"combine": "add"},
        {"attention": None},
        {"smooth": False},
        {"smooth": False, "attention": None},
        {"smooth": False, "combine": "add"},
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


def test_only_its_site_fires(plan, features):
    for site, training in ((1, True), (3, True), (2, False), (2, None)):
        mixed, after = to_numpy(FeatureMixAdapt(site)(features, plan, training=training))
        np.testing.assert_array_equal(mixed, features)
        keras.tree.map_structure(np.testing.assert_array_equal, after, to_numpy(plan))
    mixed, after = call(FeatureMixAdapt(2), features, plan)
    assert not np.array_equal(mixed, features)
    for key in ("partner", "mask", "site"):
        np.testing.assert_array_equal(after[key], to_numpy(plan[key]))


@pytest.mark.parametrize(
    "options",
    [{}, {"label": "mixer"}, {"preserve_ratio": True}, {"combine": "add"}, {"attention": "cbam"}],
    ids=str,
)
def test_an_unmixed_row_stays_exactly_as_it_is(plan, features, options):
    mixed, after = call(FeatureMixAdapt(2, **options), features, plan)
    np.testing.assert_array_equal(mixed[5], features[5])
    assert after["weight"][5] == 1


def test_nan_reaches_only_rows_mixed_with_it(plan, features):
    features[0, 2, 2] = np.nan
    mixed, after = call(FeatureMixAdapt(2), features, plan)
    touched = np.isin(np.arange(6), [0, 1])  # row 1 is mixed with row 0
    assert np.isfinite(mixed[~touched]).all() and np.isfinite(after["weight"][~touched]).all()
    # A plan that its user wrote: unmixed, with a partner that is NaN.
    by_hand = {**to_numpy(plan), "partner": np.array([1, 2, 3, 4, 5, 0], "int32")}
    assert np.isfinite(call(FeatureMixAdapt(2), features, by_hand)[0][5]).all()


def test_label_mixer_keeps_the_mixers_weight(plan, features):
    calibrated = {**plan, "weight": ops.convert_to_tensor(np.linspace(0.1, 1, 6), "float32")}
    _, after = call(FeatureMixAdapt(2, label="mixer"), features, calibrated)
    np.testing.assert_allclose(after["weight"], np.linspace(0.1, 1, 6), atol=1e-6)
    _, adapted = call(FeatureMixAdapt(2), features, calibrated)
    assert not np.allclose(adapted["weight"], after["weight"])


@pytest.mark.parametrize("attention", ["activation", "cbam", None])
@pytest.mark.parametrize("temperature", [0.05, 0.25, 1.0])
def test_preserve_ratio_keeps_the_mixers_share(plan, features, attention, temperature):
    layer = FeatureMixAdapt(2, preserve_ratio=True, attention=attention, temperature=temperature)
    _, after = call(layer, features, plan)
    np.testing.assert_allclose(after["weight"], to_numpy(plan["mask"]).mean((1, 2, 3)), atol=1e-5)
    free = call(FeatureMixAdapt(2, temperature=temperature, attention=attention), features, plan)[1]["weight"]
    assert np.abs(free - after["weight"]).max() > 1e-3


def test_balance_finds_extreme_shares(rng):
    logits = rng.normal(size=(4, 6, 6, 1)).astype("float32") * 50
    share = np.array([0.0, 1e-3, 0.5, 1 - 1e-3], "float32").reshape(4, 1, 1, 1)
    shift = ops.convert_to_numpy(balance(ops.convert_to_tensor(logits), ops.convert_to_tensor(share)))
    found = 1 / (1 + np.exp(-(logits + shift.astype("float64"))))
    np.testing.assert_allclose(found.mean((1, 2, 3)), share.ravel(), atol=1e-5)


def test_naive_use_is_a_matter_of_arguments(plan, features):
    naive = FeatureMixAdapt(2, attention=None, smooth=False, resize="nearest")
    mask = ops.convert_to_numpy(naive.mask(features, plan))
    mixer = to_numpy(plan["mask"])
    rows, columns = (np.arange(8) * 2 + 1), (np.arange(10) * 2 + 1)  # the centre of a 2 x 2 cell, rounded up
    np.testing.assert_allclose(mask, mixer[:, rows][:, :, columns], atol=1e-6)


def test_the_temperature_sets_how_far_shares_are_drawn_to_a_half():
    """The design's table: true areas and what remains of them at T = 1 and T = 0.25 without attention's help."""
    areas = np.array([0.125, 0.25, 0.5, 0.75, 0.875])
    mask = np.zeros((5, 32, 32, 1), "float32")
    for row, area in enumerate(areas):
        mask[row, : int(32 * area)] = 1
    plan = plans.make(np.array([1, 2, 3, 4, 0]), mask, site=1)
    features = np.ones((5, 32, 32, 1), "float32")
    warm = call(FeatureMixAdapt(1, temperature=1.0), features, plan)[1]["weight"]
    cool = call(FeatureMixAdapt(1), features, plan)[1]["weight"]
    assert (np.abs(cool - areas) < 0.02).all()
    assert (np.abs(warm - 0.5) < 0.62 * np.abs(areas - 0.5) + 1e-6).all()


def test_softmax_smooths_where_features_are_insignificant(plan):
    features = np.ones((6, 16, 20, 3), "float32")
    features[:, :, :10] = 0.01
    mask = ops.convert_to_numpy(FeatureMixAdapt(2).mask(features, plan))[0, ..., 0]
    assert np.abs(mask[:, :10] - 0.5).max() < 0.05  # hardly decided
    assert np.abs(mask[:, 10:] - 0.5).min() > 0.45  # as the mixer says


def test_attention_scale_and_zero_features(plan, features):
    layer = FeatureMixAdapt(2)
    expected = ops.convert_to_numpy(layer.mask(features, plan))
    np.testing.assert_allclose(ops.convert_to_numpy(layer.mask(1000 * features, plan)), expected, atol=1e-5)
    for options in ({}, {"smooth": False}, {"attention": "cbam"}):
        mask = ops.convert_to_numpy(FeatureMixAdapt(2, **options).mask(np.zeros_like(features), plan))
        assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1


def test_cbam_equals_its_definition(rng):
    from scipy import ndimage

    from keras_mma.layers.attention import cbam

    features = rng.normal(size=(2, 9, 11, 5)).astype("float32")
    pooled = features.mean(-1) + features.max(-1)
    inside = np.stack([ndimage.uniform_filter(p, 7, mode="constant") for p in pooled])
    counts = ndimage.uniform_filter(np.ones((9, 11)), 7, mode="constant")
    expected = 1 / (1 + np.exp(-inside / counts))
    np.testing.assert_allclose(ops.convert_to_numpy(cbam(features))[..., 0], expected, atol=1e-4)


def test_channels_first_is_the_same_thing_transposed(plan, features):
    last, after = call(FeatureMixAdapt(2, data_format="channels_last"), features, plan)
    first, same = call(FeatureMixAdapt(2, data_format="channels_first"), features.transpose(0, 3, 1, 2), plan)
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, atol=1e-6)
    np.testing.assert_allclose(same["weight"], after["weight"], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_features_keep_their_dtype_and_the_plan_its_own(plan, features, dtype):
    mixed, after = FeatureMixAdapt(2)(ops.cast(features, dtype), plan, training=True)
    assert keras.backend.standardize_dtype(mixed.dtype) == dtype
    assert {key: keras.backend.standardize_dtype(after[key].dtype) for key in plans.KEYS} == {
        "partner": "int32",
        "mask": "float32",
        "weight": "float32",
        "site": "int32",
    }


def test_the_config_makes_the_same_layer(plan, features):
    layer = FeatureMixAdapt(
        2,
        temperature=0.5,
        attention="cbam",
        combine="add",
        preserve_ratio=True,
        label="mixer",
        resize="nearest",
        data_format="channels_last",
    )
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(call(copy, features, plan)[0], call(layer, features, plan)[0])


def test_a_callable_attends(plan, features):
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
    graph = tf.function(lambda x, p: layer(x, p, training=True))  # the plan's site, 2, is known only when it runs
    for _ in range(3):
        graph(features, plan)
    assert len(calls) == (3 if site == 2 else 0)


def test_what_a_callable_gives_is_checked(plan, features):
    for attention in (lambda x: x, lambda x: x[:, :4, :, :1], lambda x: x[..., 0]):
        with pytest.raises(ValueError, match=r"`attention` must return maps of shape \(6, 8, 10, 1\). Received: shape"):
            FeatureMixAdapt(2, attention=attention)(features, plan, training=True)
    mask = FeatureMixAdapt(2, attention=lambda x: x[..., :1], smooth=False).mask(features, plan)
    assert ops.convert_to_numpy(mask).min() >= 0


def test_masks_carry_no_gradient_and_features_do(needs_tensorflow, plan, features):
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
    for row, partner in enumerate(to_numpy(plan["partner"])):
        expected[partner] += 1 - mask[row]
    np.testing.assert_allclose(
        tf.convert_to_tensor(tape.gradient(total, x)), np.broadcast_to(expected, x.shape), atol=1e-5
    )


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_compiled_calls_agree_with_eager_ones(needs_tensorflow, plan, features, xla):
    import tensorflow as tf

    for options in ({}, {"preserve_ratio": True}, {"attention": "cbam"}, {"resize": "nearest"}):
        layer = FeatureMixAdapt(2, **options)
        expected, after = call(layer, features, plan)
        compiled = tf.function(lambda x, p, layer=layer: layer(x, p, training=True), jit_compile=xla)
        mixed, same = to_numpy(compiled(features, plan))
        np.testing.assert_allclose(mixed, expected, atol=1e-5)
        np.testing.assert_allclose(same["weight"], after["weight"], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"site": 0}, "`site` must be an integer of at least 1. Received: site=0"),
        ({"site": "1"}, "`site` must be .* Received: site='1'"),
        ({"temperature": 0}, "`temperature` must be .* Received: temperature=0"),
        ({"attention": "se"}, "`attention` must be one of .* Received: attention='se'"),
        ({"combine": "max"}, "`combine` must be one of .* Received: combine='max'"),
        ({"preserve_ratio": 1}, "`preserve_ratio` must be True or False. Received: preserve_ratio=1"),
        ({"preserve_ratio": True, "smooth": False}, "`preserve_ratio` requires `smooth`"),
        ({"label": "area"}, "`label` must be one of .* Received: label='area'"),
        ({"resize": "cubic"}, "`resize` must be one of .* Received: resize='cubic'"),
        ({"smooth": "yes"}, "`smooth` must be True or False. Received: smooth='yes'"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        FeatureMixAdapt(**{"site": 1, **arguments})


def test_bad_inputs_are_refused(plan, features):
    layer = FeatureMixAdapt(2)
    with pytest.raises(ValueError, match=r"`features` must be a batch of maps of rank 4.* Received: shape \(6, 8\)"):
        layer(features[:, :, 0, 0], plan)
    with pytest.raises(ValueError, match="must be for the same batch .* expected 5 samples. Received: .* 6 samples"):
        layer(features[:5], plan)
    with pytest.raises(ValueError, match="`plan` must be a dict with the keys"):
        layer(features, {"mask": plan["mask"]})


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_site_that_does_not_fire_allocates_nothing():
    if keras.backend.backend() == "jax":
        pytest.skip("XLA reserves memory when it compiles, for the branch that needs most")
    done = subprocess.run(
        [sys.executable, "-m", "tests.layers.site_memory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["fires"] > 1 and found["does_not_fire"] < 0.1
