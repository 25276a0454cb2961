"""GMix: the Gaussian of its equation, pixel by pixel."""

import math

import numpy as np
from keras import ops

from keras_mma import layers
from tests.layers.mixers import record_draws, training_plan
from tests.pictures import blobs


def test_the_mask_equals_the_loop(rng, monkeypatch):
    draws = record_draws(monkeypatch)
    _, plan = training_plan(layers.GMix(partner="roll", seed=2), blobs(rng, 12))
    (_, lam), (_, position) = draws
    lam = lam.ravel()
    assert (lam < 0.5).any() and (lam > 0.5).any()
    for sample in range(12):
        center = int(position[0, sample] * 16), int(position[1, sample] * 20)
        for y in range(16):
            for x in range(20):
                area = min(lam[sample], 1 - lam[sample]) * 16 * 20
                kernel = math.exp(-math.pi * ((y - center[0]) ** 2 + (x - center[1]) ** 2) / area)
                expected = kernel if lam[sample] < 0.5 else 1 - kernel
                assert abs(plan["mask"][sample, y, x, 0] - expected) < 1e-5


def test_the_own_share_is_lam_but_for_the_border(rng, monkeypatch):
    """A Gaussian in the middle of an image that is large enough sums to lam."""
    monkeypatch.setattr("keras_mma.sampling.uniform", lambda shape, *args, **kwargs: ops.full(shape, 0.5))
    lam = np.linspace(0.02, 0.12, 8).astype("float32")
    monkeypatch.setattr("keras_mma.sampling.beta", lambda shape, *args: ops.reshape(lam, shape))
    _, plan = training_plan(layers.GMix(partner="roll"), blobs(rng, 8, 64, 64))
    np.testing.assert_allclose(plan["weight"], lam, rtol=1e-3)
    monkeypatch.setattr("keras_mma.sampling.beta", lambda shape, *args: ops.reshape(1 - lam, shape))
    _, plan = training_plan(layers.GMix(partner="roll"), blobs(rng, 8, 64, 64))
    np.testing.assert_allclose(plan["weight"], 1 - lam, rtol=1e-3)
