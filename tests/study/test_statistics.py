"""The statistics against SciPy, against examples computed by hand, and by simulation."""

import doctest
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from keras_mma.study import power, sequential
from keras_mma.study import statistics as s

A, B = np.array([71.2, 70.1, 72.3, 71.0, 70.4]), np.array([70.5, 69.9, 71.1, 70.8, 69.2])


def test_paired_intervals_and_p_values_are_those_of_scipy():
    difference = s.paired_difference(A, B)
    expected = stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert s.p_value(difference) == pytest.approx(expected.pvalue)
    assert s.p_value(difference, 0.3) == pytest.approx(stats.ttest_1samp(A - B, 0.3).pvalue)
    wide = s.paired_difference(A, B, level=0.99)
    assert (wide.low, wide.high) == pytest.approx(tuple(expected.confidence_interval(0.99)))
    # By hand: differences 0.7, 0.2, 1.2, 0.2, 1.2; mean 0.7; squares about it 0 + 0.25 + 0.25 + 0.25 + 0.25.
    assert (difference.n, difference.mean, difference.sd) == (5, pytest.approx(0.7), pytest.approx(0.5))
    assert difference.high - 0.7 == pytest.approx(2.776 * 0.5 / math.sqrt(5), abs=1e-4)


def test_one_seed_has_no_interval_and_is_no_evidence():
    difference = s.paired_difference([3.0], [1.0])
    assert difference == (1, 2.0, None, None, None) and s.p_value(difference) == 1
    assert s.equivalence_p_value(difference, 5.0) == 1


def test_equal_differences_are_only_as_precise_as_their_resolution():
    exact = s.paired_difference([2.0, 3.0], [1.0, 2.0])
    assert exact.low == exact.high == 1 and s.p_value(exact) == 0 and s.p_value(exact, 1.0) == 1
    rounded = s.paired_difference([2.0, 3.0], [1.0, 2.0], resolution=1.0)
    assert rounded.sd == pytest.approx(1 / math.sqrt(6)) and rounded.low < 0 and s.p_value(rounded) > 0.1
    # The variance that rounding to whole numbers gives a difference of two values.
    x = np.random.default_rng(0).uniform(0, 100, (2, 100_000))
    assert (x.round() - x)[0].var() + (x.round() - x)[1].var() == pytest.approx(1 / 6, rel=0.02)


def test_t_intervals_cover_what_they_should_in_simulated_studies():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        seed = rng.normal(0, 0.4, 5)
        a, b = 70.3 + seed + rng.normal(0, 0.3, 5), 70 + seed + rng.normal(0, 0.3, 5)
        difference = s.paired_difference(a, b)
        covered += difference.low <= 0.3 <= difference.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_percentile_bootstrap_covers_too_little_with_five_seeds():
    rng = np.random.default_rng(3)
    studies = rng.normal(0.3, 0.5, (2000, 5))
    means = studies[:, rng.integers(0, 5, (2000, 5))].mean(-1)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert 0.82 <= ((low <= 0.3) & (high >= 0.3)).mean() <= 0.86  # the 84 % of docs/study.md


def test_the_equivalence_p_value_belongs_to_the_interval():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(300):
        difference = s.mean_interval(rng.normal(0, 0.4, 6))
        p = s.equivalence_p_value(difference, 0.5)
        inside.append(difference.low > -0.5 and difference.high < 0.5)
        assert (p < 0.05) == inside[-1]
        one_sided = [stats.t.sf((0.5 + sign * difference.mean) / (difference.sd / math.sqrt(6)), 5) for sign in (1, -1)]
        assert p == pytest.approx(min(1, 2 * max(one_sided)))
    assert 0.2 < np.mean(inside) < 0.8


def test_holm_is_the_loop_of_the_paper():
    rng = np.random.default_rng(3)
    for count in (1, 2, 5):
        p_values = rng.uniform(0, 0.1, count)
        adjusted = s.holm(p_values)
        for alpha in (0.01, 0.05, 0.2):  # reject in order until the first that is not
            rejected = set()
            for rank, index in enumerate(np.argsort(p_values)):
                if p_values[index] > alpha / (count - rank):
                    break
                rejected.add(index)
            assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert s.holm([0.9, 0.8]) == [1.0, 1.0] and s.holm([]) == []


def test_holm_with_the_levels_of_an_extended_study():
    def nominal(m):
        return 0.01 / m

    assert s.holm([0.004, 0.002], nominal) == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.2, 0.9, 1.1], s.BETTER),
        ([-1.0, -1.2, -0.9, -1.1], s.WORSE),
        ([0.1, -0.1, 0.05, -0.08], s.NO_DIFFERENCE),
        ([0.10, 0.12, 0.11, 0.09], s.BETTER),  # smaller than the margin, and still shown
        ([1.0, -0.8, 0.9, -0.7], s.CANNOT_BE_TOLD),
        ([1.0], s.CANNOT_BE_TOLD),
    ],
)
def test_verdicts(values, expected):
    difference = s.mean_interval(values)
    assert s.verdict(difference, s.p_value(difference), s.equivalence_p_value(difference, 0.5)) == expected


def test_a_correction_can_take_a_verdict_back():
    difference = s.mean_interval([1.0, 0.2, 0.8, 0.4])
    p = s.p_value(difference)
    assert s.verdict(difference, p, 1.0) == s.BETTER
    assert s.verdict(difference, s.holm([p, 0.5, 0.6])[0], 1.0) == s.CANNOT_BE_TOLD


def test_power_is_the_share_of_simulated_studies_that_see_the_difference():
    rng = np.random.default_rng(4)
    draws = rng.normal(0.8, 1, (20_000, 7))
    for level in (0.05, 0.01):
        seen = stats.ttest_1samp(draws, 0, axis=1).pvalue <= level
        assert power.power(7, 0.8, level) == pytest.approx(seen.mean(), abs=0.01)
    assert power.power(4, 0) == pytest.approx(0.05, abs=1e-4)
    for n, effect in ((2, 1.0), (5, 2.0), (12, 0.7)):
        critical, shift = stats.t.isf(0.025, n - 1), effect * math.sqrt(n)
        expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
        assert power.power(n, effect) == pytest.approx(expected, abs=1e-4)
    # Far out, where SciPy's noncentral t gives NaN: two seeds and a strict level.
    assert power.power(2, 40, 0.001) < 0.2 < 0.99 < power.power(2, 1e5, 0.001)


def test_the_number_of_seeds_for_a_power_of_80_percent():
    # The published tables of the paired t test: effects of 2, 1 and 0.6 standard deviations.
    assert [power.seeds_for_power(0.5, difference) for difference in (1.0, 0.5, 0.3)] == [5, 10, 24]
    n = power.seeds_for_power(0.7, -0.2, level=0.01)
    assert power.power(n, 0.2 / 0.7, 0.01) >= 0.8 > power.power(n - 1, 0.2 / 0.7, 0.01)
    assert power.seeds_for_power(0.0, 0.5) == 2 and power.seeds_for_power(1e-9, 1.0) == 2
    assert power.seeds_for_power(1.0, 0.0, most=1000) is None
    assert power.seeds_for_verdict(0.5, 0.5, most=18) == 18 and power.seeds_for_verdict(0.5, 0.5, most=17) is None
    assert power.seeds_for_verdict(1.0, 1e-6, most=1000) is None and power.seeds_for_verdict(1e-9, 0.5) == 2


def test_the_detectable_difference_has_the_power():
    for n, level in ((3, 0.05), (8, 0.01), (2, 0.05)):
        assert power.power(n, power.detectable_difference(n, 2.0, 0.8, level) / 2, level) == pytest.approx(0.8)
    assert power.detectable_difference(1, 2.0) is None and power.detectable_difference(5, 0.0) == 0


def test_the_probability_to_be_better():
    a, b = [1, 2, 3, 4, 5, 6], [0, 1, 2, 5, 5, 5]  # won 4, lost 1, tied 1
    probability = s.probability_better(a, b)
    assert probability.share == 4.5 / 6
    assert probability.low == pytest.approx(stats.binomtest(4, 6).proportion_ci(0.95).low)
    assert probability.high == pytest.approx(stats.binomtest(5, 6).proportion_ci(0.95).high)
    assert s.probability_better([1, 2], [0, 0]).high == 1 and s.probability_better([0, 0], [1, 2]).low == 0


def test_the_correlation_of_arms():
    assert s.correlation(A, B) == pytest.approx(np.corrcoef(A, B)[0, 1])
    assert s.correlation(A[:2], B[:2]) is None and s.correlation(A, np.ones(5)) is None


def test_the_two_way_analysis_by_hand():
    table = [[1.0, 2.0, 6.0], [3.0, 5.0, 7.0]]
    # Means of seeds 3, 5, of arms 2, 3.5, 6.5, of all 4; residuals 0, -0.5, 0.5 and 0, 0.5, -0.5; df 1 * 2.
    analysis = s.two_way(table)
    assert analysis.df == 2 and analysis.sd == pytest.approx(math.sqrt(1.0 / 2))
    # Mean square of seeds 3 * 2 = 6; (6 - 0.5) / 3 of them is the seeds' own.
    assert analysis.seed_sd == pytest.approx(math.sqrt(5.5 / 3))
    assert analysis.correlation == pytest.approx(5.5 / 3 / (5.5 / 3 + 0.5))
    difference = s.pooled_difference(table, 2, 0)
    assert difference.mean == 4.5
    assert difference.high - 4.5 == pytest.approx(stats.t.isf(0.025, 2) * math.sqrt(2 * 0.5 / 2))


def test_with_two_arms_the_pooled_difference_is_the_paired_one():
    pooled, paired = s.pooled_difference(np.stack([A, B], 1), 0, 1), s.paired_difference(A, B)
    assert pooled == pytest.approx(paired)


def test_a_pooled_difference_is_no_more_precise_than_its_resolution():
    table = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, 5.0]]
    assert s.pooled_difference(table, 1, 0).low == pytest.approx(1.0)
    assert s.pooled_difference(table, 1, 0, resolution=1.0).sd == pytest.approx(1 / math.sqrt(6))


def test_arms_that_vary_unlike_each_other_are_noticed():
    rng = np.random.default_rng(5)
    like = rng.normal(0, 1, (12, 4))
    unlike = like * [0.05, 0.05, 0.05, 4]
    assert s.two_way(like).likeness > 0.05 > s.two_way(unlike).likeness
    assert s.two_way(np.ones((3, 3))).likeness == 1
    balanced = np.kron([[1, -1], [-1, 1]], np.ones((2, 2)))  # residuals of one size: the test divides 0 by 0
    assert s.two_way(balanced).likeness == 1
    # Nothing varies over the seeds but rounding errors.
    for accuracy in np.linspace(1, 99, 40) / 7:
        assert s.two_way(np.full((5, 4), accuracy) + np.array([0, 0, 100 / 26, 1 / 3])).likeness == 1


def test_the_disagreement_is_the_mean_over_all_pairs():
    correct = np.random.default_rng(6).random((5, 40)) < 0.7
    pairs = [np.mean(a != b) for a, b in itertools.combinations(correct, 2)]
    assert s.disagreement(correct) == pytest.approx(np.mean(pairs))


def test_the_noise_floor_is_what_a_finite_test_set_does():
    rng = np.random.default_rng(7)
    images = 500
    # Every image has a probability of its own to be classified rightly; runs are independent given it.
    easy = rng.beta(2, 1, 200_000)
    runs = rng.random((2, len(easy))) < easy
    d = np.mean(runs[0] != runs[1])
    samples = easy[: len(easy) // images * images].reshape(-1, images)
    differences = (rng.random(samples.shape) < samples).mean(1) - (rng.random(samples.shape) < samples).mean(1)
    assert s.noise_floor(d, images) == pytest.approx(differences.std() / math.sqrt(2), rel=0.1)


def test_the_examples_of_the_docstrings():
    done = [doctest.testmod(module) for module in (s, power, sequential)]
    assert [(result.failed, result.attempted) for result in done] == [(0, 6), (0, 3), (0, 2)]


def false_positives(looks, comparisons=1, studies=40_000):
    """The share of studies without any difference that stop at a "significant" look."""
    draws = np.random.default_rng(8).standard_normal((comparisons, studies, looks[-1]))
    stopped, levels = np.zeros(studies, bool), sequential.sequential_levels(looks, comparisons)
    sums, squares = draws.cumsum(2), np.square(draws).cumsum(2)
    for n, level in zip(looks, levels, strict=True):
        mean = sums[:, :, n - 1] / n
        error = np.sqrt((squares[:, :, n - 1] / n - mean**2) / (n - 1))
        p = 2 * stats.t.sf(np.abs(mean / error), n - 1)
        np.testing.assert_allclose(p[:, :9], stats.ttest_1samp(draws[:, :9, :n], 0, axis=2).pvalue)
        # The smallest p value is the first step of Holm: without it there is no rejection.
        stopped |= p.min(0) <= level
    return stopped.mean()


@pytest.mark.parametrize("looks", [(3, 4, 5, 6, 7, 8, 9, 10), (5, 10), (5, 6), (2, 5, 20)])
def test_an_extended_study_has_at_most_six_percent_false_positives(looks):
    assert 0.045 < false_positives(looks) <= 0.06
    assert false_positives(looks, comparisons=4, studies=10_000) <= 0.06


@pytest.mark.parametrize("looks", [(8, 9), (9, 10), (15, 16), (5, 6, 7), (2, 3), (5, 10)])
def test_many_comparisons_share_the_error_of_a_small_extension(looks):
    for comparisons in (10, 20, 22, 36, 40):
        levels = sequential.sequential_levels(looks, comparisons)
        assert all(0 < level < 0.05 / comparisons for level in levels[1:]), (comparisons, levels)
    # P values as they are without any difference: nothing is significant.
    p_values = [(rank + 0.5) / 40 for rank in range(40)]
    adjusted = s.holm(p_values, lambda remaining: sequential.sequential_level(looks, remaining))
    assert min(adjusted) >= 0.5


def test_without_the_plan_the_false_positives_are_too_many():
    draws = np.random.default_rng(8).standard_normal((20_000, 10))
    p = np.stack([stats.ttest_1samp(draws[:, :n], 0, axis=1).pvalue for n in range(3, 11)])
    assert (p <= 0.05).any(0).mean() > 0.14


def test_a_sequential_level_depends_on_all_looks():
    assert sequential.sequential_level((5,)) == 0.05 and sequential.sequential_level((5,), 4) == 0.0125
    assert sequential.sequential_level((5, 7, 10)) < sequential.sequential_level((5, 10)) < 0.05
    assert sequential.sequential_level((5, 10), 3) < sequential.sequential_level((5, 10), 2)
    assert sequential.sequential_level((5, 10)) == sequential.sequential_level((5, 10))


def test_the_levels_of_earlier_looks_do_not_depend_on_later_ones():
    levels = sequential.sequential_levels((5, 7, 10), 3)
    assert levels == tuple(sequential.sequential_level(looks, 3) for looks in ((5,), (5, 7), (5, 7, 10)))
    assert len(set(levels)) == 3
