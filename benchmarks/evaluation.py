"""The time of an evaluation: of attacks that stop when an image is misclassified, and of each kind of work.

    python -m benchmarks.evaluation --dataset cifar10 --output docs/results/evaluation.json

trains two networks and measures, of the first, the section of attacks with the algorithm of this package and with its
earlier one, which made all steps with every image and attacked at each epsilon anew; of both, the shares of time of a
full evaluation. Without `--dataset`, the networks are trained on digits. What stopping saves depends on how many images
fall: those that survive are attacked in all steps, as before. Most digits survive changes of 8/255, few photographs do.
The record therefore has the robust accuracies by both algorithms too.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import records, timing
from keras_mma import datasets, models, robustness
from keras_mma.robustness import run
from keras_mma.robustness.classifier import from_keras
from keras_mma.robustness.perturbations import attacks
from keras_mma.robustness.perturbations.seeds import generators
from keras_mma.robustness.sections.attack import Attack, attacked_with

#: Networks by name: the side of digits, and functions of the shape of an image and the number of classes. The attacks
#: are measured on the first.
NETWORKS = {
    "wideresnet-10-1": (16, lambda shape, classes: models.WideResNet(10, 1, shape, classes)),
    "preactresnet18": (32, lambda shape, classes: models.PreActResNet18(shape, classes, final_activation=True)),
}
QUICK = {
    "images": 12,
    "evaluated": 4,
    "rounds": 1,
    "epochs": 0,
    "steps": 2,
    "networks": ["wideresnet-10-1"],
    "sections": ["clean", "deformation", "attack"],
}


def earlier_survivors(classifier, pixels, labels, indices, options):
    """Measure the attacks on a batch as the package did before: FGSM and PGD anew at each epsilon, with all steps.

    Args:
        classifier: A `Classifier`.
        pixels: uint8 images (n, height, width, channels).
        labels: Class indices (n,).
        indices: Indices of the images in their dataset, which choose the random starts.
        options: `Options` of the evaluation.

    Returns:
        A dict with `zero_gradients`, a number, and `survivors`: which images survive, booleans (n,), by the pairs of an
        attack and an epsilon.
    """
    _, gradient = classifier.attack_gradient(pixels.astype("float32"), labels)
    survivors = {}
    for name, epsilon in attacked_with(options):
        alive = classifier.predict(pixels).argmax(axis=1) == labels
        for restart in range(options.restarts if name == "pgd" else 1):
            rows = np.flatnonzero(alive)
            if len(rows) == 0:
                break
            if name == "fgsm":
                attacked = attacks.fgsm(classifier, pixels[rows], labels[rows], epsilon)
            else:
                rngs = generators(options.seed, f"attack/pgd/{epsilon:g}/{restart}", indices[rows])
                attacked = attacks.pgd(classifier, pixels[rows], labels[rows], epsilon, rngs, options.steps)
            alive[rows] = classifier.predict(attacked).argmax(axis=1) == labels[rows]
        survivors[name, epsilon] = alive
    return {"zero_gradients": int((~gradient.any(axis=(1, 2, 3))).sum()), "survivors": survivors}


def earlier(setting):
    """Robust accuracies of a `Setting` by the earlier algorithm, in the order of the report."""
    batches = [
        earlier_survivors(setting.classifier, images, labels, indices, setting.options)["survivors"].values()
        for indices, images, labels in setting.batches()
    ]
    return [float(np.concatenate(parts).mean()) for parts in zip(*batches, strict=True)]


def now(setting):
    """Robust accuracies of a `Setting` by the section of the report."""
    section, _ = Attack().summarize(setting, run.run(Attack().parts(setting)).results, {})
    return [entry["robust_accuracy"] for entry in section["results"]]


def measure_attacks(classifier, dataset, options):
    """Time both algorithms alternately.

    Args:
        classifier: `Classifier`.
        dataset: `Dataset` of the images.
        options: Arguments of the command.

    Returns:
        A dict with the `attacks`, the robust accuracies and the seconds of each round by both algorithms, and `ratio`,
        the time of this package's relative to that of the earlier one.
    """
    algorithms = {"earlier": earlier, "now": now}
    chosen = {"only": ["attack"], "batch_size": options.batch_size, "steps": options.steps}
    chosen |= {"epsilons": tuple(options.epsilons)} if options.epsilons else {}
    settings = [
        run.Setting(classifier, dataset, robustness.Options(limit=limit, **chosen))
        for limit in (options.batch_size, options.images)
    ]
    classifier.check(settings[0].first_batch[0], dataset.classes, dataset.exact)
    if settings[0].no_gradient:
        raise ValueError(f"The network must have a gradient. Received: {settings[0].no_gradient}")
    for measure in algorithms.values():
        measure(settings[0])  # compiles
    seconds, accuracies = {name: [] for name in algorithms}, {}
    for number in range(options.rounds):
        for name, measure in algorithms.items():
            start = time.perf_counter()
            accuracies[name] = measure(settings[1])
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number + 1}, {name}: {seconds[name][-1]:.1f} s", flush=True)
    return {
        "images": len(settings[1].indices),
        "selection": dataset.selection,
        "attacks": [list(pair) for pair in attacked_with(settings[1].options)],
        "robust_accuracy": accuracies,
        "ratio": timing.ratio(seconds["now"], seconds["earlier"]),
        "rounds_in_seconds": seconds,
    }


def measure_shares(classifier, dataset, options):
    """Evaluate a classifier with all sections; `seconds`, `time` by kind, and the `shares` of the kinds."""
    chosen = {"limit": options.evaluated, "batch_size": options.batch_size, "steps": options.steps}
    evaluated = robustness.evaluate(classifier, dataset, only=options.sections, **chosen)["run"]
    shares = {kind: seconds / evaluated["seconds"] for kind, seconds in evaluated["time"].items()}
    return {"images": options.evaluated, **{key: evaluated[key] for key in ("seconds", "time")}, "shares": shares}


def train(name, options):
    """A trained network as a `Classifier`, and a `Dataset` with enough images: for testing, or else for training."""
    side, build = NETWORKS[name]
    side = side if options.dataset == "digits" else None
    parts = datasets.load(options.dataset, data_dir=options.data_dir, image_size=side, validation_fraction=0)
    training = parts.train.take(parts.train.indices(options.trained))
    keras.utils.set_random_seed(0)
    model = build(training.shape, training.classes)
    if options.epochs:
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=1.0)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(*training.arrays(), batch_size=64, epochs=options.epochs, verbose=0)
    enough = max(options.images, options.evaluated) <= len(parts.test)
    return from_keras(model, name), parts.test if enough else training


def main(arguments=None):
    """Measure, print the ratio and the shares, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="Number of images that are attacked.")
    parser.add_argument("--evaluated", type=int, default=200, help="Number of images of a full evaluation.")
    parser.add_argument("--epochs", type=int, default=5, help="Epochs of the training runs.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="Steps of PGD.")
    parser.add_argument("--epsilons", type=float, nargs="+", help="By default those of `keras-mma evaluate`.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--dataset", default="digits", help="Dataset of the training runs and of the images.")
    parser.add_argument("--data-dir", metavar="DIR", help="Folder of tensorflow-datasets.")
    parser.add_argument("--trained", type=int, default=5000, help="Largest number of images of a training.")
    parser.add_argument("--quick", action="store_true", help="Tiny sizes, to check that everything runs.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    parser.set_defaults(sections=None)  # all
    options = parser.parse_args(arguments)
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "data_dir")}
    command, backend = records.recorded_command("evaluation", arguments), keras.backend.backend()
    record = {"command": command, **settings, "backend": backend}
    record |= {"versions": records.versions("keras", backend), **records.stamp()}
    record["evaluation"] = {}
    for name in options.networks:
        classifier, dataset = train(name, options)
        if "attack" not in record:
            record["attack"] = {"network": name, **measure_attacks(classifier, dataset, options)}
            print(f"attacks: {records.show_ratio(record['attack']['ratio'], 2)} of the earlier time")
            for which, accuracies in record["attack"]["robust_accuracy"].items():
                print(f"robust accuracies, {which}: {', '.join(f'{value:.3f}' for value in accuracies)}")
        record["evaluation"][name] = measure_shares(classifier, dataset, options)
        shares = record["evaluation"][name]["shares"].items()
        print(f"evaluation of {name}: " + ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in shares))
        if options.output:
            records.write_json(options.output, record)


if __name__ == "__main__":
    main()
