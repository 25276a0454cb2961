"""CutMix: its box equals the loop, and its center is uniform, row and column independent."""

import numpy as np
import pytest
from scipy import stats

from keras_mma import layers
from tests import oracles
from tests.layers.mixers import record_draws, training_plan


@pytest.mark.parametrize("border", ["clip", "inside"])
def test_the_box_equals_the_loop(rng, monkeypatch, border):
    draws = record_draws(monkeypatch)
    height, width = 11, 18
    _, plan = training_plan(layers.CutMix(border=border, seed=3), np.zeros((64, height, width, 1), "float32"))
    lams, (rows, columns) = dict(draws)["beta"], dict(draws)["uniform"]
    for lam, row, column, mask in zip(lams, rows, columns, plan["mask"][..., 0], strict=True):
        expected = np.ones((height, width))
        if border == "clip":
            center = int(row * height), int(column * width)
            (top, bottom), (left, right) = oracles.box(float(lam), center, height, width, "clip")
        else:
            lengths = [int(size * np.sqrt(1 - lam)) for size in (height, width)]
            top, left = (int(u * (n - k + 1)) for u, n, k in zip((row, column), (height, width), lengths, strict=True))
            bottom, right = top + lengths[0], left + lengths[1]
        expected[top:bottom, left:right] = 0
        np.testing.assert_array_equal(mask, expected)


def test_rows_and_columns_of_the_center_are_independent_and_uniform(monkeypatch):
    from keras import ops

    from keras_mma import sampling

    # Boxes of 2 x 2 pixels, the last of which is the center, wherever the border cuts them.
    monkeypatch.setattr(sampling, "beta", lambda shape, alpha, seed: ops.full(shape, 1 - 0.375**2))
    _, plan = training_plan(layers.CutMix(seed=5), np.zeros((4000, 6, 7, 1), "float32"))
    is_pasted = plan["mask"][..., 0] == 0
    lasts = [length - 1 - is_pasted.any(axis)[:, ::-1].argmax(1) for axis, length in ((2, 6), (1, 7))]
    counts = np.zeros((6, 7))
    np.add.at(counts, tuple(lasts), 1)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
