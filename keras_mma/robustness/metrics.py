"""How good and how honest predictions are, gathered batch by batch."""

import math

import numpy as np

BINS = 15


class Tally:
    """Sums over batches, from which error, likelihood, Brier score and calibration error follow.

    With p the probabilities of an image, y its label and p_max the confidence:

        error = mean [argmax p != y],    NLL = mean -log p_y,    Brier = mean sum_k (p_k - [k = y])^2,
        ECE = sum_b n_b / n |accuracy_b - confidence_b|

    over 15 bins b of equal width, (0, 1/15], (1/15, 2/15] and so on, by confidence.

    References:
        - C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On calibration of modern neural networks, ICML 2017,
          arXiv:1706.04599, equation 3.
        - G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78 (1950).
    """

    def __init__(self):
        self.count = self.errors = 0
        self.nll = self.brier = 0.0
        self.bins = np.zeros((3, BINS))  # images, sum of confidence, right ones

    def add(self, probabilities, log_probabilities, labels):
        """Add a batch: two arrays (n, classes) and class numbers (n,)."""
        rows = np.arange(len(labels))
        right = probabilities.argmax(axis=1) == labels
        confidence = probabilities.max(axis=1)
        self.count += len(labels)
        self.errors += int((~right).sum())
        self.nll += float(-log_probabilities[rows, labels].sum())
        # sum_k (p_k - [k = y])^2 without a one-hot array.
        own = probabilities[rows, labels]
        self.brier += float((np.square(probabilities).sum(axis=1) - 2 * own + 1).sum())
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        for row, values in enumerate((np.ones(len(labels)), confidence, right)):
            self.bins[row] += np.bincount(place, weights=values, minlength=BINS)

    def summary(self):
        """What the report keeps of these predictions: a dict of plain numbers."""
        counts, confidence, right = self.bins
        filled = np.maximum(counts, 1)
        return {
            "n": self.count,
            "error": self.errors / self.count,
            "error_interval": list(binomial_interval(self.errors, self.count)),
            "nll": self.nll / self.count,
            "brier": self.brier / self.count,
            "ece": float(np.abs(right - confidence).sum() / self.count),
            "bins": {
                "count": [int(count) for count in counts],
                "confidence": (confidence / filled).tolist(),
                "accuracy": (right / filled).tolist(),
            },
        }


def binomial_interval(successes, count, confidence=0.95):
    """Wilson's interval of a share.

        (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)

    Args:
        successes: Number of successes.
        count: Number of trials, at least 1.
        confidence: How often such an interval holds the true share.

    Returns:
        The lower and the upper end, in [0, 1].

    Example:

    >>> from keras_mma.robustness.metrics import binomial_interval
    >>> [round(end, 4) for end in binomial_interval(5, 50)]
    [0.0435, 0.2136]

    References:
        - E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + confidence) / 2))
    share = successes / count
    centre = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    low, high = ((centre + sign * half) / (1 + z**2 / count) for sign in (-1, 1))
    # Rounding must not leave an end beyond the share itself.
    return max(0.0, min(low, share)), min(1.0, max(high, share))
