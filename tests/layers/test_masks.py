"""Uniform and box masks behave like the dense masks that they stand for."""

import numpy as np
import pytest
from keras import ops

from keras_mma import plans
from keras_mma.layers import masks

HEIGHT, WIDTH = 9, 14


def make(kind):
    if kind is masks.Uniform:
        return masks.Uniform(ops.convert_to_tensor(np.array([0.0, 0.3, 1.0, 0.77, 0.5], "float32")))
    if kind is masks.Dense:
        return masks.Dense(ops.zeros((5, HEIGHT, WIDTH, 1)))
    # The third box is empty, the fourth is the whole image.
    rows = [np.array([2, 0, 4, 0, 8], "int32"), np.array([5, 1, 4, HEIGHT, 9], "int32")]
    columns = [np.array([0, 13, 3, 0, 2], "int32"), np.array([7, 14, 9, WIDTH, 12], "int32")]
    return masks.Box(*([ops.convert_to_tensor(end) for end in side] for side in (rows, columns)))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8", "int32"])
@pytest.mark.parametrize("kind", [masks.Uniform, masks.Box])
def test_mixing_equals_that_of_the_dense_mask(rng, kind, dtype, data_format):
    images, partner = rng.integers(0, 256, (5, HEIGHT, WIDTH, 3)), np.array([3, 0, 4, 1, 2], "int32")
    mask = make(kind)
    dense = ops.convert_to_numpy(mask.rasterize(HEIGHT, WIDTH))
    expected = dense * images + (1 - dense) * images[partner]
    images = ops.cast(ops.convert_to_tensor(images.astype("float32")), dtype)
    if data_format == "channels_first":
        images = ops.transpose(images, (0, 3, 1, 2))
    mixed = masks.mix(images, ops.convert_to_tensor(partner), mask, data_format)
    assert mixed.dtype == images.dtype
    mixed = ops.convert_to_numpy(ops.cast(mixed, "float32"))
    mixed = mixed if data_format == "channels_last" else mixed.transpose(0, 2, 3, 1)
    tolerance = {"float32": 1e-3, "float16": 0.3, "bfloat16": 2.0}.get(dtype, 0.501) if kind is masks.Uniform else 0
    np.testing.assert_allclose(mixed, expected, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", [masks.Uniform, masks.Box])
def test_where_only_one_of_the_two_shows_the_other_may_be_nan(rng, kind, dtype):
    mask = make(kind)
    dense, partner = ops.convert_to_numpy(mask.rasterize(HEIGHT, WIDTH)), np.array([3, 4, 0, 1, 2])
    values = ops.convert_to_numpy(ops.cast(ops.cast(rng.normal(size=(5, HEIGHT, WIDTH, 1)), dtype), "float32"))
    values[dense == 0] = np.nan
    images = ops.cast(ops.convert_to_tensor(values), dtype)
    mixed = masks.mix(images, ops.convert_to_tensor(partner), mask, "channels_last")
    mixed = ops.convert_to_numpy(ops.cast(mixed, "float32"))
    for share, shown in ((1, values), (0, values[partner])):
        np.testing.assert_array_equal(mixed[dense == share], shown[dense == share])
        assert np.isfinite(mixed[dense == share]).any()


@pytest.mark.parametrize("kind", [masks.Uniform, masks.Box])
def test_mean_and_unmixed_samples_equal_those_of_the_dense_mask(kind):
    mask = make(kind)
    dense = mask.rasterize(HEIGHT, WIDTH)
    weight, is_unmixed = mask.mean(HEIGHT, WIDTH), ops.convert_to_numpy(mask.find_unmixed())
    assert tuple(dense.shape) == (5, HEIGHT, WIDTH, 1)
    np.testing.assert_allclose(ops.mean(dense, axis=(1, 2, 3)), weight, atol=1e-6)
    np.testing.assert_array_equal(is_unmixed, ops.convert_to_numpy(plans.find_unmixed(dense)))
    assert is_unmixed.sum() == 1
    as_dense = masks.Dense(dense)
    mean = ops.convert_to_numpy(as_dense.mean(HEIGHT, WIDTH))
    np.testing.assert_allclose(mean, ops.convert_to_numpy(weight), atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(as_dense.find_unmixed()), is_unmixed)


@pytest.mark.parametrize("kind", [masks.Uniform, masks.Box, masks.Dense])
def test_samples_can_be_left_out_of_every_kind(kind):
    mask = make(kind)
    is_mixed = np.array([True, False, True, False, True])
    before = ops.convert_to_numpy(mask.rasterize(HEIGHT, WIDTH))
    kept = mask.leave_out(ops.convert_to_tensor(is_mixed))
    after = ops.convert_to_numpy(kept.rasterize(HEIGHT, WIDTH))
    np.testing.assert_array_equal(after[is_mixed], before[is_mixed])
    assert (after[~is_mixed] == 1).all()
    assert (ops.convert_to_numpy(kept.mean(HEIGHT, WIDTH))[~is_mixed] == 1).all()
    assert ops.convert_to_numpy(kept.find_unmixed())[~is_mixed].all()


def test_a_uniform_mask_of_float16_images_does_not_overflow():
    images = np.full((2, 2, 2, 1), 60000.0, "float16") * np.array([1, -1], "float16")[:, None, None, None]
    mask = masks.Uniform(ops.convert_to_tensor(np.array([0.75, 0.5], "float32")))
    mixed = masks.mix(ops.convert_to_tensor(images), ops.convert_to_tensor([1, 0]), mask, "channels_last")
    np.testing.assert_allclose(ops.convert_to_numpy(mixed)[:, 0, 0, 0].astype("float32"), [30000.0, 0.0], rtol=1e-3)


def test_a_box_of_no_width_or_height_is_unmixed_whatever_the_other_side():
    rows, columns = (
        [ops.convert_to_tensor(np.array(end, "int32")) for end in side]
        for side in (([2, 0, 3, 1], [2, 4, 2, 5]), ([0, 3, 1, 2], [9, 3, 4, 4]))
    )
    box = masks.Box(rows, columns)
    assert ops.convert_to_numpy(box.find_unmixed()).tolist() == [True, True, True, False]
    np.testing.assert_allclose(ops.convert_to_numpy(box.mean(9, 14)), [1, 1, 1, 1 - 8 / 126], rtol=1e-6)
