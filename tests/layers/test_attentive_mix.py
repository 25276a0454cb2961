"""AttentiveMix: the most salient cells of the partner, cell by cell."""

import numpy as np
import pytest

from keras_mma import layers
from tests import oracles
from tests.layers.mixers import record_draws, red, training_plan


@pytest.mark.parametrize(("grid", "count"), [(7, 6), (4, 3), (5, None)])
def test_the_mask_equals_the_loop(grid, count, rng, monkeypatch):
    draws = record_draws(monkeypatch)
    images = rng.random((8, 16, 20, 3)).astype("float32")
    _, plan = training_plan(layers.AttentiveMix(grid=grid, count=count, detector=red, partner="roll"), images)
    for sample in range(8):
        pooled = oracles.area_pool(images[sample - 1, ..., 0], grid, grid).ravel()
        size = count if count is not None else int(np.round((1 - draws[0][1][sample, 0]) * grid**2))
        pasted = np.argsort(-pooled)[:size]
        for y in range(16):
            for x in range(20):
                cell = int((y + 0.5) * grid / 16) * grid + int((x + 0.5) * grid / 20)
                assert plan["mask"][sample, y, x, 0] == (cell not in pasted)


def test_ties_are_broken_at_random():
    """Each cell of constant images is pasted equally often."""
    images = np.zeros((400, 8, 8, 1), "float32")
    _, plan = training_plan(layers.AttentiveMix(grid=4, count=4, partner="roll", seed=1), images)
    np.testing.assert_allclose(plan["weight"], 0.75)
    rate = 1 - plan["mask"][:, ::2, ::2, 0].mean(0)
    assert np.abs(rate - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 400)


def test_more_cells_than_the_grid_has_raise():
    with pytest.raises(ValueError, match="`count` must be at most 9, the cells of the grid. Received: count=10"):
        layers.AttentiveMix(grid=3, count=10)
