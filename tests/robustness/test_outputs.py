"""How logits are told from probabilities, and the gradient that attacks start from."""

import numpy as np
import pytest

from keras_mma.robustness import InputError
from keras_mma.robustness.classifier import outputs


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], "probabilities"),
        (np.array([[0.2, 0.8], [0.4, 0.6]], "float16"), "probabilities"),
        ([[-3.0, 5.0]], "logits"),
        (np.log([[0.2, 0.8]]), "logits"),
        ([[0.2], [1.0]], "probabilities"),
        ([[0.2], [-1.0]], "logits"),
        ([[-0.2, 1.2]], "logits"),  # rows sum to 1 all the same
    ],
)
def test_logits_and_probabilities_are_told_apart(values, kind):
    found, why = outputs.decide(np.asarray(values))
    assert found == kind and "from the values" in why and f"of {len(values)} images lie in" in why


@pytest.mark.parametrize("values", [[[0.9, 0.8]], [[20.0, 80.0]], [[0.0, 0.0]], [[0.5], [1.5]]])
def test_what_is_neither_is_refused(values):
    with pytest.raises(InputError, match="neither logits nor probabilities.*`outputs` decides"):
        outputs.decide(np.asarray(values))


def test_probabilities_must_not_be_negative():
    with pytest.raises(InputError, match="must not be negative"):
        outputs.check(np.array([[-0.1, 1.1]]), "probabilities")
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]. Received: outputs from 0.5 to 1.5"):
        outputs.check(np.array([[0.5], [1.5]]), "probabilities")
    outputs.check(np.array([[0.9, 0.8]]), "probabilities")
    assert outputs.to_probabilities(np.array([[0.9, 0.6]]), "probabilities")[0][0] == pytest.approx([0.6, 0.4])


def loss(values, label, kind):
    if kind == "logits":
        values = np.exp(values - values.max())
    return np.log(np.delete(values, label).sum()) - np.log(values[label])


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_the_gradient_is_that_of_finite_differences(rng, kind):
    values = rng.normal(0, 1, (6, 5)) if kind == "logits" else rng.dirichlet(np.ones(5), 6)
    labels = rng.integers(0, 5, 6)
    found = outputs.margin_gradient(values, labels, kind)
    for row, label, gradient in zip(values, labels, found, strict=True):
        for place in range(5):
            step = np.eye(5)[place] * 1e-6
            slope = (loss(row + step, label, kind) - loss(row - step, label, kind)) / 2e-6
            assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_one_output_is_the_score_of_the_second_class(rng, kind):
    scores = rng.normal(0, 1, (6, 1)) if kind == "logits" else rng.uniform(0.1, 0.9, (6, 1))
    probabilities, _ = outputs.to_probabilities(outputs.two_columns(scores, kind), kind)
    expected = 1 / (1 + np.exp(-scores)) if kind == "logits" else scores
    assert probabilities == pytest.approx(np.hstack([1 - expected, expected]))
    labels = rng.integers(0, 2, 6)
    gradient = outputs.margin_gradient(scores, labels, kind)
    assert gradient.shape == (6, 1)
    for score, label, slope in zip(scores, labels, gradient, strict=True):
        losses = [loss(outputs.two_columns(score[None] + step, kind)[0], label, kind) for step in (1e-6, -1e-6)]
        assert slope[0] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4)


def test_the_gradient_points_where_that_of_cross_entropy_does(rng):
    values, labels = rng.normal(0, 1, (20, 5)), rng.integers(0, 5, 20)
    probabilities, _ = outputs.to_probabilities(values, "logits")
    cross_entropy = probabilities - np.eye(5)[labels]
    found = outputs.margin_gradient(values, labels, "logits")
    own = 1 - probabilities[np.arange(20), labels]
    assert found * own[:, None] == pytest.approx(cross_entropy, abs=1e-6)


def test_the_gradient_does_not_vanish_with_certainty():
    found = outputs.margin_gradient(np.array([[80.0, 0.0, -1.0]], "float32"), np.array([0]), "logits")
    assert found[0] == pytest.approx([-1, 0.7311, 0.2689], abs=1e-4)
    assert np.isfinite(outputs.margin_gradient(np.array([[1.0, 0.0]]), np.array([0]), "probabilities")).all()
