"""How many seeds a study needs, and what a number of seeds can show. Needs SciPy alone."""

import functools
import math

import numpy as np
from scipy import optimize, stats

from keras_mma.study.statistics import ALPHA

#: Power with which a study shall see a difference.
_POWER = 0.8
#: How finely the distribution of the estimated spread is divided.
_QUANTILES = 4000


def power(n, effect, level=ALPHA):
    """Probability that the paired t test sees a difference.

    Args:
        n: Number of pairs, at least 2.
        effect: True mean difference divided by the standard deviation of the differences.
        level: Two-sided level of the test.

    Returns:
        A float in (0, 1).
    """
    critical = stats.t.isf(level / 2, n - 1)
    shift = abs(effect) * math.sqrt(n)
    # SciPy's noncentral t gives NaN in its far tails: the mean over the distribution of the estimated spread does not.
    spread = _spreads(n - 1)
    tails = stats.norm.sf(critical * spread - shift) + stats.norm.cdf(-critical * spread - shift)
    return float(tails.mean())


@functools.lru_cache(maxsize=256)
def _spreads(df):
    """Quantiles of the estimated standard deviation where the true one is 1."""
    return np.sqrt(stats.chi2.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, df) / df)


def seeds_for_power(sd, difference, level=ALPHA, most=1_000_000):
    """Number of seeds with which a difference is seen.

    Args:
        sd: Standard deviation of the paired differences.
        difference: True mean difference.
        level: Two-sided level of the test.
        most: Largest answer.

    Returns:
        The smallest number of seeds, at least 2, with a power of 80 %; `None` where it would exceed `most`.

    Example:

    >>> seeds_for_power(sd=0.5, difference=0.5)
    10
    """
    if not sd:
        return 2
    return _fewest(lambda n: power(n, difference / sd, level) >= _POWER, most)


def seeds_for_verdict(sd, margin, level=ALPHA, most=1_000_000):
    """Number of seeds with which a study has a verdict, whatever the difference.

    An interval of at most half the margin on each side excludes 0 or lies within the margin.

    Args:
        sd: Standard deviation of the paired differences.
        margin: Largest difference that does not matter.
        level: Two-sided level of the interval.
        most: Largest answer.

    Returns:
        The smallest number of seeds, at least 2; `None` where it would exceed `most`.

    Example:

    >>> seeds_for_verdict(sd=0.5, margin=0.5)
    18
    """
    return _fewest(lambda n: stats.t.isf(level / 2, n - 1) * sd / math.sqrt(n) <= margin / 2, most)


def _fewest(is_enough, most):
    """The smallest number of seeds, at least 2, that is enough; `None` where it would exceed `most`."""
    low, high = 1, 2
    while not is_enough(high):
        low, high = high, 2 * high
        if low >= most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high if high <= most else None


def detectable_difference(n, sd, wanted=0.8, level=ALPHA):
    """The smallest true difference that a study sees with a given power.

    Args:
        n: Number of pairs.
        sd: Standard deviation of the paired differences.
        wanted: The power.
        level: Two-sided level of the test.

    Returns:
        A float in the unit of `sd`; `None` for a single pair.

    Example:

    >>> round(detectable_difference(n=5, sd=0.5), 2)
    0.84
    """
    if n < 2:
        return None
    high = 1.0
    while power(n, high, level) < wanted:
        high *= 2
    return sd * float(optimize.brentq(lambda effect: power(n, effect, level) - wanted, 0, high))
