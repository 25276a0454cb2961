"""Against scikit-learn, scipy, a loop, and examples worked out by hand."""

import numpy as np
import pytest

from keras_mma.robustness import metrics, wording
from keras_mma.robustness.classifier import conventions


@pytest.fixture
def predictions(rng):
    logits = rng.normal(0, 2, (500, 7))
    return logits, rng.integers(0, 7, 500)


def tally_of(logits, labels, batch=500, kind="logits"):
    tally = metrics.Tally()
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        tally.add(*conventions.to_probabilities(logits[part], kind), labels[part])
    return tally.summary(bins=True)


def test_error_likelihood_and_brier_score_are_scikit_learns(predictions):
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

    logits, labels = predictions
    probabilities, _ = conventions.to_probabilities(logits, "logits")
    figures = tally_of(logits, labels)
    assert figures["n"] == 500
    assert figures["error"] == pytest.approx(1 - accuracy_score(labels, probabilities.argmax(1)))
    assert figures["nll"] == pytest.approx(log_loss(labels, probabilities), rel=1e-9)
    brier = brier_score_loss(labels, probabilities, labels=np.arange(7), scale_by_half=False)
    assert figures["brier"] == pytest.approx(brier, rel=1e-9)


def test_calibration_error_is_that_of_a_loop(predictions):
    logits, labels = predictions
    probabilities, _ = conventions.to_probabilities(logits, "logits")
    bins = [[] for _ in range(15)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = max(row)
        number = next(b for b in range(15) if b / 15 < confidence <= (b + 1) / 15)
        bins[number].append((confidence, list(row).index(confidence) == label))
    expected = 0.0
    for members in bins:
        if members:
            accuracy, confidence = (sum(m[i] for m in members) / len(members) for i in (1, 0))
            expected += len(members) / len(labels) * abs(accuracy - confidence)
    figures = tally_of(logits, labels)
    assert figures["ece"] == pytest.approx(expected, rel=1e-9)
    assert figures["bins"]["count"] == [len(members) for members in bins]


def test_an_example_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 0])
    figures = tally_of(probabilities, labels, kind="probabilities")
    assert figures["error"] == 0.25
    assert figures["nll"] == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.5]).mean())
    assert figures["brier"] == pytest.approx((0.02 + 1.28 + 0.18 + 0.5) / 4)
    # Confidences 0.9, 0.8, 0.7, 0.5 lie in bins 13, 11, 10, 7 (from 0), one image each: right, wrong, right, right.
    assert [i for i, count in enumerate(figures["bins"]["count"]) if count] == [7, 10, 11, 13]
    assert figures["ece"] == pytest.approx((0.1 + 0.8 + 0.3 + 0.5) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    figures = tally_of(np.array([[0.2] * 5]), np.array([0]), kind="probabilities")
    assert figures["bins"]["count"].index(1) == 2  # (2/15, 3/15]


@pytest.mark.parametrize("batch", [1, 7, 499])
def test_batches_do_not_matter(predictions, batch):
    at_once, parts = tally_of(*predictions), tally_of(*predictions, batch=batch)
    for key in ("error", "nll", "brier", "ece"):
        assert parts[key] == pytest.approx(at_once[key], rel=1e-12), key


def test_the_interval_is_wilsons():
    # By hand: p = 0.1, n = 50, z = 1.96.
    assert metrics.binomial_interval(5, 50) == pytest.approx([0.0435, 0.2136], abs=1e-4)
    assert metrics.binomial_interval(0, 10)[0] == 0 and metrics.binomial_interval(10, 10)[1] == 1


def test_proportions_as_text_and_as_error_bars():
    assert wording.percent(0.1234, (0.1, 0.148)) == "12.3 % [10.0, 14.8]" and wording.percent(None) == "-"
    values, ends = metrics.error_bars([(0.5, [0.4, 0.7]), (0.1, [0.1, 0.2])])
    assert values == pytest.approx([50, 10]) and ends == pytest.approx(np.array([[10, 0], [20, 10]]))


def test_a_probability_of_zero_has_a_finite_likelihood():
    figures = tally_of(np.array([[1.0, 0.0]]), np.array([1]), kind="probabilities")
    assert figures["nll"] == pytest.approx(-np.log(np.finfo("float32").eps))
