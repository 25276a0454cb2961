"""SmoothMix: its Gaussian spot, pixel by pixel."""

import math

import numpy as np
import pytest

from keras_mma import layers
from tests.layers.mixers import record_draws, training_plan
from tests.pictures import blobs


def test_the_mask_equals_the_loop(rng, monkeypatch):
    draws = record_draws(monkeypatch)
    _, plan = training_plan(layers.SmoothMix(partner="roll", sigma=(0.1, 0.6), seed=2), blobs(rng, 8))
    (_, sigma), (_, position) = draws
    assert sigma.min() >= 0.1 and sigma.max() <= 0.6 and sigma.std() > 0.05
    for sample in range(8):
        center = int(position[0, sample] * 16), int(position[1, sample] * 20)
        for y in range(16):
            for x in range(20):
                distance = (y - center[0]) ** 2 + (x - center[1]) ** 2
                spot = math.exp(-distance / (2 * float(sigma[sample, 0, 0, 0]) ** 2 * 16 * 20))
                assert abs(plan["mask"][sample, y, x, 0] - (1 - spot)) < 1e-5


@pytest.mark.parametrize(("sigma", "weight"), [(1e-30, 319 / 320), (1e-200, 319 / 320), (1e30, 0), (1e200, 0)])
def test_an_extreme_spot_is_one_pixel_or_the_whole_image(rng, sigma, weight):
    _, plan = training_plan(layers.SmoothMix(partner="roll", sigma=(sigma, sigma), seed=2), blobs(rng, 4))
    np.testing.assert_allclose(plan["weight"], np.full(4, weight), atol=1e-6)


@pytest.mark.parametrize("sigma", [(0.0, 0.5), (0.5, 0.25), (0.25,), 0.5, (0.1, float("inf"))])
def test_an_invalid_range_raises(sigma):
    with pytest.raises(ValueError, match="`sigma` must be two positive numbers, in order. Received: sigma="):
        layers.SmoothMix(sigma=sigma)
