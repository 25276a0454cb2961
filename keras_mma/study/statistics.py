"""Statistics of a study: pure functions of numbers, in any unit. Needs SciPy alone.

The runs of a study are paired by their seed: for one seed all arms share the training subset, the initial weights and
the order of the batches. Intervals are t intervals of the differences within the pairs. With five seeds they cover
what they should, the percentile bootstrap does not.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

#: Two-sided error of a single comparison that is tested once.
ALPHA = 0.05

BETTER, WORSE = "better", "worse"
NO_DIFFERENCE, CANNOT_BE_TOLD = "no difference larger than the margin", "cannot be told"


class Interval(NamedTuple):
    """A mean with its t interval.

    Attributes:
        n: Number of values.
        mean: Their mean.
        sd: Their standard deviation, `None` for one value.
        low: Lower end of the interval, `None` for one value.
        high: Upper end, likewise.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def mean_interval(values, level=1 - ALPHA, resolution=0.0):
    """The mean of some values and its t interval.

    Args:
        values: Sequence of numbers, at least one.
        level: Coverage of the interval, in (0, 1).
        resolution: Smallest step between two values. Rounding to it alone gives a difference of two values the
            standard deviation resolution / sqrt(6). A smaller one is no evidence of precision, so the interval is
            never narrower than with that.

    Returns:
        An `Interval`. One value has no interval.

    Example:

    >>> interval = mean_interval([0.8, 1.2, 1.0, 1.4, 0.6])
    >>> [round(end, 3) for end in (interval.low, interval.mean, interval.high)]
    [0.607, 1.0, 1.393]
    """
    values = np.asarray(values, "float64")
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(1, mean, None, None, None)
    sd = max(float(values.std(ddof=1)), resolution / math.sqrt(6))
    half = float(stats.t.isf((1 - level) / 2, n - 1)) * sd / math.sqrt(n)
    return Interval(n, mean, sd, mean - half, mean + half)


def paired_difference(a, b, level=1 - ALPHA, resolution=0.0):
    """`mean_interval` of a - b, where `a[i]` and `b[i]` are of the same seed."""
    return mean_interval(np.subtract(a, b), level, resolution)


def p_value(difference, value=0.0):
    """Two-sided p value of the paired t test.

    Args:
        difference: An `Interval` of differences.
        value: The mean difference under the null hypothesis.

    Returns:
        A float in [0, 1]; 1 for a single pair, which is no evidence.
    """
    if difference.n < 2:
        return 1.0
    if not difference.sd:
        return float(difference.mean == value)
    t = (difference.mean - value) / (difference.sd / math.sqrt(difference.n))
    return float(2 * stats.t.sf(abs(t), difference.n - 1))


def equivalence_p_value(difference, margin):
    """P value against "the difference is as large as the margin", in either direction.

    The larger of the two one-sided p values, times 2: it is below 0.05 exactly where the 95 % interval lies inside
    (-margin, margin), so that one interval shows all verdicts.

    Args:
        difference: An `Interval` of differences.
        margin: Positive number.

    Returns:
        A float in [0, 1].
    """
    if abs(difference.mean) >= margin:
        return 1.0
    return max(p_value(difference, margin), p_value(difference, -margin))


def holm(p_values, nominal=None):
    """Holm's adjustment for several comparisons.

    Args:
        p_values: One for each comparison.
        nominal: Function that gives the level of a comparison among `m`, `ALPHA / m` by default. An extended study
            has stricter levels, see `keras_mma.study.sequential`.

    Returns:
        Adjusted p values, to be compared with `ALPHA`, in the order of `p_values`.

    Example:

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        remaining = len(p_values) - rank
        level = ALPHA / remaining if nominal is None else nominal(remaining)
        largest = max(largest, min(1.0, float(p_values[index]) * ALPHA / level))
        adjusted[index] = largest
    return adjusted


def verdict(difference, p, p_equivalence):
    """The verdict about an arm against the baseline.

    Args:
        difference: `Interval` of arm minus baseline; positive is better.
        p: Adjusted p value of "no difference".
        p_equivalence: Adjusted p value of `equivalence_p_value`.

    Returns:
        One of `BETTER`, `WORSE`, `NO_DIFFERENCE` and `CANNOT_BE_TOLD`. A difference that is shown comes before one
        that is shown to be small.
    """
    if p <= ALPHA:
        return BETTER if difference.mean > 0 else WORSE
    return NO_DIFFERENCE if p_equivalence <= ALPHA else CANNOT_BE_TOLD


class Probability(NamedTuple):
    """Probability that one arm beats another on the same seed, with its exact 95 % interval."""

    share: float
    low: float
    high: float


def probability_better(a, b, level=1 - ALPHA):
    """P(A > B) for a seed of its own.

    Args:
        a: Results of one arm, one for each seed.
        b: Those of the other, for the same seeds.
        level: Coverage of the interval, in (0, 1).

    Returns:
        A `Probability`: the share of seeds on which A is better, ties by half, and the interval of Clopper and Pearson,
        whose lower end counts ties as lost and whose upper end counts them as won.

    Example:

    >>> probability = probability_better([3, 4, 5, 6, 2], [1, 2, 3, 4, 3])
    >>> probability.share, round(probability.low, 3), round(probability.high, 3)
    (0.8, 0.284, 0.995)
    """
    difference = np.subtract(a, b)
    n, wins, ties = len(difference), int((difference > 0).sum()), int((difference == 0).sum())
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, wins, n - wins + 1)) if wins else 0.0
    not_lost = wins + ties
    high = float(stats.beta.isf(tail, not_lost + 1, n - not_lost)) if not_lost < n else 1.0
    return Probability((wins + ties / 2) / n, low, high)


def correlation(a, b):
    """Pearson's correlation of two arms over the seeds, `None` where an arm does not vary or there are two seeds.

    What pairing gains: the variance of a paired difference of arms with equal variances is 1 - r times that of
    an unpaired one.
    """
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.pearsonr(a, b).statistic)


class TwoWay(NamedTuple):
    """Analysis of variance of seeds and arms without replication.

    Attributes:
        sd: Residual standard deviation: what is left of a run after the means of its seed and of its arm.
        df: Its degrees of freedom, (seeds - 1) (arms - 1).
        seed_sd: Standard deviation of the seeds' own effect, 0 where it is not seen.
        correlation: Share of the seeds in the variance within an arm: the correlation of two arms.
        likeness: P value of the Brown-Forsythe test of equal variances of the residuals of all arms. If it is small, a
            pooled error misleads.
    """

    sd: float
    df: int
    seed_sd: float
    correlation: float
    likeness: float


def two_way(table):
    """Pool the error of several arms.

    Args:
        table: Array (seeds, arms) of results, at least 2 by 2, nothing missing.

    Returns:
        A `TwoWay`.
    """
    table = np.asarray(table, "float64")
    seeds, arms = table.shape
    residuals = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    df = (seeds - 1) * (arms - 1)
    residual = float((residuals**2).sum() / df)
    of_seeds = max(0.0, (arms * float(table.mean(1).var(ddof=1)) - residual) / arms)
    total = residual + of_seeds
    # Two arms have mirrored residuals, which say nothing about which of them varies more; so do two seeds.
    likeness = 1.0
    if arms > 2 and seeds > 2 and residual > (1e-9 * np.abs(table).max()) ** 2:  # more than rounding
        with np.errstate(invalid="ignore"):  # 0 / 0 for residuals that are all of the same size
            p = float(stats.levene(*residuals.T, center="median").pvalue)
        likeness = 1.0 if math.isnan(p) else p
    return TwoWay(math.sqrt(residual), df, math.sqrt(of_seeds), of_seeds / total if total else 0.0, likeness)


def pooled_difference(table, arm, baseline, level=1 - ALPHA, resolution=0.0):
    """The difference of two columns with the error of all.

    Args:
        table: See `two_way`.
        arm: Index of a column.
        baseline: Index of the column that it is compared with.
        level: Coverage of the interval, in (0, 1).
        resolution: See `mean_interval`.

    Returns:
        An `Interval`, whose `sd` is that of a difference, sqrt(2) times the residual one.
    """
    table = np.asarray(table, "float64")
    analysis, n = two_way(table), len(table)
    mean = float((table[:, arm] - table[:, baseline]).mean())
    sd = max(math.sqrt(2) * analysis.sd, resolution / math.sqrt(6))
    half = float(stats.t.isf((1 - level) / 2, analysis.df)) * sd / math.sqrt(n)
    return Interval(n, mean, sd, mean - half, mean + half)


def disagreement(correct):
    """The share of images on which two runs disagree in being right.

    Args:
        correct: Boolean array (runs, images), at least two runs.

    Returns:
        The mean over all pairs of runs, in [0, 1].
    """
    correct = np.asarray(correct, bool)
    runs = len(correct)
    right = correct.sum(0)
    # Of the runs (runs - 1) / 2 pairs, right (runs - right) disagree on an image.
    return float((right * (runs - right)).mean() / (runs * (runs - 1) / 2))


def noise_floor(share, images):
    """The standard deviation of an accuracy that the finite test set alone explains.

    Two runs of one method that disagree in being right on a share d of n images differ by d n images, each as likely
    in favor of the one as of the other: their difference has the variance d / n, and each of them half of it.

    Args:
        share: d, in [0, 1]; see `disagreement`.
        images: n.

    Returns:
        sqrt(d / (2 n)), a share of images.

    Example:

    >>> round(noise_floor(0.1, 10_000), 5)
    0.00224
    """
    return math.sqrt(share / (2 * images))
