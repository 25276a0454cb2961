"""Deformed images."""

from keras_mma import plotting
from keras_mma.robustness.metrics import error_bars, percent
from keras_mma.robustness.perturbations.deformations import DEFORMATIONS, deform, title
from keras_mma.robustness.run import Section

_NUMBER = (int, float)


class Deformation(Section):
    """The error on rotated, sheared and zoomed images."""

    name = "deformation"
    form = {f"{name}?": {"error": _NUMBER, "error_interval": [_NUMBER, _NUMBER]} for name in DEFORMATIONS}

    def parts(self, setting):
        def part(name):
            return setting.part(
                f"deformation/{name}", lambda images, rows: deform(images, name, setting.options.seed, rows)
            )

        return [part(name) for name in DEFORMATIONS]

    def summarize(self, setting, results, report):
        return {name: results[f"deformation/{name}"] for name in DEFORMATIONS}, []

    def tabulate(self, report):
        rows = [
            [title(name), percent(result["error"], result["error_interval"]), percent(1 - result["error"])]
            for name, result in _results(report).items()
        ]
        note = "Angles are uniform. What was outside the image is black."
        return [(note, ["deformation", "error", "accuracy"], rows)]

    def plot(self, report, figure):
        results = _results(report)
        figure.set_size_inches(5.2, 3.2)
        axis = figure.subplots()
        errors, ends = error_bars((result["error"], result["error_interval"]) for result in results.values())
        axis.bar(range(len(errors)), errors, yerr=ends, color=plotting.BLUE, capsize=3, error_kw={"elinewidth": 1})
        axis.axhline(100 * report["clean"]["error"], color=plotting.RED, linewidth=1, linestyle="--", label="clean")
        axis.set_xticks(range(len(errors)), [title(name) for name in results], rotation=35, ha="right")
        axis.set(ylabel="error in %", ylim=(0, 100))
        axis.legend(fontsize=8)

    def compare(self, report):
        return {f"{label}, error": percent(error) for label, error in self.errors(report).items()}

    def errors(self, report):
        return {title(name): result["error"] for name, result in _results(report).items()}


def _results(report):
    return {name: report["deformation"][name] for name in DEFORMATIONS if name in report["deformation"]}
