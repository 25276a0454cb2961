"""The conventions that every mixer must satisfy, one test per convention, over the table of mixers."""

import inspect

import keras
import numpy as np
import pytest
from scipy import stats

from keras_mma import layers, plans
from tests import oracles
from tests.layers.mixers import CASES, MOVING_CASES, gather, is_calibrated, repeatedly, to_numpy, training_plan
from tests.pictures import blobs, one_hot

every_mixer = pytest.mark.parametrize("case", CASES + MOVING_CASES, ids=str)
every_mask_mixer = pytest.mark.parametrize("case", CASES, ids=str)
pytestmark = pytest.mark.sampled


def make(case, **kwargs):
    cls, settings = case
    return cls(**{"seed": 5, **settings, **kwargs})


def is_mixed(plan):
    return plan["mask"].min((1, 2, 3)) < 1


def test_the_table_contains_every_mixer_with_its_defaults():
    with_defaults = {cls for cls, settings in CASES + MOVING_CASES if not settings or cls is layers.PuzzleMix}
    assert with_defaults == set(layers.MIXERS.values())


@every_mixer
def test_plan_shapes_dtypes_and_ranges(case, rng):
    images = blobs(rng, 7, 16, 20)
    mixed, plan = training_plan(make(case), images)
    assert plans.is_plan(plan) and mixed.shape == images.shape
    assert plan["partner"].shape == (7,) and plan["partner"].dtype == "int32"
    assert plan["mask"].shape == (7, 16, 20, 1) and plan["mask"].dtype == "float32"
    assert plan["weight"].shape == (7,) and plan["weight"].dtype == "float32"
    assert plan["site"].shape == () and plan["site"].dtype == "int32" and plan["site"] == 0
    for key in ("mask", "weight"):
        assert plan[key].min() >= 0 and plan[key].max() <= 1
    assert set(plan["partner"]) <= set(range(7))


@every_mixer
def test_weight_is_the_mean_of_the_applied_mask(case, rng):
    mixer = make(case)
    for _ in range(5):
        _, plan = training_plan(mixer, blobs(rng, 9))
        if is_calibrated(case):
            assert not np.allclose(plan["weight"], plan["mask"].mean((1, 2, 3)))
        else:
            # XLA adds the pixels one after the other, and NumPy in pairs.
            np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=5e-6)


@every_mask_mixer
def test_mask_is_the_share_of_the_own_image(case, rng):
    images = blobs(rng, 8).astype("float32")
    mixed, plan = training_plan(make(case), images)
    np.testing.assert_allclose(mixed, oracles.mix(images, plan), rtol=1e-4, atol=1e-2)
    assert not np.allclose(mixed, images)


@every_mixer
def test_draws_are_per_sample(case, rng):
    # A small image allows few box sizes: 32 samples almost surely have more than 8, 16 samples may not.
    _, plan = training_plan(make(case), blobs(rng, 32))
    if case[1].get("box") == "batch":
        mixed = plan["partner"] != np.arange(32)
        assert len(np.unique(plan["mask"][mixed], axis=0)) == 1
    else:
        assert len(np.unique(plan["weight"])) > 8
        assert len(np.unique(plan["mask"], axis=0)) > 8
    assert len(np.unique(plan["partner"])) > 8


# A batch that shares its box has one draw for all samples.
@pytest.mark.parametrize("case", [case for case in CASES + MOVING_CASES if "box" not in case.settings], ids=str)
def test_probability_is_the_rate_of_mixed_samples(case, rng):
    images = np.tile(blobs(rng, 10, 16, 16), (40, 1, 1, 1))
    mixer = make(case, probability=0.3)
    # Compiled where pairing by distance takes a step for each sample.
    step = repeatedly(mixer, images) if mixer.partner == "distance" else lambda: training_plan(mixer, images)
    mixed = np.concatenate([is_mixed(step()[1]) for _ in range(4)])
    # A box can be empty and a sample its own partner, so even probability 1 leaves samples unmixed.
    _, always = training_plan(make(case, probability=1.0), images[:100])
    expected = 0.3 * is_mixed(always).mean()
    assert abs(mixed.mean() - expected) < 5 * np.sqrt(0.25 / mixed.size)
    _, never = training_plan(make(case, probability=0.0), images[:40])
    assert (never["weight"] == 1).all() and (never["mask"] == 1).all()


@every_mixer
def test_unmixed_samples_are_unchanged(case, rng):
    images = blobs(rng, 32).astype("float32")
    mixed, plan = training_plan(make(case, probability=0.5), images)
    is_unmixed = ~is_mixed(plan)
    assert (plan["weight"][is_unmixed] == 1).all()
    if case.settings.get("box") != "batch":  # which mixes all samples or none
        assert 0 < is_unmixed.sum() < 32
    np.testing.assert_array_equal(mixed[is_unmixed], images[is_unmixed])
    np.testing.assert_array_equal(plan["partner"][is_unmixed], np.flatnonzero(is_unmixed))


@every_mixer
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
def test_images_keep_their_dtype(case, rng, dtype):
    images = blobs(rng, 6).astype(dtype)
    if keras.backend.backend() == "jax" and dtype == "float64":
        pytest.skip("JAX disables 64-bit types by default")
    mixed, plan = training_plan(make(case), images)
    assert mixed.dtype == dtype
    if case in CASES:
        np.testing.assert_allclose(mixed.astype("float64"), oracles.mix(images, plan), atol=0.51)


@every_mixer
def test_value_range_does_not_change_the_plan(case, rng):
    images = blobs(rng, 8, 32, 32)
    _, expected = training_plan(make(case), images)
    for rescaled in (images.astype("float32"), (images / 255).astype("float32")):
        _, plan = training_plan(make(case), rescaled)
        for key in ("partner", "mask"):
            np.testing.assert_array_equal(plan[key], expected[key])
        np.testing.assert_allclose(plan["weight"], expected["weight"], atol=1e-5)


@every_mixer
def test_channels_first_equals_channels_last(case, rng):
    images = blobs(rng, 6).astype("float32")
    last, expected = training_plan(make(case, data_format="channels_last"), images)
    first, plan = training_plan(make(case, data_format="channels_first"), images.transpose(0, 3, 1, 2))
    keras.tree.map_structure(np.testing.assert_array_equal, plan, expected)
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)
    keras.config.set_image_data_format("channels_first")
    assert make(case).data_format == "channels_first"


@every_mixer
@pytest.mark.parametrize("shape", [(1, 16, 20, 3), (5, 9, 33, 1), (3, 40, 8, 3), (2, 12, 12, 6)])
def test_image_sizes_and_channel_counts(case, rng, shape):
    images = rng.integers(0, 256, shape).astype("uint8")
    mixed, plan = training_plan(make(case), images)
    assert mixed.shape == shape and plan["mask"].shape == (*shape[:3], 1)
    if shape[0] == 1:
        np.testing.assert_array_equal(mixed, images) if case in CASES else None
        assert plan["partner"].tolist() == [0]


@every_mixer
def test_all_label_forms_give_the_same_labels(case, rng):
    images, classes = blobs(rng, 8), rng.integers(0, 5, 8)
    encoded = np.eye(5, dtype="float32")[classes]
    expected = to_numpy(make(case)(images, encoded))
    assert isinstance(expected, tuple) and len(expected) == 2
    assert expected[1].dtype == "float32" and expected[1].shape == (8, 5)
    np.testing.assert_allclose(expected[1].sum(1), 1, atol=1e-5)
    for labels in (classes, classes[:, None], encoded.astype("float64"), encoded.astype("int32")):
        images_out, labels_out = to_numpy(make(case, num_classes=5)(images, labels))
        np.testing.assert_array_equal(images_out, expected[0])
        np.testing.assert_array_equal(labels_out, expected[1])
    soft = rng.dirichlet(np.ones(5), 8).astype("float32")
    np.testing.assert_allclose(to_numpy(make(case)(images, soft))[1].sum(1), 1, atol=1e-5)


@every_mixer
def test_batches_keep_their_structure(case, rng):
    images, labels, weights = blobs(rng, 8), one_hot(rng), rng.random(8).astype("float32")
    shares = rng.random((8, 16, 20, 2)).astype("float32")
    expected = to_numpy(make(case)(images, labels, weights))
    assert len(expected) == 3
    for form in (tuple, list):
        out = make(case)(form([images, labels, weights]))
        assert type(out) is form
        keras.tree.map_structure(np.testing.assert_array_equal, tuple(to_numpy(out)), expected)
    batch = {"labels": labels, "images": images, "sample_weight": weights, "segmentation_masks": shares}
    out = to_numpy(make(case)(batch))
    assert list(out) == list(batch)
    for key, value in zip(("images", "labels", "sample_weight"), expected, strict=True):
        np.testing.assert_array_equal(out[key], value)
    assert out["segmentation_masks"].shape == shares.shape
    assert list(to_numpy(make(case)({"images": images, "labels": labels}))) == ["images", "labels"]


@every_mask_mixer
def test_labels_weights_and_segmentation_masks_follow_the_images(case, rng):
    """Labels and weights are stored in the images as constant channels, which must stay equal to the mixed labels."""
    labels, weights = one_hot(rng), rng.random(8).astype("float32")
    # The last channel has salient regions; the others hold the label and the weight at every pixel.
    texture = blobs(rng, 8, 16, 20, 1) / 255.0
    constants = np.concatenate([labels, weights[:, None]], 1)
    images = np.concatenate([np.broadcast_to(constants[:, None, None], (8, 16, 20, 6)), texture], -1).astype("float32")
    batch = {"images": images, "labels": labels, "sample_weight": weights, "segmentation_masks": images}
    out = to_numpy(make(case)(batch))
    np.testing.assert_allclose(out["segmentation_masks"], out["images"], atol=1e-6)
    if not is_calibrated(case):
        mean = out["images"].mean((1, 2))
        np.testing.assert_allclose(out["labels"], mean[:, :5], atol=1e-5)
        np.testing.assert_allclose(out["sample_weight"], mean[:, 5], atol=1e-5)


@every_mixer
def test_labels_of_all_heads_follow_the_same_plan(case, rng):
    images, labels = blobs(rng, 8), one_hot(rng)
    out = make(case)(images, {"a": labels, "b": (labels, 1 - labels)})[1]
    out = to_numpy(out)
    np.testing.assert_array_equal(out["a"], out["b"][0])
    np.testing.assert_allclose(out["b"][1], 1 - out["a"], atol=1e-6)


@every_mixer
def test_identity_outside_training(case, rng):
    images = blobs(rng, 8)
    for kwargs in ({}, {"training": False}):
        mixed, plan = to_numpy(make(case)(images, **kwargs))
        np.testing.assert_array_equal(mixed, images)
        assert plan["site"] == -1 and (plan["mask"] == 1).all() and (plan["weight"] == 1).all()
        np.testing.assert_array_equal(plan["partner"], np.arange(8))
    labels = one_hot(rng)
    out = to_numpy(make(case)(images, labels, training=False))
    np.testing.assert_array_equal(out[0], images)
    np.testing.assert_array_equal(out[1], labels)


@every_mixer
def test_same_seed_gives_the_same_plan(case, rng):
    images = blobs(rng, 8)
    first_mixer, second_mixer = make(case), make(case)
    for _ in range(2):
        expected, expected_plan = training_plan(first_mixer, images)
        mixed, plan = training_plan(second_mixer, images)
        np.testing.assert_array_equal(mixed, expected)
        keras.tree.map_structure(np.testing.assert_array_equal, plan, expected_plan)
    # GuidedMixup draws only the sample where its cycle starts: two seeds may agree, several do not.
    others = (training_plan(make(case, seed=seed), images)[1]["mask"] for seed in range(6, 12))
    assert any(not np.array_equal(other, plan["mask"]) for other in others)
    keras.utils.set_random_seed(3)
    first = training_plan(make(case, seed=None), images)[0]
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(training_plan(make(case, seed=None), images)[0], first)


@every_mixer
def test_config_round_trip(case, rng):
    layer = make(case, probability=0.7, num_classes=4)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()
    images = blobs(rng, 8)
    np.testing.assert_array_equal(training_plan(copy, images)[0], training_plan(layer, images)[0])


@every_mixer
def test_nan_affects_only_samples_that_are_mixed_with_it(case, rng):
    images = blobs(rng, 16).astype("float32")
    images[3, 5, 5] = np.nan
    mixed, plan = training_plan(make(case, probability=0.5), images)
    is_affected = (plan["partner"] == 3) | (np.arange(16) == 3)
    assert not is_affected.all() and np.isfinite(mixed[~is_affected]).all()
    assert np.isfinite(plan["mask"]).all() and np.isfinite(plan["weight"][~is_affected]).all()
    all_mixed, plan = training_plan(make(case), images)
    is_affected = (plan["partner"] == 3) | (np.arange(16) == 3)
    assert np.isfinite(all_mixed[~is_affected]).all() and np.isfinite(plan["weight"]).all()


@every_mask_mixer
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_plans_and_labels_are_float32_under_every_policy(case, rng, policy):
    keras.config.set_dtype_policy(policy)
    images = blobs(rng, 8).astype("float32")
    mixed, plan = training_plan(make(case), images)
    assert mixed.dtype == "float32" and plan["mask"].dtype == plan["weight"].dtype == "float32"
    np.testing.assert_allclose(
        plan["weight"], plan["mask"].mean((1, 2, 3)), atol=5e-6 if not is_calibrated(case) else 1
    )
    out = to_numpy(make(case)(images, one_hot(rng)))
    assert out[1].dtype == "float32"


@every_mask_mixer
def test_images_are_mixed_at_site_0_only(case, rng):
    images, mixer = blobs(rng, 8), make(case, sites=(0, 1, 3))
    drawn = set()
    step = repeatedly(mixer, images)
    for _ in range(24):
        mixed, plan = step()
        drawn.add(int(plan["site"]))
        if plan["site"] == 0 and is_mixed(plan).any():  # a box that the batch shares can be empty
            assert not np.array_equal(mixed, images)
        elif plan["site"] > 0:
            np.testing.assert_array_equal(mixed, images)
    assert 0 in drawn and {1, 3} & drawn and drawn <= {0, 1, 3}


@pytest.mark.slow
@every_mask_mixer
def test_sites_are_drawn_uniformly(case, rng):
    step = repeatedly(make(case, sites=(0, 1, 3)), blobs(rng, 8))
    counts = np.bincount([int(step()[1]["site"]) for _ in range(60)], minlength=4)
    assert counts[2] == 0 and counts[[0, 1, 3]].min() > 5


@pytest.mark.parametrize(("weights", "expected"), [(None, [100, 100, 100]), ((2, 1, 1), [150, 75, 75])])
def test_sites_are_drawn_by_their_weights(weights, expected, rng):
    images, mixer = blobs(rng, 2), layers.MixUp(sites=(0, 2, 1), site_weights=weights, seed=1)
    step = repeatedly(mixer, images)
    counts = np.bincount([int(step()[1]["site"]) for _ in range(300)], minlength=3)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_weights_of_sites_are_checked():
    for weights in ((1, 2), (1, 2, 0), 3):
        with pytest.raises(ValueError, match="`site_weights` must be .* Received: site_weights="):
            layers.MixUp(sites=(0, 1, 2), site_weights=weights)


@every_mixer
def test_symbolic_shapes_and_dtypes(case):
    image, plan = make(case)(keras.Input((16, 20, 3), dtype="uint8"))
    assert image.shape == (None, 16, 20, 3) and image.dtype == "uint8"
    assert {key: (value.shape, value.dtype) for key, value in plan.items()} == {
        "partner": ((None,), "int32"),
        "mask": ((None, 16, 20, 1), "float32"),
        "weight": ((None,), "float32"),
        "site": ((), "int32"),
    }
    images, labels = make(case, num_classes=5)(keras.Input((16, 20, 3)), keras.Input((), dtype="int32"))
    assert labels.shape == (None, 5) and labels.dtype == "float32"


def random_ops(graph):
    return [op.type for op in graph.get_operations() if "Random" in op.type or "Shuffle" in op.type]


@every_mask_mixer
def test_inference_graph_has_no_random_ops(needs_tensorflow, case):
    import tensorflow as tf

    layer = make(case, sites=(0, 1), probability=0.5)
    spec = tf.TensorSpec((None, 16, 20, 3), tf.float32)
    inference = tf.function(lambda x: layer(x, training=False)).get_concrete_function(spec)
    training = tf.function(lambda x: layer(x, training=True)).get_concrete_function(spec)
    assert not random_ops(inference.graph) and random_ops(training.graph)


@every_mixer
def test_graph_and_eager_calls_draw_the_same_plan(needs_tensorflow, case, rng):
    import tensorflow as tf

    images = blobs(rng, 8)
    eager, layer = make(case), make(case)
    graph = tf.function(lambda x: layer(x, training=True))
    for _ in range(2):
        expected, plan = training_plan(eager, images)
        mixed, drawn = to_numpy(graph(images))
        np.testing.assert_array_equal(drawn["partner"], plan["partner"])
        np.testing.assert_allclose(drawn["mask"], plan["mask"], atol=1e-5)
        np.testing.assert_allclose(mixed.astype(float), expected.astype(float), atol=1)


@pytest.mark.slow
@every_mixer
def test_xla_compiles_the_mixer_and_draws_are_repeatable(needs_tensorflow, case, rng):
    # TensorFlow draws different random numbers under XLA, so the plan differs from that of an eager call.
    import tensorflow as tf

    images, mixer = blobs(rng, 8), make(case)
    compiled = tf.function(lambda x: mixer(x, training=True), jit_compile=True)
    seed = to_numpy(mixer.seed_generator.state)
    expected, expected_plan = to_numpy(compiled(images))
    other = to_numpy(compiled(images))[1]
    mixer.seed_generator.state.assign(seed)
    mixed, plan = to_numpy(compiled(images))
    np.testing.assert_array_equal(mixed, expected)
    keras.tree.map_structure(np.testing.assert_array_equal, plan, expected_plan)
    if case in CASES:
        np.testing.assert_allclose(mixed.astype(float), oracles.mix(images, plan), atol=0.51)
    assert not np.array_equal(other["mask"], plan["mask"])


@every_mixer
def test_dataset_map_with_unknown_sizes_and_a_ragged_last_batch(needs_tensorflow, case, rng):
    import tensorflow as tf

    images, labels = blobs(rng, 13), rng.integers(0, 5, 13)

    def generate():
        yield from zip(images, labels, strict=True)

    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).batch(5)
    out = list(dataset.map(make(case, num_classes=5)))
    assert [len(batch[1]) for batch in out] == [5, 5, 3]
    assert (np.concatenate([batch[0] for batch in out]) != images).any()
    assert all(batch[0].dtype == tf.uint8 and batch[0].shape[1:] == (16, 20, 3) for batch in out)
    if case == CASES[0]:  # the structure of a batch does not depend on the mixer
        as_dict = dataset.map(lambda x, y: {"images": x, "labels": y}).map(make(case, num_classes=5))
        for batch, (x, y) in zip(as_dict, out, strict=True):
            np.testing.assert_array_equal(batch["images"], x)
            np.testing.assert_array_equal(batch["labels"], y)


@every_mask_mixer
def test_masks_carry_no_gradient(needs_tensorflow, case, rng):
    import tensorflow as tf

    images = tf.constant(blobs(rng, 6).astype("float32"))
    layer = make(case)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        mixed, plan = layer(images, training=True)
        from_mask = tf.reduce_sum(plan["mask"]) + tf.reduce_sum(plan["weight"])
        total = tf.reduce_sum(mixed)
    assert tape.gradient(from_mask, images) is None
    plan = to_numpy(plan)
    expected = plan["mask"].copy()
    for sample, partner in enumerate(plan["partner"]):
        expected[partner] += 1 - plan["mask"][sample]
    np.testing.assert_allclose(tape.gradient(total, images), np.broadcast_to(expected, images.shape), atol=1e-5)


@every_mask_mixer
def test_images_are_mixed_with_their_partners(case, rng):
    images = np.broadcast_to(np.arange(8, dtype="float32")[:, None, None, None], (8, 16, 20, 3)).copy()
    mixed, plan = training_plan(make(case), images)
    np.testing.assert_allclose(mixed, plan["mask"] * images + (1 - plan["mask"]) * gather(images, plan), atol=1e-5)


BAD_ARGUMENTS = [
    ({"alpha": 0}, "`alpha` must be a positive, finite number. Received: alpha=0"),
    ({"alpha": -1.0}, "`alpha` must be .* Received: alpha=-1.0"),
    ({"alpha": float("nan")}, "`alpha` must be .* Received: alpha=nan"),
    ({"alpha": "1"}, "`alpha` must be .* Received: alpha='1'"),
    ({"probability": 1.1}, r"`probability` must be a number in \[0, 1\]. Received: probability=1.1"),
    ({"probability": -0.1}, "`probability` must be .* Received: probability=-0.1"),
    ({"sites": ()}, r"`sites` must be .* Received: sites=\(\)"),
    ({"sites": (0, 0)}, r"`sites` must be .* Received: sites=\(0, 0\)"),
    ({"sites": (-1,)}, r"`sites` must be .* Received: sites=\(-1,\)"),
    ({"sites": (0.5,)}, r"`sites` must be .* Received: sites=\(0.5,\)"),
    ({"partner": "nearest"}, "`partner` must be one of .* Received: partner='nearest'"),
    ({"num_classes": 0}, "`num_classes` must be .* Received: num_classes=0"),
    ({"data_format": "NHWC"}, "`data_format` must be one of .* Received: data_format='NHWC'"),
]


@every_mixer
@pytest.mark.parametrize(("arguments", "match"), BAD_ARGUMENTS, ids=lambda value: str(value)[:24])
def test_invalid_arguments_raise(case, arguments, match):
    if "alpha" in arguments and "alpha" not in inspect.signature(case.cls.__init__).parameters:
        pytest.skip("the mixer has no `alpha`")
    with pytest.raises(ValueError, match=match):
        make(case, **arguments)


def test_a_detector_without_effect_or_none_where_it_is_needed_raises():
    with pytest.raises(ValueError, match="`detector` has no effect without .* Received: detector='fine_grained'"):
        layers.CutMix(detector="fine_grained")
    with pytest.raises(ValueError, match="`detector_size` requires a `detector` in CutMix. Received: detector_size=8"):
        layers.CutMix(detector_size=8)
    for arguments in ({"cls": layers.CutMix, "label": "saliency"}, {"cls": layers.SaliencyMix, "detector": None}):
        with pytest.raises(ValueError, match="`detector` is required in .* Received: detector=None"):
            arguments.pop("cls")(**arguments)


@every_mixer
def test_a_batch_keeps_its_form_and_its_dtypes(case, rng):
    images, labels = blobs(rng, 8), one_hot(rng)
    weights = np.ones(8, "int32")
    for training in (None, False):
        assert make(case)((images, labels, None), training=training)[2] is None
        results = make(case)((images, labels, weights), training=training)
        assert [keras.backend.standardize_dtype(leaf.dtype) for leaf in results] == ["uint8", "float32", "float32"]


@every_mixer
def test_invalid_batches_raise(case, rng):
    images, labels = blobs(rng, 8), one_hot(rng)
    mixer = make(case)
    bad = [
        (lambda: mixer(images[0]), r"`images` must be a batch of rank 4.* Received: shape \(16, 20, 3\)"),
        (lambda: mixer(images[0], labels), r"`images` must be a batch of rank 4"),
        (
            lambda: mixer(images, labels[:7]),
            r"`labels` must have as many samples as `images`: expected 8. Received: shape \(7, 5\)",
        ),
        (
            lambda: mixer(images, labels, np.ones(3)),
            r"`sample_weight` must have as many samples .* Received: shape \(3,\)",
        ),
        (lambda: mixer(images, np.arange(8)), "number of classes is not known: pass `num_classes`"),
        (lambda: mixer(images, np.arange(8.0)), "`labels` must be one-hot or soft"),
        (lambda: mixer(images, np.zeros((8, 4, 5))), "`labels` must be one-hot or soft"),
        (
            lambda: make(case, num_classes=4)(images, labels),
            r"shape \(batch, 4\).* Received: labels of shape \(8, 5\)",
        ),
        (lambda: mixer((images,)), "Received: a tuple of 1"),
        (lambda: mixer((images, labels), labels), "Received: a tuple of 2"),
        (
            lambda: mixer({"images": images}),
            r"must have the keys 'images' and 'labels'.*Received: \['images'\]",
        ),
        (lambda: mixer({"images": images, "labels": labels, "boxes": labels}), "Received: .*'boxes'"),
        (
            lambda: mixer({"images": images, "labels": labels, "segmentation_masks": np.zeros((8, 9, 9))}),
            "`segmentation_masks` must be of shape",
        ),
    ]
    for call, match in bad:
        with pytest.raises(ValueError, match=match):
            call()
    if case in CASES:
        with pytest.raises(ValueError, match=r"`sites` must be \(0,\) for a labeled batch.* Received: sites=\(0, 1\)"):
            make(case, sites=(0, 1))(images, labels)
    else:
        match = "`sites` must be" if case.cls.is_input_only else "`.*` must be .* when `sites` has feature sites"
        with pytest.raises(ValueError, match=match):
            make(case, sites=(0, 1))


@every_mixer
def test_integer_segmentation_masks_require_binary_masks(case, rng):
    batch = {
        "images": blobs(rng, 8),
        "labels": one_hot(rng),
        "segmentation_masks": rng.integers(0, 9, (8, 16, 20)).astype("int32"),
    }
    mixer = make(case)
    drawn = [training_plan(mixer, batch["images"])[1]["mask"] for _ in range(1 if mixer.has_binary_mask else 5)]
    assert mixer.has_binary_mask == (set(np.unique(drawn)) <= {0.0, 1.0})
    if mixer.has_binary_mask:
        out = to_numpy(mixer(batch))["segmentation_masks"]
        assert out.dtype == batch["segmentation_masks"].dtype and set(np.unique(out)) <= set(range(9))
    else:
        with pytest.raises(ValueError, match="`segmentation_masks` must be float class shares"):
            mixer(batch)
