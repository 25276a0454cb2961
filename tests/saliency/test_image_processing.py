"""The kernels that blur maps, and the levels of images."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from keras_mma.saliency.fine_grained import _to_levels
from keras_mma.saliency.frequency_tuned import _cube_root
from keras_mma.saliency.image_processing import gaussian, to_levels


@pytest.mark.parametrize("sigma", [1e-300, 1e-3, 0.5, 3.0])
def test_the_weights_are_those_of_scipy(sigma):
    impulse = np.eye(1, 7, 3)[0]
    expected = ndimage.gaussian_filter1d(impulse, max(sigma, 1e-100), radius=3, mode="constant")
    np.testing.assert_allclose(gaussian(7, sigma), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_of_0_and_1_are_levels(rng, dtype):
    images = rng.integers(0, 2, (2, 4, 6, 3)).astype(dtype)
    np.testing.assert_array_equal(ops.convert_to_numpy(to_levels(ops.convert_to_tensor(images))), images)


def test_the_cube_root_of_lab_has_two_branches():
    values = np.array([0.0, 0.0081, 0.0088, 0.0089, 0.5], "float32")
    expected = np.where(values > 216 / 24389, np.cbrt(values), (24389 / 27 * values + 16) / 116)
    np.testing.assert_allclose(ops.convert_to_numpy(_cube_root(ops.convert_to_tensor(values))), expected, rtol=2e-6)


def test_levels_of_a_map_of_zeros_are_zeros():
    zeros = ops.zeros((1, 2, 3))
    assert (ops.convert_to_numpy(_to_levels(zeros, ops.zeros((1, 1, 1)))) == 0).all()


def test_levels_are_float32_under_half_precision(half_precision):
    levels = to_levels(ops.convert_to_tensor(np.full((1, 2, 2, 3), 7, "uint8")))
    assert keras.backend.standardize_dtype(levels.dtype) == "float32"
