"""FGSM and PGD: against Foolbox, ART, closed forms, and what must hold for any attack."""

import zlib

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("Foolbox attacks a TensorFlow model here", allow_module_level=True)

from benchmarks.evaluation import earlier_survivors
from keras_mma import robustness
from keras_mma.packing import pack, unpack
from keras_mma.robustness import Options, Preprocess, load
from keras_mma.robustness.classifier import from_keras
from keras_mma.robustness.perturbations import attacks
from keras_mma.robustness.perturbations.seeds import generators
from keras_mma.robustness.sections.attack import Attack
from tests.robustness import reports


@pytest.fixture
def attacked(digits):
    network, dataset, _ = digits
    return settled(network), dataset.read(np.arange(300)), dataset.labels[:300]


def settled(network, kind="logits", **arguments):
    classifier = from_keras(network, **arguments)
    classifier.kind = kind
    return classifier


def survives(classifier, pixels, labels, name, epsilon, seed=0, indices=None, steps=20, restarts=1):
    """Which images of an array are classified correctly, with and without attack.

    Args:
        classifier, pixels, labels: As for `attacks.fgsm`.
        name: `"fgsm"` or `"pgd"`.
        epsilon: Largest change of a value, in levels of 255.
        seed: Non-negative integer.
        indices: Indices of the images in their dataset, which choose the random starts; 0 to n - 1 by default.
        steps: Number of steps of PGD.
        restarts: Number of random starts of PGD. An image must survive all of them.

    Returns:
        A boolean array (n,). An image that is misclassified without attack does not survive.
    """
    indices = np.arange(len(pixels)) if indices is None else np.asarray(indices)
    if name == "fgsm":
        return attacks.measure_fgsm(classifier, pixels, labels, [epsilon]).survivors[0]
    source = attacks.Source(lambda places: [(indices[places], pixels[places], labels[places])], len(pixels))
    correct = classifier.predict(pixels).argmax(axis=1) == labels
    return attacks.measure_pgd(classifier, source, correct, epsilon, seed, steps, restarts)


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
    ours = survives(settled(network), pixels, labels, name, epsilon, restarts=1).mean()
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
    ours, theirs = both(foolbox, attack, "pgd", attacked, digits, epsilon)
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
    ours, theirs = (survives(victim, pixels, labels, "fgsm", 16) for victim in (classifier, other))
    assert (ours == theirs).mean() > 0.99


def test_probabilities_are_attacked_like_logits(attacked, digits):
    inputs = keras.Input((16, 16, 1))
    other = settled(keras.Model(inputs, keras.ops.softmax(digits[0](inputs))), "probabilities")
    classifier, pixels, labels = attacked
    ours, theirs = (survives(victim, pixels, labels, "fgsm", 16) for victim in (classifier, other))
    assert (ours == theirs).mean() > 0.99


def test_a_certain_model_does_not_escape(attacked, digits):
    """Logits times 100: every probability is 0 or 1 in float32, and the gradient of cross-entropy is 0."""
    inputs = keras.Input((16, 16, 1))
    other = settled(keras.Model(inputs, 100 * digits[0](inputs)))
    classifier, pixels, labels = attacked
    ours, theirs = (survives(victim, pixels, labels, "fgsm", 16).mean() for victim in (classifier, other))
    assert theirs == pytest.approx(ours, abs=0.05)


def test_an_image_that_is_wrong_does_not_survive_and_restarts_only_weaken(attacked):
    classifier, pixels, labels = (attacked[0], *(array[:80] for array in attacked[1:]))
    wrong = np.where(np.arange(80) % 2, labels, (labels + 1) % 10)
    assert not survives(classifier, pixels, wrong, "fgsm", 0)[::2].any()
    once, more = (survives(classifier, pixels, labels, "pgd", 12, restarts=restarts) for restarts in (1, 3))
    assert (once | ~more).all() and once.sum() > 0


def test_an_image_keeps_its_random_start_whatever_the_batch(attacked):
    classifier, pixels, labels = (attacked[0], *(array[:20] for array in attacked[1:]))
    whole = attacks.pgd(classifier, pixels, labels, 8, generators(0, "attack/pgd/8/0", range(20)))
    alone = attacks.pgd(classifier, pixels[7:8], labels[7:8], 8, generators(0, "attack/pgd/8/0", [7]))
    assert np.abs(whole[7] - alone[0]).mean() < 0.05


def test_an_output_that_is_not_finite_is_wrong():
    infinity = np.inf
    wrong = [[np.nan, np.nan], [1.0, np.nan], [infinity, 0.0], [-infinity, -infinity], [0.0, 1.0]]
    right = [[1.0, 0.0], [1.0, -infinity]]  # a class may be impossible
    assert attacks.is_correct(np.array(wrong + right), np.zeros(7, int)).tolist() == [False] * 5 + [True] * 2


def test_an_image_whose_attacked_output_is_not_finite_does_not_survive(digits):
    """A model whose outputs are NaN on every image that is not one of the data set."""
    inputs = keras.Input((16, 16, 1))
    values = keras.layers.Flatten()(inputs)
    whole = keras.ops.all(keras.ops.equal(values, keras.ops.round(values)), -1, keepdims=True)
    logits = values[:, :10] * 0.0 + np.eye(10)[0]  # class 0, that of the largest of ten NaN
    classifier = settled(keras.Model(inputs, keras.ops.where(whole, logits, np.nan)))
    dataset = digits[1]
    images, labels = dataset.read(np.arange(20)), np.zeros(20, int)
    measured = attacks.measure_fgsm(classifier, images, labels, [0.5])
    assert measured.correct.all()

    def batches(places):
        yield places, images[places], labels[places]

    alive = attacks.measure_pgd(classifier, attacks.Source(batches, 8), np.ones(20, bool), 0.5, steps=2)
    assert not alive.any()


def test_masked_gradients_trigger_a_warning():
    def warnings(pgd):
        given = reports.setting()
        results = reports.results(Attack().parts(given), 0.5)
        for epsilon in (4, 8):
            results[f"attack/pgd/{epsilon}"] |= {"robust_accuracy": pgd}
        section, warnings = Attack().summarize(given, results, {})
        assert [entry["attack"] for entry in section["results"]] == ["fgsm"] * 3 + ["pgd"] * 2
        return warnings

    assert warnings(0.5) == []
    assert len(warnings(0.6)) == 2
    assert "masked gradients: at 4/255 PGD leaves 60.00% correct, FGSM only 50.00%" in warnings(0.6)[0]


def test_epsilons_steps_and_restarts_are_recorded():
    report = reports.report(only=["attack"])
    entries = report["attack"]["results"]
    assert [(e["attack"], e["epsilon_255"], e["steps"], e["restarts"]) for e in entries] == [
        ("fgsm", 2, 1, 0),
        ("fgsm", 4, 1, 0),
        ("fgsm", 8, 1, 0),
        ("pgd", 4, 20, 2),
        ("pgd", 8, 20, 2),
    ]
    given = reports.setting(options=Options(epsilons=(0.5, 16), steps=7, restarts=1))
    section, _ = Attack().summarize(given, reports.results(Attack().parts(given)), {})
    text = Attack().tabulate({"attack": section})[0][2]
    assert [row[:2] for row in text] == [
        ["FGSM", "0.5/255"],
        ["FGSM", "16/255"],
        ["PGD-7, 1 random start", "0.5/255"],
        ["PGD-7, 1 random start", "16/255"],
    ]
    # In a comparison, attacks with other numbers of starts are not the same.
    labels = [list(Attack().errors({"attack": part})) for part in (report["attack"], section)]
    assert "PGD-20 8/255" in labels[0] and "PGD-7×1 16/255" in labels[1] and "FGSM 16/255" in labels[1]


@pytest.mark.parametrize("form", ["keras", "SavedModel"])
def test_a_softmax_that_rounds_does_not_escape(attacked, digits, tmp_path, form):
    """A softmax of 300 times the logits: nearly every gradient through it is zero."""
    classifier, pixels, labels = attacked
    inputs = keras.Input((16, 16, 1))
    network = keras.Model(inputs, keras.ops.softmax(300 * digits[0](inputs)))
    network.export(tmp_path / "model", verbose=False)
    certain = from_keras(network) if form == "keras" else load(tmp_path / "model")
    certain.check(pixels, 10, True)
    assert certain.kind == "probabilities"
    _, gradient = certain.attack_gradient(pixels.astype("float32"), labels)
    vanished = ~gradient.any((1, 2, 3))
    assert vanished.mean() > 0.9 and survives(certain, pixels, labels, "fgsm", 16).mean() > 0.9
    assert certain.why_no_gradient(pixels, labels) is None and certain.attacked == "logits"
    _, gradient = certain.attack_gradient(pixels.astype("float32"), labels)
    assert gradient.any((1, 2, 3)).all()
    for name in ("fgsm", "pgd"):
        ours, expected = (survives(victim, pixels, labels, name, 16).mean() for victim in (certain, classifier))
        assert ours == pytest.approx(expected, abs=0.02) and ours < 0.8


def test_vanished_gradients_are_counted_and_trigger_a_warning(digits):
    """Where the logits cannot be reached: a softmax written out."""
    inputs = keras.Input((16, 16, 1))
    logits = 30 * digits[0](inputs)
    exponentials = keras.ops.exp(logits - keras.ops.max(logits, axis=-1, keepdims=True))
    network = keras.Model(inputs, exponentials / keras.ops.sum(exponentials, axis=-1, keepdims=True))
    report = robustness.evaluate(network, digits[1], only=["attack"], limit=60, epsilons=[8], steps=2, restarts=1)
    section = report["attack"]
    assert section["attacked"] == "outputs" and 10 < section["zero_gradients"] < 60
    assert f"that of {section['zero_gradients']} of 60 images is zero" in report["warnings"][-1]
    assert f"that of {section['zero_gradients']} images is zero." in robustness.page.to_markdown(report)


@pytest.fixture
def art_classifier(digits):
    """The network in the Adversarial Robustness Toolbox, with logits divided by ten as in `both`."""
    pytest.importorskip("art")
    from art.estimators.classification import TensorFlowV2Classifier

    inputs = keras.Input((16, 16, 1))
    return TensorFlowV2Classifier(
        keras.Model(inputs, 0.1 * digits[0](inputs)),
        nb_classes=10,
        input_shape=(16, 16, 1),
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0, 255),
    )


def survives_art(art_classifier, attack, attacked):
    """Which images the network classifies correctly with and without an attack of the toolbox."""
    _, pixels, labels = attacked
    inputs = pixels.astype("float32")
    predictions = [art_classifier.predict(images) for images in (inputs, attack.generate(inputs, labels))]
    return np.logical_and(*(prediction.argmax(1) == labels for prediction in predictions))


@pytest.mark.parametrize("epsilon", [4, 8])
def test_fgsm_is_arts(attacked, art_classifier, epsilon):
    from art.attacks.evasion import FastGradientMethod

    _, pixels, labels = attacked
    scaled = settled(art_classifier.model)
    expected = survives_art(art_classifier, FastGradientMethod(art_classifier, eps=epsilon, batch_size=300), attacked)
    # Of 300 images. The gradient of cross-entropy is ours only in its signs, which rounding may change.
    assert np.sum(survives(scaled, pixels, labels, "fgsm", epsilon) != expected) <= 1
    assert expected.mean() < 0.95


@pytest.mark.slow
def test_pgd_is_as_strong_as_apgd(attacked, art_classifier, epsilon=4):
    """PGD-20 leaves as many images as Auto-PGD with 40 steps, of which it takes the better of two losses.

    The difference of logits ratio is one of AutoAttack's losses.
    """
    from art.attacks.evasion import AutoProjectedGradientDescent

    classifier, pixels, labels = attacked
    expected = np.ones(len(pixels), bool)
    for loss in ("cross_entropy", "difference_logits_ratio"):
        attack = AutoProjectedGradientDescent(
            art_classifier,
            eps=epsilon,
            eps_step=2 * epsilon,
            max_iter=40,
            nb_random_init=1,
            batch_size=300,
            loss_type=loss,
            verbose=False,
        )
        expected &= survives_art(art_classifier, attack, attacked)
    ours = survives(classifier, pixels, labels, "pgd", epsilon, restarts=2).mean()
    assert ours == pytest.approx(expected.mean(), abs=0.01)
    assert expected.mean() < 0.95


def loop_pgd(network, image, label, index, epsilon, steps, restarts):
    """PGD on one image that stops where it is misclassified; whether it survives."""
    import tensorflow as tf

    original = image.astype("float32")
    for restart in range(restarts):
        key = zlib.crc32(f"attack/pgd/{epsilon}/{restart}".encode())
        start = np.random.default_rng([0, key, index]).uniform(-epsilon, epsilon, image.shape)
        values = np.clip(original + start.astype("float32"), 0, 255)
        for step in range(steps + 1):
            inputs = tf.constant(values[None])
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                logits = network(inputs)[0]
                others = [logits[other] for other in range(10) if other != label]
                loss = tf.reduce_logsumexp(others) - logits[label]
            if int(tf.argmax(logits)) != label:
                return False
            if step < steps:
                values = values + 2.5 * epsilon / steps * np.sign(tape.gradient(loss, inputs).numpy()[0])
                values = np.minimum(np.maximum(values, original - epsilon), original + epsilon)
                values = np.clip(values, 0, 255).astype("float32")
    return True


@pytest.mark.parametrize("batch_size", [7, 24])
def test_pgd_is_that_of_a_loop(attacked, digits, batch_size):
    classifier, pixels, labels = (attacked[0], *(array[:24] for array in attacked[1:]))
    indices, read = np.arange(100, 124), []
    correct = classifier.predict(pixels).argmax(axis=1) == labels

    def batches(places):
        read.append(len(places))
        for place in places:
            yield indices[[place]], pixels[[place]], labels[[place]]

    done = []
    source = attacks.Source(batches, batch_size)
    found = attacks.measure_pgd(classifier, source, correct, 20, steps=4, restarts=2, on_progress=done.append)
    images = zip(pixels, labels, indices, correct, strict=True)
    expected = [right and loop_pgd(digits[0], image, label, row, 20, 4, 2) for image, label, row, right in images]
    assert found.tolist() == expected and 4 < sum(expected) < 20
    assert sum(done) == 24 and read[0] == correct.sum() > read[1] > sum(expected) - 1


def test_an_image_that_is_misclassified_at_any_step_does_not_survive():
    """One pixel. The second class wins within 3.5 of 110, steps of 6 go there, and each next one leaves it again."""
    inputs = keras.Input((1, 1, 1))
    pixel = keras.layers.Flatten()(inputs)
    network = keras.Model(inputs, keras.ops.concatenate([0 * pixel, 3.5 - keras.ops.abs(pixel - 110)], axis=1))
    classifier, pixels, labels = settled(network), np.arange(95, 105).reshape(10, 1, 1, 1), np.zeros(10, int)
    last = attacks.pgd(classifier, pixels, labels, 24, generators(0, "attack/pgd/24/0", range(10)), steps=10)
    assert (classifier.predict(last).argmax(1) == labels).any()
    assert (classifier.predict(pixels).argmax(1) == labels).all()
    assert not survives(classifier, pixels, labels, "pgd", 24, steps=10).any()


def test_one_output_is_attacked_like_two(attacked, digits):
    """Even and odd digits, as the difference of two outputs, and as the probability of the second."""
    _, pixels, labels = (attacked[0], *(array[:60] for array in attacked[1:]))
    inputs = keras.Input((16, 16, 1))
    logits = digits[0](inputs)
    even, odd = (keras.ops.logsumexp(logits[:, start::2], axis=1, keepdims=True) for start in (0, 1))
    forms = [keras.ops.concatenate([even, odd], axis=1), odd - even, keras.ops.sigmoid(odd - even)]
    kinds = ["logits", "logits", "probabilities"]
    results = []
    for outputs, kind in zip(forms, kinds, strict=True):
        classifier = settled(keras.Model(inputs, outputs), kind)
        results.append(survives(classifier, pixels, labels % 2, "pgd", 20, steps=5))
    assert 5 < results[0].sum() < 55
    assert all((result != results[0]).sum() <= 1 for result in results)


def test_survivors_of_a_larger_epsilon_survive_the_smaller_ones(digits):
    report = robustness.evaluate(
        digits[0], digits[1], only=["attack"], limit=60, epsilons=[24, 4, 12], steps=3, restarts=2, batch_size=16
    )
    entries = report["attack"]["results"]
    assert [entry["epsilon_255"] for entry in entries] == [24, 4, 12] * 2  # the order of the option
    largest, smallest, middle = (unpack(entry["correct"], 60) for entry in entries[3:])
    assert (smallest | ~middle).all() and (middle | ~largest).all()
    assert smallest.sum() > middle.sum() > largest.sum() > 0
    assert [entry["robust_accuracy"] for entry in entries[3:]] == [x.mean() for x in (largest, smallest, middle)]
    # FGSM is measured at each epsilon alone, so that masked gradients are noticed.
    rows = digits[1].indices(60, 0)
    for entry in entries[:3]:
        arguments = (digits[1].read(rows), digits[1].labels[rows], "fgsm", entry["epsilon_255"])
        assert unpack(entry["correct"], 60).tolist() == survives(settled(digits[0]), *arguments).tolist()


def test_what_fell_is_not_attacked_again(digits):
    options = Options(only=["attack"], limit=12, epsilons=[8, 2, 4], steps=1, restarts=1)
    parts = Attack().parts(robustness.run.Setting(settled(digits[0]), digits[1], options))
    assert [part.name for part in parts] == ["attack/fgsm", "attack/pgd/2", "attack/pgd/4", "attack/pgd/8"]
    assert [part.needs for part in parts] == [(), ("attack/fgsm",), ("attack/pgd/2",), ("attack/pgd/4",)]
    before = np.arange(12) % 2 == 0
    everything, half = (
        unpack(parts[2].measure(lambda count: None, {"correct": pack(earlier)})["correct"], 12)
        for earlier in (np.ones(12, bool), before)
    )
    assert half.tolist() == (everything & before).tolist() and half.sum() < everything.sum()


def test_each_image_has_its_own_random_start_whatever_fell_before(attacked, monkeypatch):
    classifier, pixels, labels = (attacked[0], *(array[:6] for array in attacked[1:]))
    indices, seen = np.array([4, 9, 100, 101, 7, 30]), []
    real = classifier.attack_gradient
    monkeypatch.setattr(classifier, "attack_gradient", lambda *batch: seen.append(batch[0]) or real(*batch))
    source = attacks.Source(lambda places: [(indices[places], pixels[places], labels[places])], 6)
    alive = np.array([True, False, True, True, False, True])
    survivors = attacks.measure_pgd(classifier, source, alive, 2.5, seed=3, steps=1, restarts=2)
    assert survivors.tolist() == alive.tolist() and len(seen) == 2
    for restart, values in enumerate(seen):
        key = zlib.crc32(f"attack/pgd/2.5/{restart}".encode())
        for value, image, row in zip(values, pixels[alive], indices[alive], strict=True):
            start = np.random.default_rng([3, key, row]).uniform(-2.5, 2.5, image.shape).astype("float32")
            assert value == pytest.approx(np.clip(image + start, 0, 255), abs=1e-4)


def counting(classifier):
    """Count the images that pass through a model, forward and with their gradient, in a dict."""
    counts, run, pull_back = {"forward": 0, "gradient": 0}, classifier._run, classifier._attacked_pull_back

    def counted_run(inputs):
        counts["forward"] += len(inputs)
        return run(inputs)

    def counted_pull_back(inputs, gradient_of):
        counts["gradient"] += len(inputs)
        return pull_back(inputs, gradient_of)

    classifier._run, classifier._attacked_pull_back = counted_run, counted_pull_back
    return counts


@pytest.mark.parametrize("epsilons, share", [((32, 64), 0.35), ((8,), 1.0)])
def test_images_that_fall_are_not_attacked_any_further(digits, epsilons, share):
    """At 32 and 64/255 nearly all digits fall, as pictures do at 4 and 8/255; at 8/255 most survive all steps."""
    counts, survivors = {}, {}
    options = Options(limit=300, only=["attack"], epsilons=epsilons, batch_size=300)
    for name in ("before", "now"):
        classifier = settled(digits[0])
        counts[name] = counting(classifier)
        if name == "before":
            rows = digits[1].indices(300, 0)
            results = earlier_survivors(classifier, digits[1].read(rows), digits[1].labels[rows], rows, options)
            survivors[name] = [alive.mean() for alive in results["survivors"].values()]
        else:
            setting = robustness.run.Setting(classifier, digits[1], options)
            measured = robustness.run.run(Attack().parts(setting))
            section, _ = Attack().summarize(setting, measured.results, {})
            survivors[name] = [entry["robust_accuracy"] for entry in section["results"]]
            assert section["zero_gradients"] == results["zero_gradients"]
    cost = {name: count["forward"] + 3 * count["gradient"] for name, count in counts.items()}
    assert cost["now"] <= share * cost["before"]
    assert survivors["now"] == pytest.approx(survivors["before"], abs=0.01)


def test_batches_stay_full_while_images_fall(attacked):
    """A model with a fixed batch size pads smaller batches, so only full ones save time."""
    classifier, pixels, labels = attacked
    classifier.input_shape = (32, *classifier.input_shape[1:])
    assert [classifier.batch_size(size) for size in (1, 32, 100)] == [32, 32, 96]
    counts = counting(classifier)
    correct = classifier.predict(pixels).argmax(axis=1) == labels
    source = attacks.Source(lambda places: [(places, pixels[places], labels[places])], 32)
    attacks.measure_pgd(classifier, source, correct, 32, steps=10)
    padded = counts["gradient"]
    classifier.input_shape, counts["gradient"] = (None, *classifier.input_shape[1:]), 0
    attacks.measure_pgd(classifier, source, correct, 32, steps=10)
    # Padding is at most that of the last steps, when no image is left to begin with.
    assert counts["gradient"] <= padded <= counts["gradient"] + 10 * 32
    assert counts["gradient"] < 0.6 * 10 * correct.sum()
