"""Labels that are maps: encoding, ignored pixels and weights against loops, and errors."""

import keras
import numpy as np
import pytest

from keras_mma import label_maps, plans, resampling
from tests.layers.mixers import to_numpy

SHAPE = (3, 4, 6, 5)


@pytest.fixture
def indices(rng):
    return rng.integers(0, 5, SHAPE[:3])


@pytest.fixture
def plan(rng):
    mask = rng.choice([0.0, 0.3, 1.0], SHAPE[:3])[..., None]
    mask[2] = 1
    return plans.make(np.array([1, 2, 0]), mask)


def loop(labels, counted, weights, plan):
    """Mixed labels and weights, pixel by pixel."""
    plan = to_numpy(plan)
    mixed, mixed_weights = np.zeros(labels.shape), np.zeros(labels.shape[:3])
    for place in np.ndindex(labels.shape[:3]):
        partner = (plan["partner"][place[0]], *place[1:])
        share = float(plan["mask"][place][0])
        parts = [(share, place), (1 - share, partner)]
        total = sum(part * counted[pixel] for part, pixel in parts)
        for part, pixel in parts:
            if counted[pixel] and part:
                mixed[place] += part * labels[pixel] / total
                mixed_weights[place] += part * weights[pixel]
    return mixed, mixed_weights


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("column", [False, True])
def test_class_indices_are_one_hot_encoded(indices, dtype, column):
    labels = indices.astype(dtype)
    maps, counted = label_maps.encode(labels[..., None] if column else labels, SHAPE)
    assert counted is None and keras.backend.standardize_dtype(maps.dtype) == "float32"
    np.testing.assert_array_equal(to_numpy(maps), np.eye(5)[indices])


def test_shares_and_numbers_stay(rng, half_precision):
    shares = rng.random(SHAPE)
    np.testing.assert_allclose(to_numpy(label_maps.encode(shares, SHAPE)[0]), shares, rtol=1e-6)
    for classes in (None, 2):
        two = shares[..., :2]
        np.testing.assert_allclose(to_numpy(label_maps.encode(two, (*SHAPE[:3], classes))[0]), two, rtol=1e-6)
    depth = rng.random(SHAPE[:3])
    for form in (depth, depth[..., None]):
        np.testing.assert_allclose(to_numpy(label_maps.encode(form, (*SHAPE[:3], 1))[0]), depth[..., None], rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "ignore_class"),
    [("uint8", 255), ("uint8", 0), ("int8", -128), ("int32", -1), ("int32", 2049), ("float32", 255), ("int64", 2)],
)
def test_ignored_pixels_have_no_label_and_no_weight(indices, dtype, ignore_class, rng, half_precision):
    labels = indices.copy()
    labels[rng.random(labels.shape) < 0.3] = ignore_class
    maps, counted = to_numpy(label_maps.encode(labels.astype(dtype), SHAPE, ignore_class))
    np.testing.assert_array_equal(counted, labels != ignore_class)
    np.testing.assert_array_equal(maps, np.eye(5)[np.where(labels == ignore_class, 0, labels)] * counted[..., None])


def test_labels_and_weights_are_mixed_as_in_the_loop(indices, plan, rng):
    labels = np.where(rng.random(indices.shape) < 0.4, 255, indices)
    weights = rng.random(indices.shape).astype("float32")
    maps, counted = label_maps.encode(labels, SHAPE, 255)
    pixel_weights = label_maps.weights(weights, counted, maps)
    mixed, mixed_weights = to_numpy(label_maps.mix(maps, counted, pixel_weights, plan))
    expected = loop(to_numpy(maps), to_numpy(counted), weights, plan)
    np.testing.assert_allclose(mixed, expected[0], atol=1e-6)
    np.testing.assert_allclose(mixed_weights, expected[1], atol=1e-6)
    # The own or the partner's pixel is ignored, or both, where the mask shows only what is ignored.
    plan = to_numpy(plan)
    own, other = to_numpy(counted), to_numpy(counted)[plan["partner"]]
    mask = plan["mask"][..., 0]
    for hidden in ((mask == 1) & (own == 0), (mask == 0) & (other == 0), (own == 0) & (other == 0)):
        assert hidden.any() and (mixed_weights[hidden] == 0).all() and (mixed[hidden] == 0).all()


@pytest.mark.parametrize("form", ["samples", "column", "pixels", "pixel column"])
def test_weights_of_samples_are_those_of_all_their_pixels(indices, form, rng, half_precision):
    maps, _ = label_maps.encode(indices, SHAPE)
    of_pixels = rng.random(SHAPE[:3]).astype("float32")
    of_samples = of_pixels[:, 0, 0]
    weights = {
        "samples": of_samples,
        "column": of_samples[:, None],
        "pixels": of_pixels,
        "pixel column": of_pixels[..., None],
    }[form]
    expected = of_pixels if "pixel" in form else np.broadcast_to(of_samples[:, None, None], SHAPE[:3])
    np.testing.assert_array_equal(to_numpy(label_maps.weights(weights, None, maps)), expected)


@pytest.mark.parametrize("size", [(2, 3), (8, 12), (3, 4)])
def test_maps_of_another_resolution_follow_the_resized_mask(plan, size, rng):
    from tests import oracles

    maps = rng.random((3, *size, 2)).astype("float32")
    mixed, _ = to_numpy(label_maps.mix(maps, None, None, plan))
    plan = to_numpy(plan)
    mask = np.stack([oracles.area_pool(own[..., 0], *size) for own in plan["mask"]])[..., None]
    np.testing.assert_allclose(mixed, oracles.mix(maps, {**plan, "mask": mask}), atol=1e-5)


@pytest.mark.parametrize("size", [(3, 7), (5, 5), (4, 6), (12, 18), (7, 11)])
def test_a_resized_mask_is_exactly_0_and_1_where_the_mask_is(size):
    for share in (0.0, 1.0):
        mask = np.full((1, 4, 6, 1), share, "float32")
        np.testing.assert_array_equal(to_numpy(resampling.resize_mask(mask, *size)), np.full((1, *size, 1), share))


def test_an_index_out_of_range_in_a_graph_gives_nan(needs_tensorflow, indices):
    import tensorflow as tf

    encode = tf.function(lambda labels: label_maps.encode(labels, SHAPE, 255))
    labels = indices.copy()
    labels[0, 0, 0], labels[1, 0, 0] = 5, 255
    maps, counted = to_numpy(encode(tf.constant(labels)))
    assert np.isnan(maps[0, 0, 0]).all() and np.isfinite(maps[1]).all() and counted[1, 0, 0] == 0


@pytest.mark.parametrize(
    ("labels", "shape", "ignore_class", "match"),
    [
        (np.zeros((3, 4, 5), int), SHAPE, None, r"of the size of the predictions.* Received: y of shape \(3, 4, 5\)"),
        (np.zeros((3, 8, 12, 5)), SHAPE, None, r"predictions of shape \(3, 4, 6, 5\).* Received: y .*\(3, 8, 12, 5\)"),
        (np.zeros((3, 4, 6, 4)), SHAPE, None, r"Received: y of shape \(3, 4, 6, 4\)"),
        (np.zeros((3, 4, 6, 2)), (3, 4, 6, 1), None, r"Received: y of shape \(3, 4, 6, 2\)"),
        (np.zeros(3, int), SHAPE, None, r"`y` must be maps .* Received: y of shape \(3,\)"),
        (np.zeros((3, 4, 6), int), (3, 4, 6, None), None, "the number of classes is not known.* Received: y"),
        (np.full((3, 4, 6), 5), SHAPE, None, "class indices from 0 to 4, because.* Received: y with the label 5"),
        (np.full((3, 4, 6), 254), SHAPE, 255, "0 to 4, or the ignored class 255.* Received: y with the label 254"),
        (np.full((3, 4, 6), 0.5), SHAPE, 255, "Received: y with the label 0.5"),
        (np.full((3, 4, 6), 5.0), SHAPE, 255, "Received: y with the label 5.0"),
        (np.zeros((3, 4, 6), "uint8"), SHAPE, -1, "from 0 to 255. Received: ignore_class=-1, y of dtype uint8"),
        (np.zeros((3, 4, 6), "int8"), SHAPE, 255, "`ignore_class` must be .* from -128 to 127. Received: ignore_class"),
        (np.full((3, 4, 6), "a"), SHAPE, None, "`y` must be numbers"),
    ],
)
def test_maps_that_do_not_fit_raise(labels, shape, ignore_class, match):
    with pytest.raises(ValueError, match=match):
        label_maps.encode(labels, shape, ignore_class, "y")


def test_an_open_width_of_several_classes_is_refused():
    """`tf.io.decode_png` without `channels` does not say whether a mask holds indices or shares."""
    with pytest.raises(
        ValueError, match=r"`y` must have a known last axis.* Received: y of shape \(None, 4, 6, None\)"
    ):
        label_maps.check(keras.KerasTensor((None, 4, 6, None), "uint8"), (None, 4, 6, 5), 255, "y")


def test_an_open_width_of_one_class_has_ignored_pixels(needs_tensorflow):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 4, 6, None), "float32")]
    encode = tf.function(lambda labels: label_maps.encode(labels, (None, 4, 6, 1), 255), input_signature=signature)
    labels = np.zeros((2, 4, 6, 1), "float32")
    labels[0, 1] = 255
    maps, counted = to_numpy(encode(labels))
    assert (maps == 0).all() and (counted == (labels[..., 0] == 0)).all()


def test_errors_call_labels_labels():
    with pytest.raises(ValueError, match="^`labels` must be maps"):
        label_maps.encode(np.zeros((3, 4, 5), int), SHAPE)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 4, 5), (3, 4, 6, 2)])
def test_weights_that_do_not_fit_raise(indices, shape):
    maps, _ = label_maps.encode(indices, SHAPE)
    with pytest.raises(ValueError, match=r"`sample_weight` must be weights of samples.* Received: sample_weight of"):
        label_maps.weights(np.ones(shape, "float32"), None, maps)
