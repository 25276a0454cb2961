"""HMix: a box and a blend, whose shares add up to lam."""

import numpy as np
import pytest

from keras_mma import layers
from tests import oracles
from tests.layers.mixers import record_draws, training_plan
from tests.pictures import blobs


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_mask_equals_the_loop(ratio, rng, monkeypatch):
    draws = record_draws(monkeypatch)
    _, plan = training_plan(layers.HMix(ratio=ratio, partner="roll", seed=2), blobs(rng, 12))
    (_, lams), (_, position) = draws
    np.testing.assert_allclose(plan["weight"], lams, atol=1e-5)
    for sample, lam in enumerate(lams):
        center = int(position[0, sample] * 16), int(position[1, sample] * 20)
        (top, bottom), (left, right) = oracles.box(1 - ratio * (1 - lam), center, 16, 20, "clip")
        outside = 1 - (bottom - top) * (right - left) / (16 * 20)
        expected = np.full((16, 20, 1), lam / outside)
        expected[top:bottom, left:right] = 0
        np.testing.assert_allclose(plan["mask"][sample], expected, atol=1e-5)


def test_a_ratio_out_of_range_raises():
    with pytest.raises(ValueError, match=r"`ratio` must be a number in \[0, 1\]. Received: ratio=1.5"):
        layers.HMix(ratio=1.5)
