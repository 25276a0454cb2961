"""Attacked images."""

import numpy as np

from keras_mma import plotting
from keras_mma.markdown import sentence
from keras_mma.packing import pack
from keras_mma.robustness.metrics import (
    binomial_interval,
    complement,
    enumerate_words,
    error_bars,
    errors_of_images,
    percent,
)
from keras_mma.robustness.perturbations.attacks import ATTACKS, survives
from keras_mma.robustness.run import Part, Section

_NUMBER = (int, float)
_COLORS = {"fgsm": plotting.BLUE, "pgd": plotting.RED}


class Attack(Section):
    """Accuracy under attacks through the gradient of the model."""

    name = "attack"
    form = {
        "left_out": (str, type(None)),
        "zero_gradients": (int, type(None)),
        "results": [
            {
                "attack": set(ATTACKS),
                "epsilon_255": _NUMBER,
                "steps": int,
                "restarts": int,
                "robust_accuracy": _NUMBER,
                "robust_accuracy_interval": [_NUMBER, _NUMBER],
                "correct?": str,
            }
        ],
    }

    def parts(self, setting):
        if setting.no_gradient:
            return []

        def part(name, measure):
            return Part(f"attack/{name}", len(setting.rows), measure)

        def attack(name, epsilon):
            return part(f"{name}/{epsilon:g}", lambda on_progress: _measure(setting, name, epsilon, on_progress))

        count = part("zero_gradients", lambda on_progress: _count_zero_gradients(setting, on_progress))
        return [count, *(attack(name, epsilon) for name, epsilon in _attacks(setting))]

    def summarize(self, setting, results, report):
        if setting.no_gradient:
            section = {"left_out": setting.no_gradient, "attacked": None, "zero_gradients": None, "results": []}
            return section, [f"attacks are left out: {setting.no_gradient}"]
        entries = []
        for name, epsilon in _attacks(setting):
            steps, restarts = (setting.options.steps, setting.options.restarts) if name == "pgd" else (1, 0)
            entry = {"attack": name, "epsilon_255": epsilon, "steps": steps, "restarts": restarts}
            entries.append(entry | results[f"attack/{name}/{epsilon:g}"])
        zero = results["attack/zero_gradients"]["count"]
        section = {
            "left_out": None,
            "attacked": setting.classifier.attacked,
            "zero_gradients": zero,
            "results": entries,
        }
        warnings = list(_masked(entries))
        if zero:
            warnings.append(
                f"vanished gradients: that of {zero} of {len(setting.rows)} images is zero, so that no attack finds a "
                "direction; their survival is no evidence of robustness"
            )
        return section, warnings

    def tabulate(self, report):
        section = report["attack"]
        if section["left_out"]:
            return [(f"Left out: {sentence(section['left_out'])}.", None, [])]
        rows = [
            [
                _title(entry) + _restarts(entry["restarts"]),
                f"{entry['epsilon_255']:g}/255",
                percent(entry["robust_accuracy"], entry["robust_accuracy_interval"]),
            ]
            for entry in section["results"]
        ]
        note = (
            "Accuracy when no pixel value changes by more than epsilon. Images that are misclassified without an "
            f"attack count as errors. The attacks follow the gradient of the {section['attacked']}; that of "
            f"{section['zero_gradients']} images is zero."
        )
        return [(note, ["attack", "epsilon", "robust accuracy"], rows)]

    def plot(self, report, figure):
        if not report["attack"]["results"]:
            return
        figure.set_size_inches(5.2, 3.4)
        axis = figure.subplots()
        for name, color in _COLORS.items():
            entries = [entry for entry in report["attack"]["results"] if entry["attack"] == name]
            values, ends = error_bars((e["robust_accuracy"], e["robust_accuracy_interval"]) for e in entries)
            epsilons, label = [entry["epsilon_255"] for entry in entries], _title(entries[0])
            axis.errorbar(epsilons, values, yerr=ends, marker="o", markersize=4, capsize=3, color=color, label=label)
        axis.axhline(
            100 * (1 - report["clean"]["error"]),
            color=plotting.BLACK,
            linewidth=1,
            linestyle="--",
            label=f"clean accuracy {complement(report['clean']['error'])}",
        )
        axis.set(xlabel="epsilon in 1/255", ylabel="robust accuracy in %", ylim=(-2, 102))
        axis.set_xlim(left=0)
        axis.legend(fontsize=8)

    def headlines(self, report):
        entries, labels = report["attack"]["results"], self.errors(report)
        lines = [
            f"robust accuracy {percent(entry['robust_accuracy'])} under {label}"
            for entry, label in zip(entries, labels, strict=True)
        ]
        return lines[-1:]

    def sentences(self, report):
        section = report["attack"]
        if section["left_out"]:
            return [f"Attacks were not measured: {sentence(section['left_out'])}."]
        largest = {entry["attack"]: entry for entry in sorted(section["results"], key=lambda e: e["epsilon_255"])}
        words = [
            f"{_title(entry)} with changes of at most {entry['epsilon_255']:g}/255 leaves "
            f"{percent(entry['robust_accuracy'])} of the images correct"
            for entry in largest.values()
        ]
        return [f"**Attacks:** {enumerate_words(words)}."] if words else []

    def compare(self, report):
        accuracies = [entry["robust_accuracy"] for entry in report["attack"]["results"]]
        labels = [f"{label}, robust accuracy" for label in self.errors(report)]
        return dict(zip(labels, map(percent, accuracies), strict=True))

    def errors(self, report):
        return {
            f"{_title(entry)} {entry['epsilon_255']:g}/255": 1 - entry["robust_accuracy"]
            for entry in report["attack"]["results"]
        }

    def outcomes(self, report):
        entries, count = report["attack"]["results"], report["dataset"]["n"]
        errors = [errors_of_images([entry], count) for entry in entries]
        return dict(zip(self.errors(report), errors, strict=True))


def _attacks(setting):
    """Pairs of an attack and an epsilon."""
    epsilons = setting.options.epsilons
    return [(name, epsilon) for name, default in ATTACKS.items() for epsilon in epsilons or default]


def _measure(setting, name, epsilon, on_progress):
    alive, count, options = [], len(setting.rows), setting.options
    for rows, images, labels in setting.batches():
        arguments = (name, epsilon, options.seed, rows, options.steps, options.restarts)
        alive.append(survives(setting.classifier, images, labels, *arguments))
        on_progress(len(rows))
    correct = np.concatenate(alive)
    survivors = int(correct.sum())
    return {
        "n": count,
        "robust_accuracy": survivors / count,
        "robust_accuracy_interval": binomial_interval(survivors, count),
        "correct": pack(correct),
    }


def _count_zero_gradients(setting, on_progress):
    count = 0
    for rows, images, labels in setting.batches():
        _, gradient = setting.classifier.attack_gradient(images.astype("float32"), labels)
        count += int((~gradient.any(axis=(1, 2, 3))).sum())
        on_progress(len(rows))
    return {"count": count}


def _masked(entries):
    """A warning for each epsilon at which PGD is weaker than FGSM."""
    accuracy = {(entry["attack"], entry["epsilon_255"]): entry["robust_accuracy"] for entry in entries}
    for (name, epsilon), value in accuracy.items():
        weaker = accuracy.get(("fgsm", epsilon), 1)
        if name == "pgd" and value > weaker:
            yield (
                f"masked gradients: at {epsilon:g}/255 PGD leaves {value:.2%} correct, FGSM only {weaker:.2%}; the "
                "attacks understate what an attacker can do"
            )


def _title(entry):
    return "FGSM" if entry["attack"] == "fgsm" else f"PGD-{entry['steps']}"


def _restarts(count):
    return f", {count} random start{'s' * (count > 1)}" if count else ""
