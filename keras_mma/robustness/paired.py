"""Differences between models that were measured on the same images, with intervals."""

import functools
import math
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """A mean difference of errors, with the ends of its 95 % interval, or `None` where it has none."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def is_clear(self):
        """Whether the interval does not hold 0."""
        return self.low is not None and not self.low <= 0 <= self.high


def over_images(errors, others):
    """The difference between two trained models.

    With d_i in [-1, 1] the difference of the errors on image i, the interval is

        mean(d') ± z sd(d') / sqrt(n + 2),    d' = (d_1, ..., d_n, 1, -1)

    which is that of Bonett & Price for paired proportions where an image is right or wrong. The two values that are
    added keep it honest where the models agree on nearly all images.

    Args:
        errors: Errors of the images, an array (n,).
        others: Those of the model that is subtracted.

    Returns:
        A `Difference`.

    References:
        - D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a difference of binomial proportions based on
          paired data, Journal of Educational and Behavioral Statistics 37 (2012).
    """
    values = np.asarray(errors, "float64") - np.asarray(others, "float64")
    padded = np.append(values, (1.0, -1.0))
    half = float(_normal_quantile() * padded.std() / math.sqrt(len(padded)))
    center = float(padded.mean())
    return Difference(float(values.mean()), center - half, center + half)


@functools.cache
def _normal_quantile():
    from scipy.stats import norm  # which takes half a millisecond for a number

    return norm.isf(0.025)


def over_seeds(differences):
    """The difference between two methods: the mean over pairs of trained models, and its t interval.

    Args:
        differences: One number for each pair, at least one.

    Returns:
        A `Difference`. One pair has no interval, and neither do equal differences: errors are shares of a finite number
        of images, so that differences which agree show no precision.
    """
    from scipy.stats import t

    values = np.asarray(differences, "float64")
    count, mean = len(values), float(values.mean())
    if count == 1 or np.ptp(values) < 1e-9:
        return Difference(mean)
    half = float(t.isf(0.025, count - 1) * values.std(ddof=1) / math.sqrt(count))
    return Difference(mean, mean - half, mean + half)


def points(difference):
    """A difference as text in points, such as `"+3.2 [+1.0, +5.4]"`."""
    ends = "" if difference.low is None else f" [{_signed(difference.low)}, {_signed(difference.high)}]"
    return f"{_signed(difference.mean)}{ends}"


def _signed(value):
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
