"""Making plans, mixing by them, and checking them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import moving, plans
from keras_mma.differentiation import vjp
from tests import oracles
from tests.pictures import blobs, one_hot


@pytest.fixture
def plan(rng):
    mask = rng.random((6, 16, 20, 1), dtype="float32")
    mask[2] = 1.0
    return plans.make(np.array([3, 0, 1, 5, 2, 4]), mask)


def numpy_plan(plan):
    return {key: ops.convert_to_numpy(value) for key, value in plan.items()}


def test_make_computes_the_weight_and_pairs_unmixed_samples_with_themselves(plan):
    plan = numpy_plan(plan)
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)
    assert plan["weight"][2] == 1 and plan["partner"].tolist() == [3, 0, 2, 5, 2, 4]
    assert [plan[key].dtype for key in plans.KEYS] == ["int32", "float32", "float32", "int32"]
    assert plan["site"].shape == () and plan["site"] == 0


def test_mixing_equals_the_loops(plan, rng):
    images, labels = blobs(rng, 6).astype("float32"), one_hot(rng, 6)
    expected = oracles.mix(images, numpy_plan(plan))
    np.testing.assert_allclose(ops.convert_to_numpy(plans.mix_images(images, plan)), expected, rtol=1e-5, atol=1e-4)
    first = ops.convert_to_numpy(plans.mix_images(images.transpose(0, 3, 1, 2), plan, "channels_first"))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-4)
    for values in (labels, rng.random(6), rng.random((6, 1))):
        mixed = ops.convert_to_numpy(plans.mix_labels(values, plan))
        np.testing.assert_allclose(mixed, oracles.mix_labels(values, numpy_plan(plan)), atol=1e-6)
        assert mixed.dtype == "float32"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_mixed_integers_are_rounded(plan, rng, dtype):
    images = blobs(rng, 6).astype(dtype)
    mixed = ops.convert_to_numpy(plans.mix_images(images, plan))
    assert mixed.dtype == dtype
    np.testing.assert_allclose(mixed, oracles.mix(images, numpy_plan(plan)), atol=0.5001)


def test_rearrange_rolls_each_image_separately(rng):
    images = rng.random((3, 5, 7, 2)).astype("float32")
    shift = np.array([[1, -2], [0, 3], [-4, 0]])
    source = moving.rolled(shift[:, 0], 5), moving.rolled(shift[:, 1], 7)
    assert all(keras.backend.standardize_dtype(index.dtype) == "int32" for index in source)
    expected = np.stack([np.roll(image, by, (0, 1)) for image, by in zip(images, shift, strict=True)])
    np.testing.assert_array_equal(ops.convert_to_numpy(moving.rearrange(images, source)), expected)
    first = ops.convert_to_numpy(moving.rearrange(images.transpose(0, 3, 1, 2), source, "channels_first"))
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), expected)


def test_images_are_moved_with_channels_last_by_default(rng):
    images = rng.random((2, 3, 4, 2), dtype="float32")
    source = tuple(rng.integers(0, size, (2, size)).astype("int32") for size in (3, 4))
    expected = np.stack([image[rows][:, columns] for image, rows, columns in zip(images, *source, strict=True)])
    np.testing.assert_array_equal(ops.convert_to_numpy(plans.moved(images, source)), expected)
    swapped = ops.convert_to_numpy(plans.partner_images(images[::-1].copy(), np.array([1, 0]), source=source))
    np.testing.assert_array_equal(swapped, expected)
    assert plans.moved(images, None) is images


def test_images_in_place(rng):
    source = ops.convert_to_numpy(moving.in_place(3, 4))
    assert source.dtype == "int32" and source.shape == (1, 3, 4)
    images = rng.random((1, 3, 4, 2), dtype="float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(moving.rearrange(images, source)), images)


@pytest.mark.parametrize(("start", "length"), [(2, 4), (0, 7), (5, 2), (3, 1)])
def test_an_axis_is_shrunk_to_an_interval(start, length, half_precision):
    size = 7
    given = [ops.convert_to_tensor(np.array([value], "float32")) for value in (start, length)]
    source = ops.convert_to_numpy(moving.shrunk(*given, size))
    assert source.dtype == "int32" and source.shape == (1, size) and source.min() >= 0 and source.max() < size
    # Each place inside shows the pixel at the same relative position, measured between centers.
    for place in range(length):
        assert source[0, start + place] == int((place + 0.5) / length * size)
    # The border is repeated around it.
    assert (source[0, :start] == 0).all() and (source[0, start + length :] == size - 1).all()


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3, 1)])
def test_partners_on_the_same_device(monkeypatch, rng, shape):
    values = ops.convert_to_tensor(rng.random(shape, dtype="float32"))
    partner = np.array([2, 0, 1, 3, 5, 4], "int32")
    monkeypatch.setattr(plans, "device_groups", lambda batch_size: batch_size // 3)
    taken = ops.convert_to_numpy(plans.take_partner(values, ops.convert_to_tensor(partner)))
    np.testing.assert_array_equal(taken, ops.convert_to_numpy(values)[partner])


def test_who_is_unmixed_may_be_given():
    mask, partner = np.ones((2, 3, 4, 1)), np.array([1, 0])
    assert ops.convert_to_numpy(plans.make(partner, mask)["partner"]).tolist() == [0, 1]
    given = plans.make(partner, mask, is_unmixed=np.array([True, False]))
    assert ops.convert_to_numpy(given["partner"]).tolist() == [0, 0]


def test_the_symbolic_plan_has_the_shapes_of_a_plan():
    shapes = {key: tuple(value.shape) for key, value in plans.unmixed(2, 3, 4).items()}
    assert {key: tuple(value.shape) for key, value in plans.spec(2, 3, 4).items()} == shapes


def test_segmentation_masks_follow_a_binary_mask(rng):
    mask = (rng.random((4, 6, 8, 1)) < 0.5).astype("float32")
    plan = plans.make(np.array([1, 2, 3, 0]), mask)
    classes = rng.integers(0, 9, (4, 6, 8))
    expected = np.where(mask[..., 0] == 1, classes, classes[[1, 2, 3, 0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(plans.mix_segmentation_masks(classes, plan)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_class_indices_of_pixels_are_not_averaged(plan, rng, dtype):
    classes = rng.integers(0, 9, (6, 16, 20)).astype(dtype)
    with pytest.raises(ValueError, match=f"`masks` must be float class shares.*one-hot encode.*dtype {dtype}"):
        plans.mix_segmentation_masks(classes, plan)
    shares = plans.mix_segmentation_masks(ops.one_hot(classes, 9), plan)
    np.testing.assert_allclose(ops.convert_to_numpy(shares).sum(-1), 1.0, atol=1e-6)


def test_an_unmixed_plan_changes_nothing(rng):
    images = blobs(rng, 3)
    plan = plans.unmixed(3, 16, 20)
    np.testing.assert_array_equal(ops.convert_to_numpy(plans.mix_images(images, plan)), images)
    assert int(plan["site"]) == -1


def test_invalid_plans_raise(plan):
    plans.check(plan, 6)
    plans.check(plan)
    with pytest.raises(ValueError, match=r"`plan` must be a dict with the keys .*Received: list"):
        plans.check([plan])
    with pytest.raises(ValueError, match=r"must be a dict with the keys .*Received: \['mask'\]"):
        plans.check({"mask": plan["mask"]})
    with pytest.raises(ValueError, match=r"`plan\['mask'\]` must be a tensor of rank 4. Received: shape \(6,\)"):
        plans.check({**plan, "mask": plan["weight"]})
    with pytest.raises(ValueError, match=r"`mask` must be of shape .* Received: shape \(6, 16, 20\)"):
        plans.make(plan["partner"], plan["mask"][..., 0])
    with pytest.raises(ValueError, match=r"must have the height and width of the images, \(8, 20\). Received: shape"):
        plans.mix_images(np.zeros((6, 8, 20, 3), "float32"), plan)
    with pytest.raises(ValueError, match="expected 5 samples. Received: .* with 6 samples"):
        plans.check(plan, 5)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool"])
def test_class_indices_are_not_averaged(plan, dtype):
    with pytest.raises(ValueError, match=f"`labels` must be floats.*one-hot encode them.*dtype {dtype}"):
        plans.mix_labels(np.arange(6).astype(dtype), plan)
    weights = plans.mix_sample_weight(np.ones(6, "int32"), plan)
    np.testing.assert_allclose(ops.convert_to_numpy(weights), 1.0, atol=1e-6)


def test_the_blend_of_float16_does_not_overflow():
    """The difference of the largest numbers of opposite signs is infinite, their mean is not."""
    own = ops.convert_to_tensor(np.array([60000.0, -60000.0, 60000.0], "float16"))
    mask = ops.convert_to_tensor(np.array([0.5, 0.25, 1.0], "float32"))
    blended = ops.convert_to_numpy(plans.blend(own, -own, mask))
    assert blended.dtype == "float16"
    np.testing.assert_allclose(blended.astype("float32"), [0.0, 30000.0, 60000.0], rtol=1e-3)


def test_plans_and_labels_are_float32_whatever_the_default(half_precision, rng):
    unmixed = plans.unmixed(2, 3, 4)
    plan = plans.make(np.array([1, 0]), np.full((2, 3, 4, 1), 1 / 3))
    of_weight = plans.make(np.array([1, 0]), np.ones((2, 3, 4, 1)), weight=[1 / 3, 0.5])
    assert ops.convert_to_numpy(of_weight["weight"]).tolist() == [np.float32(1 / 3), 0.5]
    for made in (unmixed, plan, plans.spec(2, 3, 4)):
        dtypes = [keras.backend.standardize_dtype(made[key].dtype) for key in plans.KEYS]
        assert dtypes == ["int32", "float32", "float32", "int32"]
    labels = plans.mix_labels(np.array([[1.0, 0.0], [0.0, 1.0]]), plan)
    assert keras.backend.standardize_dtype(labels.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(labels)[0], [1 / 3, 2 / 3], atol=1e-6)
    images = rng.integers(0, 10000, (2, 3, 4, 1), "int32")  # float16 has no integers above 2048
    expected = np.round(oracles.mix(images, numpy_plan(plan)))
    np.testing.assert_allclose(ops.convert_to_numpy(plans.mix_images(images, plan)), expected, atol=1)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_where_the_mask_is_1_the_image_is_kept_bit_for_bit(dtype):
    # 0 times infinity is NaN, and float32 has no integers above 2^24.
    own = np.array([[[[2**24 + 1]], [[5]]]], dtype)
    partner = np.array([[[[np.inf if dtype == "float32" else 0]], [[1]]]], dtype)
    mask = np.array([[[[1.0]], [[0.5]]]], "float32")
    blended = ops.convert_to_numpy(plans.blend(*map(ops.convert_to_tensor, (own, partner, mask))))
    assert blended.ravel().tolist() == [own.ravel()[0], 3]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_own_and_partner_images_are_moved_separately(rng, data_format):
    images = rng.random((2, 3, 4, 2), dtype="float32")
    plan = plans.make(np.array([1, 0]), rng.random((2, 3, 4, 1), dtype="float32"))
    source, own_source = (rng.integers(0, 12, (2, 3, 4)).astype("int32") for _ in range(2))

    def moved(image, index):
        return image.reshape(12, 2)[index.ravel()].reshape(3, 4, 2)

    mask = numpy_plan(plan)["mask"]
    own = np.stack([moved(images[sample], own_source[sample]) for sample in (0, 1)])
    partner = np.stack([moved(images[1 - sample], source[sample]) for sample in (0, 1)])
    expected = mask * own + (1 - mask) * partner
    order = (0, 1, 2, 3) if data_format == "channels_last" else (0, 3, 1, 2)
    mixed = plans.mix_images(images.transpose(order), plan, data_format, source=source, own_source=own_source)
    np.testing.assert_allclose(ops.convert_to_numpy(mixed), expected.transpose(order), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_segmentation_masks_are_moved_as_the_images_are(rng, count):
    partner = np.arange(count)[::-1].copy()
    half = np.zeros((count, 2, 2, 1), "float32")
    half[:, 0] = 1.0
    plan = plans.make(partner, half)
    plan["partner"] = partner  # a single sample is its own partner
    masks = rng.integers(0, 9, (count, 2, 2)).astype("int32")
    source, own_source = (rng.integers(0, 4, (count, 2, 2)).astype("int32") for _ in range(2))
    mixed = ops.convert_to_numpy(plans.mix_segmentation_masks(masks, plan, source, own_source))
    assert mixed.shape == (count, 2, 2)
    for sample in range(count):
        own = masks[sample].ravel()[own_source[sample]]
        other = masks[partner[sample]].ravel()[source[sample]]
        assert mixed[sample].tolist() == [own[0].tolist(), other[1].tolist()]


def test_labels_may_be_a_list(plan):
    labels = np.eye(3)[[0, 1, 2, 0, 1, 2]].tolist()
    expected = oracles.mix_labels(np.array(labels), numpy_plan(plan))
    np.testing.assert_allclose(ops.convert_to_numpy(plans.mix_labels(labels, plan)), expected, atol=1e-6)


def test_no_gradient_reaches_the_mask_or_the_weight(rng):
    mask, weight = rng.random((2, 3, 4, 1), dtype="float32"), rng.random(2, dtype="float32")

    def total(scale):
        plan = plans.make(np.arange(2), scale * ops.convert_to_tensor(mask), scale * ops.convert_to_tensor(weight))
        return ops.sum(plan["mask"]) + ops.sum(plan["weight"]) + 3.0 * scale

    _, pull_back = vjp(total, ops.ones(()))
    assert float(pull_back(ops.ones(()))) == 3.0


def test_where_the_mask_is_0_the_partner_is_kept_bit_for_bit():
    mask = np.array([0.0, 1.0, 0.0, 0.5], "float32")
    own, partner = np.array([np.nan, np.inf, 3.0, 2.0], "float32"), np.array([1.0, np.nan, -np.inf, 4.0], "float32")
    blended = ops.convert_to_numpy(plans.blend(*map(ops.convert_to_tensor, (own, partner, mask))))
    np.testing.assert_array_equal(blended, [1.0, np.inf, -np.inf, 3.0])
    large = np.full(4, 2**24 + 1, "int32")
    blended = ops.convert_to_numpy(plans.blend(*map(ops.convert_to_tensor, (large, large + 2, mask))))
    assert blended[:3].tolist() == [2**24 + 3, 2**24 + 1, 2**24 + 3]
