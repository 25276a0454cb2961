"""Resizing equals the loops and OpenCV."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma.resampling import resize, resize_mask, resize_matrix
from tests import oracles


@pytest.mark.parametrize("target", [(8, 10), (4, 5), (3, 7), (1, 1), (16, 20), (20, 33)])
def test_area_equals_the_loop(rng, target):
    maps = rng.random((2, 16, 20, 1), dtype="float32")
    resized = ops.convert_to_numpy(resize(maps, *target, "area"))
    expected = np.stack([oracles.area_pool(m[..., 0], *target) for m in maps])[..., None]
    np.testing.assert_allclose(resized, expected, atol=1e-5)
    np.testing.assert_allclose(resized.mean((1, 2)), maps.mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("target", [(8, 10), (5, 7), (32, 40)])
def test_nearest_and_bilinear_equal_opencv(rng, target):
    cv2 = pytest.importorskip("cv2")
    maps = rng.random((3, 16, 20, 1), dtype="float32")
    for method, flag in (("nearest", cv2.INTER_NEAREST_EXACT), ("bilinear", cv2.INTER_LINEAR)):
        expected = np.stack([cv2.resize(m[..., 0], target[::-1], interpolation=flag) for m in maps])[..., None]
        np.testing.assert_allclose(ops.convert_to_numpy(resize(maps, *target, method)), expected, atol=1e-5)


def test_channels_are_resized_independently(rng):
    maps = rng.random((2, 9, 12, 3), dtype="float32")
    together = ops.convert_to_numpy(resize(maps, 4, 5, "bilinear"))
    for channel in range(3):
        alone = ops.convert_to_numpy(resize(maps[..., channel : channel + 1], 4, 5, "bilinear"))
        np.testing.assert_allclose(together[..., channel : channel + 1], alone, atol=1e-6)


@pytest.mark.parametrize("method", ["area", "nearest", "bilinear"])
def test_dynamic_and_static_sizes_give_the_same_matrix(needs_tensorflow, half_precision, method):
    import tensorflow as tf

    dynamic = tf.function(lambda source, target: resize_matrix(source, target, method), autograph=False)
    for sizes in ((tf.constant(20), tf.constant(7)), (20, tf.constant(7)), (tf.constant(20), 7)):
        np.testing.assert_allclose(dynamic(*sizes), resize_matrix(20, 7, method), atol=1e-5)


@pytest.mark.parametrize("shape", [(None, 4), (3, None), (None, None)])
def test_maps_of_unknown_size_are_resized(needs_tensorflow, rng, shape):
    import tensorflow as tf

    spec = tf.TensorSpec((1, *shape, 1), "float32")
    dynamic = tf.function(lambda maps: resize(maps, 3, 4), [spec], autograph=False)
    for size in [(3, 4), (3, 8) if shape[1] is None else (6, 4)]:
        maps = rng.random((1, *size, 1), dtype="float32")
        np.testing.assert_allclose(dynamic(maps), resize(maps, 3, 4), atol=1e-6)


@pytest.mark.parametrize("size", [(3, None), (None, 4)])
def test_maps_are_resized_to_an_unknown_size(needs_tensorflow, rng, size):
    import tensorflow as tf

    maps = rng.random((1, 3, 4, 1), dtype="float32")
    dynamic = tf.function(lambda value: resize(maps, *(each or value for each in size)), autograph=False)
    for value in (2, 4 if size[1] is None else 3):  # the latter changes nothing
        expected = resize(maps, *(each or value for each in size))
        np.testing.assert_allclose(dynamic(tf.constant(value)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 4), (4, 1)])
def test_maps_of_one_row_or_column_and_several_channels(rng, size):
    maps = rng.random((2, *size, 3), dtype="float32")
    expected = np.concatenate([ops.convert_to_numpy(resize(maps[..., [c]], 2, 2)) for c in range(3)], axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(resize(maps, 2, 2)), expected, atol=1e-6)


def test_an_unknown_method_raises():
    with pytest.raises(ValueError, match="`method` must be one of"):
        resize_matrix(4, 2, "cubic")


def test_maps_of_the_target_size_are_returned_as_they_are(rng):
    maps = ops.convert_to_tensor(rng.random((1, 3, 4, 1), dtype="float32"))
    assert resize(maps, 3, 4) is maps and resize_mask(maps, 3, 4) is maps
    assert resize(maps, 3, 5) is not maps and resize(maps, 4, 4) is not maps


def test_the_default_is_the_mean_of_the_area():
    maps = np.arange(6.0, dtype="float32").reshape(1, 2, 3, 1)
    assert ops.convert_to_numpy(resize(maps, 1, 1)).item() == pytest.approx(2.5)


@pytest.mark.parametrize("method", ["area", "nearest", "bilinear"])
def test_the_result_has_the_dtype_of_the_maps(half_precision, method):
    # In float16 a third is off by 1e-4.
    maps = np.full((1, 3, 3, 2), 1 / 3, "float32")
    resized = resize(ops.convert_to_tensor(maps), 2, 4, method)
    assert keras.backend.standardize_dtype(resized.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(resized), 1 / 3, atol=1e-6)


@pytest.mark.parametrize("size", [(7, 13), (3, 9), (11, 1)])
def test_a_binary_mask_stays_exactly_0_and_1_away_from_its_edge(size):
    mask = np.zeros((1, 20, 22, 1), "float32")
    mask[:, :, 11:] = 1.0
    resized = ops.convert_to_numpy(resize_mask(ops.convert_to_tensor(mask), *size))
    columns = np.arange(size[1])
    right, left = columns * 22 / size[1] >= 11, (columns + 1) * 22 / size[1] <= 11
    assert (resized[:, :, right] == 1.0).all() and (resized[:, :, left] == 0.0).all()
    assert (resized[:, :, ~(right | left)] % 1.0 != 0.0).all()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_maps_of_integers_are_refused(dtype):
    with pytest.raises(ValueError, match=f"`maps` must be floats.*Received: maps of dtype {dtype}"):
        resize(np.ones((1, 4, 4, 1), dtype), 2, 2)
