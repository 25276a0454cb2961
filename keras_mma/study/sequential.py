"""Levels for studies that were extended after a look at their results. Needs SciPy alone."""

import functools
import math

import numpy as np
from scipy import stats

from keras_mma.study.statistics import ALPHA

#: Error that all extensions of a study together may add to that of one comparison.
ALPHA_OF_EXTENSIONS = 0.005
_SIMULATED = 1_000_000  # studies


def sequential_level(looks, comparisons=1):
    """The level of the last look at a study that was extended.

    The first look is that of the plan and has the level `ALPHA / comparisons`. Adding seeds because the answer was
    "cannot be told", and looking again, gives another chance of a false answer. All looks after the first together may
    add `ALPHA_OF_EXTENSIONS / comparisons`, of which 1 - (first / n)^2 is spent at n seeds: however often
    and whenever seeds are added, the overall error stays below 5.5 %. The levels come from a million simulated
    studies without any difference, by draws that are the same in each call.

    Args:
        looks: Tuple of numbers of seeds, increasing, from 2: at how many seeds the study was looked at. The last is
            that of now.
        comparisons: Number of comparisons that share the error, in a step of `holm`.

    Returns:
        The two-sided level of each t test at the last look.

    Example:

    >>> sequential_level((5,))
    0.05
    >>> 0.007 < sequential_level((5, 10)) < 0.009
    True
    """
    return sequential_levels(looks, comparisons)[-1]


@functools.lru_cache(maxsize=256)
def sequential_levels(looks, comparisons=1):
    """The level at each look, as `sequential_level` gives it at that look: a tuple. The arguments are the same."""
    first = ALPHA / comparisons
    if len(looks) == 1:
        return (first,)
    p_values = _null_studies(looks)
    count = p_values.shape[1]
    # By rank: how many studies the first look stops has no sampling error then.
    alive = np.ones(count, bool)
    alive[np.argpartition(p_values[0], round(count * first))[: round(count * first)]] = False
    spent, levels = 0, [first]
    for before, look, p in zip(looks, looks[1:], p_values[1:], strict=False):
        may_spend = round(count * _extra(looks[0], look) / comparisons) - spent
        level = np.partition(p[alive], may_spend)[may_spend] if may_spend > 0 else 0.0
        # Whatever the other looks do, a look adds no more than its level. Few of the simulated studies may be left.
        level = max(float(level), (_extra(looks[0], look) - _extra(looks[0], before)) / comparisons)
        rejected = alive & (p < level)
        spent += int(rejected.sum())
        alive &= ~rejected
        levels.append(level)
    return tuple(levels)


def _extra(first, look):
    """The error that the looks after the first one may have added together."""
    return ALPHA_OF_EXTENSIONS * (1 - (first / look) ** 2)


@functools.lru_cache(maxsize=4)
def _null_studies(looks):
    """P values of the t test at each look of many studies without any difference: array (looks, studies)."""
    rng, count = np.random.default_rng(0), _SIMULATED
    total, squares, before = np.zeros(count), np.zeros(count), 0
    p_values = np.empty((len(looks), count))
    for row, n in enumerate(looks):
        added = n - before
        mean = rng.standard_normal(count) / math.sqrt(added)
        squares += added * mean**2 + (rng.chisquare(added - 1, count) if added > 1 else 0.0)
        total += added * mean
        before = n
        variance = (squares - total**2 / n) / (n - 1)
        p_values[row] = 2 * stats.t.sf(np.abs(total) / np.sqrt(n * variance), n - 1)
    return p_values
