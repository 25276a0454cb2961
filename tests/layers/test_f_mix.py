"""FMix: the Fourier transform by its definition, and the highest values by sorting."""

import math

import numpy as np
import pytest
from keras import ops

from keras_mma import layers
from keras_mma.layers.mixers.f_mix import highest, low_pass
from tests.layers.mixers import record_draws, to_numpy, training_plan
from tests.pictures import blobs


def filtered(noise, decay):
    """The low-pass filter of one map, as the definition of the Fourier transform in loops."""
    height, width = noise.shape
    y, x = np.mgrid[:height, :width]
    result = np.zeros((height, width), complex)
    for row in range(height):
        for column in range(width):
            wave = np.exp(2j * math.pi * (row * y / height + column * x / width))
            coefficient = (noise * wave.conj()).sum() / (height * width)
            cycles = min(row, height - row) / height, min(column, width - column) / width
            frequency = max(math.hypot(*cycles), 1 / max(height, width))
            result += coefficient * wave / frequency**decay
    return result.real


@pytest.mark.parametrize("decay", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("shape", [(8, 10), (7, 5)])
def test_the_filter_equals_the_definition(decay, shape, rng):
    noise = rng.normal(size=(2, *shape)).astype("float32")
    maps = to_numpy(low_pass(noise, decay))
    for own, expected in zip(maps, (filtered(each, decay) for each in noise), strict=True):
        np.testing.assert_allclose(own * max(shape) ** decay, expected, rtol=1e-4, atol=1e-3)


def test_the_mask_equals_the_loop(rng, monkeypatch):
    draws = record_draws(monkeypatch)
    _, plan = training_plan(layers.FMix(partner="roll", seed=2), blobs(rng, 12))
    (_, lams), (_, chance), (_, noise) = draws
    for sample, lam in enumerate(lams):
        count = (math.floor if chance[sample] < 0.5 else math.ceil)(lam * np.float32(16 * 20))
        order = np.argsort(-filtered(noise[sample].astype("float64"), 3.0).ravel())
        expected = np.zeros(16 * 20)
        expected[order[:count]] = 1
        assert plan["mask"][sample].sum() == count
        # float32 may swap two values that are nearly equal.
        assert (plan["mask"][sample].ravel() != expected).sum() <= 2


def test_as_many_pixels_are_marked_as_asked_for(rng):
    maps = rng.normal(size=(6, 30, 31)).astype("float32") * np.float32(1e-3)
    count = np.array([0, 1, 400, 777, 929, 930], "float32")
    marked = to_numpy(highest(ops.convert_to_tensor(maps), ops.convert_to_tensor(count)))
    np.testing.assert_array_equal(marked.sum((1, 2)), count)
    for own, mask in zip(maps, marked, strict=True):
        if 0 < mask.sum() < mask.size:
            assert own[mask == 1].min() > own[mask == 0].max()
