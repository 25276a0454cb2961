"""How accurate and how well calibrated predictions are."""

import numpy as np

from keras_mma.packing import pack, unpack

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
        self.correct = []
        self.bins = np.zeros((3, BINS))  # images, sum of confidence, correct images

    def add(self, probabilities, log_probabilities, labels):
        """Add a batch: two arrays (n, classes) and class indices (n,)."""
        samples = np.arange(len(labels))
        correct = probabilities.argmax(axis=1) == labels
        confidence = probabilities.max(axis=1)
        self.count += len(labels)
        self.errors += int((~correct).sum())
        self.correct.append(correct)
        self.nll += float(-log_probabilities[samples, labels].sum())
        # sum_k (p_k - [k = y])^2 without a one-hot array.
        own = probabilities[samples, labels]
        self.brier += float((np.square(probabilities).sum(axis=1) - 2 * own + 1).sum())
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        for row, values in enumerate((np.ones(len(labels)), confidence, correct)):
            self.bins[row] += np.bincount(place, weights=values, minlength=BINS)

    def summary(self, bins=False):
        """What the report holds of these predictions: a dict of plain numbers, with the reliability diagram or not."""
        counts, confidence, correct = self.bins
        filled = np.maximum(counts, 1)
        diagram = {
            "count": [int(count) for count in counts],
            "confidence": (confidence / filled).tolist(),
            "accuracy": (correct / filled).tolist(),
        }
        return {
            "n": self.count,
            "error": self.errors / self.count,
            "error_interval": binomial_interval(self.errors, self.count),
            "nll": self.nll / self.count,
            "brier": self.brier / self.count,
            "ece": float(np.abs(correct - confidence).sum() / self.count),
            "correct": pack(np.concatenate(self.correct)),
        } | ({"bins": diagram} if bins else {})


def binomial_interval(successes, count):
    """The ends of Wilson's 95 % interval of a proportion, as a list."""
    from scipy.stats import binomtest

    return [float(end) for end in binomtest(successes, count).proportion_ci(0.95, method="wilson")]


def errors_of_images(results, count):
    """The mean error of every image over several results of the same images.

    Args:
        results: What `Tally.summary` returned.
        count: Number of images.

    Returns:
        An array (count,), or `None` where a result does not hold which images are correct.

    Raises:
        ValueError: if what a result holds belongs to another number of images.
    """
    packed = [result.get("correct") for result in results]
    return None if None in packed or not packed else np.mean([~unpack(text, count) for text in packed], axis=0)


def error_bars(proportions):
    """Pairs of proportions and their intervals as percentages and the lengths (2, n) of their error bars."""
    values, intervals = (100 * np.array(column) for column in zip(*proportions, strict=True))
    return values, np.abs(intervals.T - values)
