"""From pixels to what a model expects; logits and probabilities, and the gradient that attacks start from."""

import numpy as np
import pytest

from keras_mma.robustness import InputError, Preprocess
from keras_mma.robustness.classifier import conventions


def test_the_formula(rng):
    pixels = rng.integers(0, 256, (2, 3, 4, 3), dtype="uint8")
    prepared = Preprocess.parse(["scale=1/255", "mean=0.5,0.4,0.3", "std=0.2,0.25,0.5"]).apply(pixels)
    for index in np.ndindex(pixels.shape):
        mean, std = (0.5, 0.4, 0.3)[index[-1]], (0.2, 0.25, 0.5)[index[-1]]
        assert prepared[index] == pytest.approx((pixels[index] / 255 - mean) / std, abs=1e-6)
    assert prepared.dtype == "float32"


def test_reversed_channels_come_before_the_means(rng):
    pixels = rng.integers(0, 256, (2, 3, 4, 3), dtype="uint8")
    prepared = Preprocess.parse(["order=bgr", "mean=1,2,3"]).apply(pixels)
    assert prepared == pytest.approx(pixels[..., ::-1] - np.array([1.0, 2.0, 3.0]))


def test_gradients_are_pulled_back_as_the_map_says(rng):
    preprocess = Preprocess.parse(["scale=1/255", "mean=0.5", "std=0.2,0.25,0.5", "order=bgr"])
    pixels, weights = rng.uniform(0, 255, (1, 2, 2, 3)), rng.normal(0, 1, (1, 2, 2, 3))
    pulled_back = preprocess.pull_back(weights)
    for index in np.ndindex(pixels.shape):
        step = np.zeros(pixels.shape)
        step[index] = 10
        slope = ((preprocess.apply(pixels + step) - preprocess.apply(pixels - step)) * weights).sum() / 20
        assert pulled_back[index] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_nothing_is_changed_by_default(rng):
    pixels = rng.integers(0, 256, (1, 2, 2, 3), dtype="uint8")
    assert (Preprocess().apply(pixels) == pixels).all() and "0 to 255 as they are" in str(Preprocess())


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["scale"], "numbers such as"),
        (["range=1"], "must be words like"),
        (["scale=1", "scale=2"], "each once"),
        (["scale=1/0"], "numbers such as"),
        (["mean=a"], "numbers such as"),
        (["scale=1,2"], "scale must be one number"),
        (["std=0"], "scale and std not 0"),
        (["scale=0"], "scale and std not 0"),
        (["order=gbr"], "order must be rgb or bgr"),
    ],
)
def test_other_words_are_refused(words, match):
    with pytest.raises(InputError, match=match):
        Preprocess.parse(words)


def test_numbers_must_fit_the_channels():
    with pytest.raises(InputError, match="std must be 1 or 3 numbers. Received: 2"):
        Preprocess.parse(["std=1,2"]).check(3)


@pytest.mark.parametrize("word", ["1/255", "1/127.5", "0.5", "2", "-1", "0.0039", "1/3", "0.00392156"])
def test_the_text_of_a_scale_gives_it_back(word):
    preprocess = Preprocess.parse([f"scale={word}", "mean=1"])
    text = str(preprocess).split()
    assert Preprocess.parse(text).scale == preprocess.scale
    if "/" in word:
        assert text[0] == f"scale={word}"


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
    kind_of_outputs, why = conventions.decide_outputs(np.asarray(values))
    assert kind_of_outputs == kind and "from the values" in why and f"of {len(values)} images lie in" in why


@pytest.mark.parametrize("values", [[[0.9, 0.8]], [[20.0, 80.0]], [[0.0, 0.0]], [[0.5], [1.5]]])
def test_what_is_neither_is_refused(values):
    with pytest.raises(InputError, match="`outputs` must be logits or probabilities, because"):
        conventions.decide_outputs(np.asarray(values))


def test_probabilities_must_not_be_negative():
    with pytest.raises(InputError, match="must not be negative"):
        conventions.check_outputs(np.array([[-0.1, 1.1]]), "probabilities")
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]. Received: outputs from 0.5 to 1.5"):
        conventions.check_outputs(np.array([[0.5], [1.5]]), "probabilities")
    conventions.check_outputs(np.array([[0.9, 0.8]]), "probabilities")
    assert conventions.to_probabilities(np.array([[0.9, 0.6]]), "probabilities")[0][0] == pytest.approx([0.6, 0.4])


def loss(values, label, kind):
    if kind == "logits":
        values = np.exp(values - values.max())
    return np.log(np.delete(values, label).sum()) - np.log(values[label])


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_the_gradient_is_that_of_finite_differences(rng, kind):
    values = rng.normal(0, 1, (6, 5)) if kind == "logits" else rng.dirichlet(np.ones(5), 6)
    labels = rng.integers(0, 5, 6)
    gradients = conventions.margin_gradient(values, labels, kind)
    for row, label, gradient in zip(values, labels, gradients, strict=True):
        for place in range(5):
            step = np.eye(5)[place] * 1e-6
            slope = (loss(row + step, label, kind) - loss(row - step, label, kind)) / 2e-6
            assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_one_output_is_the_score_of_the_second_class(rng, kind):
    scores = rng.normal(0, 1, (6, 1)) if kind == "logits" else rng.uniform(0.1, 0.9, (6, 1))
    probabilities, _ = conventions.to_probabilities(conventions.two_columns(scores, kind), kind)
    expected = 1 / (1 + np.exp(-scores)) if kind == "logits" else scores
    assert probabilities == pytest.approx(np.hstack([1 - expected, expected]))
    labels = rng.integers(0, 2, 6)
    gradient = conventions.margin_gradient(scores, labels, kind)
    assert gradient.shape == (6, 1)
    for score, label, slope in zip(scores, labels, gradient, strict=True):
        losses = [loss(conventions.two_columns(score[None] + step, kind)[0], label, kind) for step in (1e-6, -1e-6)]
        assert slope[0] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4)


def test_the_gradient_points_where_that_of_cross_entropy_does(rng):
    values, labels = rng.normal(0, 1, (20, 5)), rng.integers(0, 5, 20)
    probabilities, _ = conventions.to_probabilities(values, "logits")
    cross_entropy = probabilities - np.eye(5)[labels]
    gradients = conventions.margin_gradient(values, labels, "logits")
    own = 1 - probabilities[np.arange(20), labels]
    assert gradients * own[:, None] == pytest.approx(cross_entropy, abs=1e-6)


def test_the_gradient_does_not_vanish_with_certainty():
    gradients = conventions.margin_gradient(np.array([[80.0, 0.0, -1.0]], "float32"), np.array([0]), "logits")
    assert gradients[0] == pytest.approx([-1, 0.7311, 0.2689], abs=1e-4)
    assert np.isfinite(conventions.margin_gradient(np.array([[1.0, 0.0]]), np.array([0]), "probabilities")).all()


def test_numbers_may_be_passed_without_a_tuple(rng):
    pixels = rng.integers(0, 256, (1, 2, 2, 3), dtype="uint8")
    preprocess = Preprocess(scale=1 / 127.5, mean=1.0, std=np.array([1.0, 2.0, 4.0])).checked()
    assert preprocess == Preprocess(1 / 127.5, (1.0,), (1.0, 2.0, 4.0))
    preprocess.check(3)
    assert preprocess.apply(pixels).shape == pixels.shape and "mean=1" in str(preprocess)
    for changes, match in (
        ({"order": "BGR"}, "order must be rgb or bgr. Received: 'BGR'"),
        ({"std": 0.0}, "std not 0"),
        ({"mean": "x"}, "must have numbers"),
        ({"scale": float("nan")}, "must be finite"),
    ):
        with pytest.raises(InputError, match=match):
            Preprocess(**changes).checked()
