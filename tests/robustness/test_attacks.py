"""FGSM and PGD: against Foolbox, closed forms, and what must hold for any attack."""

import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("Foolbox attacks a TensorFlow model here", allow_module_level=True)

from keras_mma.robustness import Options, Preprocess
from keras_mma.robustness.classifier import from_keras
from keras_mma.robustness.perturbations import attacks
from keras_mma.robustness.perturbations.seeds import generators
from keras_mma.robustness.sections.attack import Attack


@pytest.fixture
def attacked(digits):
    network, dataset, _ = digits
    return settled(network), dataset.read(np.arange(300)), dataset.labels[:300]


def settled(network, kind="logits", **arguments):
    classifier = from_keras(network, **arguments)
    classifier.kind = kind
    return classifier


@pytest.fixture
def foolbox(monkeypatch):
    pytest.importorskip("foolbox")
    # Its array library still asks NumPy for a function that NumPy 2 has not.
    monkeypatch.setattr(np, "find_common_type", lambda arrays, scalars: np.result_type(*arrays), raising=False)
    import foolbox

    return foolbox


def both(foolbox, attack, name, attacked, digits, epsilon):
    """Robust accuracies of the same network and images: ours and Foolbox's.

    Foolbox takes the gradient of cross-entropy, which is 0 where a probability rounds to 1. Logits divided by ten keep
    clear of that.
    """
    import tensorflow as tf

    inputs = keras.Input((16, 16, 1))
    network = keras.Model(inputs, 0.1 * digits[0](inputs))
    _, pixels, labels = attacked
    ours = attacks.survives(settled(network), pixels, labels, name, epsilon, restarts=1).mean()
    wrapped = foolbox.TensorFlowModel(network, bounds=(0, 255))
    _, _, success = attack(wrapped, tf.constant(pixels, tf.float32), tf.constant(labels), epsilons=[epsilon])
    return ours, 1 - success.numpy().mean()


@pytest.mark.parametrize("epsilon", [8, 16, 32])
def test_fgsm_is_foolboxs(attacked, digits, foolbox, epsilon):
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    ours, theirs = both(foolbox, attack, "fgsm", attacked, digits, epsilon)
    assert ours == pytest.approx(theirs, abs=0.01)
    assert 0.05 < ours < 0.95  # neither all nor nothing


@pytest.mark.parametrize("epsilon", [8, 20])
def test_pgd_is_foolboxs(attacked, digits, foolbox, epsilon):
    attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / 20, steps=20, random_start=True)
    ours, theirs = both(foolbox, attack, "pgd20", attacked, digits, epsilon)
    assert ours == pytest.approx(theirs, abs=0.01)
    assert 0.05 < ours < 0.95


def test_fgsm_on_a_linear_model_is_exact(rng):
    weights = rng.normal(0, 1, (2 * 2 * 3, 2)).astype("float32")
    network = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False)])
    network.layers[-1].set_weights([weights])
    classifier = settled(network)
    pixels, labels = rng.integers(0, 256, (5, 2, 2, 3)), np.array([0, 1, 0, 1, 1])
    found = attacks.fgsm(classifier, pixels, labels, 8)
    for image, label, got in zip(pixels, labels, found, strict=True):
        direction = np.sign(weights[:, 1 - label] - weights[:, label]).reshape(2, 2, 3)
        assert got == pytest.approx(np.clip(image + 8 * direction, 0, 255))


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_an_attack_stays_in_its_ball_and_in_the_range(attacked, name):
    classifier, pixels, labels = (attacked[0], *(array[:40] for array in attacked[1:]))
    rngs = generators(0, "attack", range(40))
    found = (
        attacks.fgsm(classifier, pixels, labels, 8)
        if name == "fgsm"
        else attacks.pgd(classifier, pixels, labels, 8, rngs)
    )
    assert np.abs(found - pixels).max() <= 8 + 1e-4 and np.abs(found - pixels).max() > 7.9
    assert found.min() >= 0 and found.max() <= 255


def test_an_attack_raises_the_loss(attacked):
    classifier, pixels, labels = (attacked[0], *(array[:60] for array in attacked[1:]))
    rows = np.arange(60)
    losses = []
    rngs = generators(0, "attack", rows)
    for images in (
        pixels,
        attacks.fgsm(classifier, pixels, labels, 8),
        attacks.pgd(classifier, pixels, labels, 8, rngs),
    ):
        losses.append(-classifier.probabilities(images)[1][rows, labels].mean())
    assert losses[0] < losses[1] < losses[2]


def test_epsilon_means_the_same_in_every_input_range(attacked, digits):
    network, _, _ = digits
    inputs = keras.Input((16, 16, 1))
    # The same network for inputs (pixel / 255 - 0.4) / 0.25.
    same = keras.Model(inputs, network(inputs * (0.25 * 255) + 0.4 * 255))
    other = settled(same, preprocess=Preprocess.parse(["scale=1/255", "mean=0.4", "std=0.25"]))
    classifier, pixels, labels = attacked
    ours, theirs = (attacks.survives(victim, pixels, labels, "fgsm", 16) for victim in (classifier, other))
    assert (ours == theirs).mean() > 0.99


def test_probabilities_are_attacked_like_logits(attacked, digits):
    inputs = keras.Input((16, 16, 1))
    other = settled(keras.Model(inputs, keras.ops.softmax(digits[0](inputs))), "probabilities")
    classifier, pixels, labels = attacked
    ours, theirs = (attacks.survives(victim, pixels, labels, "fgsm", 16) for victim in (classifier, other))
    assert (ours == theirs).mean() > 0.99


def test_a_certain_model_does_not_escape(attacked, digits):
    """Logits times 100: every probability is 0 or 1 in float32, and the gradient of cross-entropy is 0."""
    inputs = keras.Input((16, 16, 1))
    other = settled(keras.Model(inputs, 100 * digits[0](inputs)))
    classifier, pixels, labels = attacked
    ours, theirs = (attacks.survives(victim, pixels, labels, "fgsm", 16).mean() for victim in (classifier, other))
    assert theirs == pytest.approx(ours, abs=0.05)


def test_an_image_that_is_wrong_does_not_survive_and_restarts_only_weaken(attacked):
    classifier, pixels, labels = (attacked[0], *(array[:80] for array in attacked[1:]))
    wrong = np.where(np.arange(80) % 2, labels, (labels + 1) % 10)
    assert not attacks.survives(classifier, pixels, wrong, "fgsm", 0)[::2].any()
    once, more = (attacks.survives(classifier, pixels, labels, "pgd20", 12, restarts=restarts) for restarts in (1, 3))
    assert (once | ~more).all() and once.sum() > 0


def test_an_image_keeps_its_random_start_whatever_the_batch(attacked):
    classifier, pixels, labels = (attacked[0], *(array[:20] for array in attacked[1:]))
    whole = attacks.pgd(classifier, pixels, labels, 8, generators(0, "attack/pgd20/8/0", range(20)))
    alone = attacks.pgd(classifier, pixels[7:8], labels[7:8], 8, generators(0, "attack/pgd20/8/0", [7]))
    assert np.abs(whole[7] - alone[0]).mean() < 0.05


def test_masked_gradients_trigger_a_warning():
    def warnings(pgd):
        results = {f"attack/fgsm/{epsilon}": {"robust_accuracy": 0.5, "n": 9} for epsilon in (2, 4, 8)}
        results |= {f"attack/pgd20/{epsilon}": {"robust_accuracy": pgd, "n": 9} for epsilon in (4, 8)}
        setting = types.SimpleNamespace(no_gradient=None, options=Options())
        section, warnings = Attack().summarize(setting, results, {})
        assert [entry["attack"] for entry in section["results"]] == ["fgsm"] * 3 + ["pgd20"] * 2
        return warnings

    assert warnings(0.5) == []
    assert len(warnings(0.6)) == 2
    assert "masked gradients: at 4/255 PGD leaves 60.00% correct, FGSM only 50.00%" in warnings(0.6)[0]
