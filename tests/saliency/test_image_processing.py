"""The kernels that blur maps."""

import numpy as np
import pytest
from scipy import ndimage

from keras_mma.saliency.image_processing import gaussian


@pytest.mark.parametrize("sigma", [1e-300, 1e-3, 0.5, 3.0])
def test_the_weights_are_those_of_scipy(sigma):
    impulse = np.eye(1, 7, 3)[0]
    expected = ndimage.gaussian_filter1d(impulse, max(sigma, 1e-100), radius=3, mode="constant")
    np.testing.assert_allclose(gaussian(7, sigma), expected, atol=1e-12)
