"""Attacked images."""

from keras_mma.robustness.metrics import binomial_interval, error_bars, percent
from keras_mma.robustness.perturbations.attacks import ATTACKS, STEPS, TITLES, survives
from keras_mma.robustness.run import Part, Section

_NUMBER = (int, float)
_COLORS = ("#2471a3", "#c0392b")


class Attack(Section):
    """Accuracy under attacks through the gradient of the model."""

    name = "attack"
    form = {
        "left_out": (str, type(None)),
        "results": [
            {
                "attack": set(TITLES),
                "epsilon_255": _NUMBER,
                "restarts": int,
                "robust_accuracy": _NUMBER,
                "robust_accuracy_interval": [_NUMBER, _NUMBER],
            }
        ],
    }

    def parts(self, setting):
        if setting.no_gradient:
            return []

        def part(name, epsilon):
            def measure(on_progress):
                return _measure(setting, name, epsilon, on_progress)

            return Part(f"attack/{name}/{epsilon}", len(setting.rows), measure)

        return [part(name, epsilon) for name, epsilon in ATTACKS]

    def summarize(self, setting, results, report):
        if setting.no_gradient:
            return {"left_out": setting.no_gradient, "results": []}, [f"attacks are left out: {setting.no_gradient}"]
        entries, warnings = [], []
        for name, epsilon in ATTACKS:
            steps, restarts = (STEPS, setting.options.restarts) if name == "pgd20" else (1, 0)
            entry = {"attack": name, "epsilon_255": epsilon, "steps": steps, "restarts": restarts}
            entries.append(entry | results[f"attack/{name}/{epsilon}"])
        accuracy = {(entry["attack"], entry["epsilon_255"]): entry["robust_accuracy"] for entry in entries}
        for (name, epsilon), value in accuracy.items():
            weaker = accuracy.get(("fgsm", epsilon), 1)
            if name == "pgd20" and value > weaker:
                warnings.append(
                    f"masked gradients: at {epsilon}/255 PGD leaves {value:.2%} correct, FGSM only {weaker:.2%}; the "
                    "attacks understate what an attacker can do"
                )
        return {"left_out": None, "results": entries}, warnings

    def tabulate(self, report):
        section = report["attack"]
        if section["left_out"]:
            return [(f"Left out: {section['left_out']}.", None, [])]
        rows = [
            [
                TITLES[entry["attack"]] + _restarts(entry["restarts"]),
                f"{entry['epsilon_255']}/255",
                percent(entry["robust_accuracy"], entry["robust_accuracy_interval"]),
            ]
            for entry in section["results"]
        ]
        note = (
            "Accuracy when no pixel value changes by more than epsilon. Images that are misclassified without an "
            "attack count as errors."
        )
        return [(note, ["attack", "epsilon", "robust accuracy"], rows)]

    def plot(self, report, figure):
        if not report["attack"]["results"]:
            return
        figure.set_size_inches(5.2, 3.4)
        axis = figure.subplots()
        for (name, label), color in zip(TITLES.items(), _COLORS, strict=True):
            entries = [entry for entry in report["attack"]["results"] if entry["attack"] == name]
            values, ends = error_bars((e["robust_accuracy"], e["robust_accuracy_interval"]) for e in entries)
            epsilons = [entry["epsilon_255"] for entry in entries]
            axis.errorbar(epsilons, values, yerr=ends, marker="o", markersize=4, capsize=3, color=color, label=label)
        axis.axhline(100 * (1 - report["clean"]["error"]), color="#888888", linewidth=1, linestyle="--", label="clean")
        axis.set(xlabel="epsilon in 1/255", ylabel="robust accuracy in %", ylim=(-2, 102))
        axis.set_xlim(left=0)
        axis.legend(fontsize=8)

    def headlines(self, report):
        return [f"robust accuracy {1 - error:.2%} under {label}" for label, error in self.errors(report).items()][-1:]

    def compare(self, report):
        return {f"{label}, robust accuracy": percent(1 - error) for label, error in self.errors(report).items()}

    def errors(self, report):
        return {
            f"{TITLES[entry['attack']]} {entry['epsilon_255']}/255": 1 - entry["robust_accuracy"]
            for entry in report["attack"]["results"]
        }


def _measure(setting, name, epsilon, on_progress):
    survivors = count = 0
    for rows, images, labels in setting.batches():
        options = setting.options
        alive = survives(setting.classifier, images, labels, name, epsilon, options.seed, rows, options.restarts)
        survivors, count = survivors + int(alive.sum()), count + len(rows)
        on_progress(len(rows))
    return {
        "n": count,
        "robust_accuracy": survivors / count,
        "robust_accuracy_interval": binomial_interval(survivors, count),
    }


def _restarts(count):
    return f", {count} random start{'s' * (count > 1)}" if count else ""
