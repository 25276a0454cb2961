"""GridMix: random cells of a grid, cell by cell."""

import numpy as np
import pytest

from keras_mma import layers
from tests.layers.mixers import record_draws, training_plan
from tests.pictures import blobs


@pytest.mark.parametrize("grid", [1, 4, 5])
def test_the_mask_equals_the_loop(grid, rng, monkeypatch):
    draws = record_draws(monkeypatch)
    _, plan = training_plan(layers.GridMix(grid=grid, partner="roll", seed=2), blobs(rng, 8))
    (_, lam), (_, noise) = draws
    for sample in range(8):
        own = np.argsort(noise[sample])[: int(np.round(lam[sample, 0] * grid**2))]
        for y in range(16):
            for x in range(20):
                cell = int((y + 0.5) * grid / 16) * grid + int((x + 0.5) * grid / 20)
                assert plan["mask"][sample, y, x, 0] == (cell in own)
