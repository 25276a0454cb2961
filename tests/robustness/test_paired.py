"""Intervals of paired differences, against a formula, SciPy, and how often they cover the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from keras_mma.robustness import paired


def test_the_interval_over_images_is_that_of_bonett_and_price(rng):
    errors, others = rng.random((2, 80)) < [[0.3], [0.2]]
    more, fewer = int((errors & ~others).sum()), int((~errors & others).sum())
    p, q = (more + 1) / 82, (fewer + 1) / 82
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / 82)
    result = paired.over_images(errors.astype(float), others.astype(float))
    assert result == pytest.approx(((more - fewer) / 80, p - q - half, p - q + half), abs=1e-6)


def test_the_interval_over_images_covers_the_truth(rng):
    """Also where two models disagree on few images, and where an error is a mean over corruptions."""
    covered = []
    for _ in range(400):
        own, shared = rng.random((2, 200)) < [[0.06], [0.2]]
        other = rng.random(200) < 0.03
        result = paired.over_images((shared | own).astype(float), (shared | other).astype(float))
        covered.append(result.low <= 0.8 * 0.03 <= result.high)
    assert np.mean(covered) > 0.92
    same = paired.over_images(np.zeros(50), np.zeros(50))
    assert same.mean == 0 and same.low < -0.01 and same.high > 0.01 and not same.is_clear


def test_the_interval_over_seeds_is_that_of_the_paired_t_test():
    first, second = [0.2, 0.25, 0.21, 0.3], [0.25, 0.27, 0.24, 0.31]
    interval = stats.ttest_rel(first, second).confidence_interval()
    result = paired.over_seeds(np.subtract(first, second))
    assert result == pytest.approx((-0.0275, *interval)) and result.is_clear
    # Equal differences of shares of a few images are no precision.
    assert paired.over_seeds([0.01, 0.01]) == (0.01, None, None)
    assert paired.over_seeds([0.1]) == (0.1, None, None) and not paired.over_seeds([0.1]).is_clear


def test_differences_as_text():
    assert paired.points(paired.Difference(0.0321, -0.0104, 0.0746)) == "+3.2 [−1.0, +7.5]"
    assert paired.points(paired.Difference(-0.0002)) == "0.0"
