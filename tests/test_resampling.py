"""Resizing equals the loops and OpenCV."""

import numpy as np
import pytest
from keras import ops

from keras_mma.resampling import resize, resize_matrix
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


def test_dynamic_and_static_sizes_give_the_same_matrix(needs_tensorflow):
    import tensorflow as tf

    for method in ("area", "nearest", "bilinear"):
        dynamic = tf.function(lambda source, target, method=method: resize_matrix(source, target, method))
        np.testing.assert_allclose(dynamic(tf.constant(20), tf.constant(7)), resize_matrix(20, 7, method), atol=1e-6)


def test_an_unknown_method_raises():
    with pytest.raises(ValueError, match="`method` must be one of"):
        resize_matrix(4, 2, "cubic")
