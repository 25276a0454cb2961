"""Attacked images."""

import functools

import numpy as np

from keras_mma import forms, plotting
from keras_mma.markdown import sentence
from keras_mma.packing import pack, unpack
from keras_mma.robustness.metrics import binomial_interval, error_bars, errors_of_images
from keras_mma.robustness.perturbations.attacks import ATTACKS, RESTARTS, Source, measure_fgsm, measure_pgd
from keras_mma.robustness.run import Part, Section
from keras_mma.robustness.wording import complement, enumerate_words, percent

_COLORS = {"fgsm": plotting.BLUE, "pgd": plotting.RED}


class Attack(Section):
    """Accuracy under attacks through the gradient of the model."""

    name = "attack"
    form = {
        "left_out": (str, type(None)),
        "zero_gradients": forms.OPTIONAL_INTEGER,
        "results": [
            {
                "attack": set(ATTACKS),
                "epsilon_255": forms.NUMBER,
                "steps": int,
                "restarts": int,
                "robust_accuracy": forms.SHARE,
                "robust_accuracy_interval": [forms.SHARE, forms.SHARE],
                "correct?": str,
            }
        ],
    }

    def parts(self, setting):
        if setting.no_gradient:
            return []

        count = len(setting.indices)
        parts = [Part("attack/fgsm", count, functools.partial(_measure_fgsm, setting))]
        # From small to large: what falls is not attacked again.
        for epsilon in sorted(_epsilons(setting.options, "pgd")):
            measure = functools.partial(_measure_pgd, setting, epsilon)
            parts.append(Part(f"attack/pgd/{epsilon:g}", count, measure, needs=(parts[-1].name,)))
        return parts

    def summarize(self, setting, results, report):
        if setting.no_gradient:
            section = {"left_out": setting.no_gradient, "attacked": None, "zero_gradients": None, "results": []}
            return section, [f"attacks are left out: {setting.no_gradient}"]
        entries = []
        first = results["attack/fgsm"]
        for name, epsilon in attacked_with(setting.options):
            steps, restarts = (setting.options.steps, setting.options.restarts) if name == "pgd" else (1, 0)
            entry = {"attack": name, "epsilon_255": epsilon, "steps": steps, "restarts": restarts}
            measured = first["results"][f"{epsilon:g}"] if name == "fgsm" else results[f"attack/pgd/{epsilon:g}"]
            entries.append(entry | measured)
        zero = first["zero_gradients"]
        section = {
            "left_out": None,
            "attacked": setting.classifier.attacked,
            "zero_gradients": zero,
            "results": entries,
        }
        warnings = list(_masked(entries))
        if zero:
            warnings.append(
                f"vanished gradients: that of {zero} of {len(setting.indices)} images is zero, so that no attack finds "
                "a direction; their survival is no evidence of robustness"
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
        return {_label(entry): 1 - entry["robust_accuracy"] for entry in report["attack"]["results"]}

    def outcomes(self, report):
        entries, count = report["attack"]["results"], report["dataset"]["n"]
        errors = [errors_of_images([entry], count) for entry in entries]
        return dict(zip(self.errors(report), errors, strict=True))


def _epsilons(options, name):
    """The epsilons of an attack, each once."""
    return list(dict.fromkeys(options.epsilons or ATTACKS[name]))


def attacked_with(options):
    """Pairs of an attack and an epsilon, in the order of the report."""
    return [(name, epsilon) for name in ATTACKS for epsilon in _epsilons(options, name)]


def _measure_fgsm(setting, on_progress):
    """FGSM at every epsilon, with what is known of the gradient and the predictions without an attack."""
    epsilons, measured = _epsilons(setting.options, "fgsm"), []
    with setting.prefetched(setting.batches()) as batches:
        for indices, images, labels in batches:
            measured.append(measure_fgsm(setting.classifier, images, labels, epsilons))
            on_progress(len(indices))
    survivors = [np.concatenate(parts) for parts in zip(*(batch.survivors for batch in measured), strict=True)]
    return {
        "correct": pack(np.concatenate([batch.correct for batch in measured])),
        "zero_gradients": int(sum(batch.zero.sum() for batch in measured)),
        "results": {f"{epsilon:g}": _result(alive) for epsilon, alive in zip(epsilons, survivors, strict=True)},
    }


def _measure_pgd(setting, epsilon, on_progress, earlier):
    """PGD on the images that are correct in the part before: without an attack, or at the next smaller epsilon."""
    options, indices = setting.options, setting.indices
    batch_size = setting.classifier.batch_size(options.batch_size)
    source = Source(lambda places: setting.dataset.batches(indices[places], batch_size), batch_size)
    alive = unpack(earlier["correct"], len(indices))
    arguments = (epsilon, options.seed, options.steps, options.restarts)
    return _result(measure_pgd(setting.classifier, source, alive, *arguments, on_progress))


def _result(correct):
    count, survivors = len(correct), int(correct.sum())
    return {
        "n": count,
        "robust_accuracy": survivors / count,
        "robust_accuracy_interval": binomial_interval(survivors, count),
        "correct": pack(correct),
    }


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


def _label(entry):
    """The attack and what it may do, so that only equal ones are compared: more random starts leave fewer correct."""
    starts = "" if entry["attack"] == "fgsm" or entry["restarts"] == RESTARTS else f"×{entry['restarts']}"
    return f"{_title(entry)}{starts} {entry['epsilon_255']:g}/255"


def _restarts(count):
    return f", {count} random start{'s' * (count > 1)}" if count else ""
