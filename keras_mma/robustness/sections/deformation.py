"""Deformed images."""

import re

import numpy as np

from keras_mma import forms, plotting
from keras_mma.robustness import sheets
from keras_mma.robustness.metrics import error_bars, errors_of_images
from keras_mma.robustness.perturbations.deformations import DEFORMATIONS, deform, title
from keras_mma.robustness.run import Section
from keras_mma.robustness.wording import change, complement, percent

_MEAN = "deformations, mean"


class Deformation(Section):
    """The error on rotated, sheared and zoomed images."""

    name = "deformation"
    sheet_file = "deformation-images.png"
    form = {
        f"{name}?": {"error": forms.SHARE, "error_interval": [forms.SHARE, forms.SHARE], "correct?": str}
        for name in DEFORMATIONS
    }

    def parts(self, setting):
        def part(name):
            return setting.part(
                f"deformation/{name}", lambda images, indices: deform(images, name, setting.options.seed, indices)
            )

        return [part(name) for name in DEFORMATIONS]

    def summarize(self, setting, results, report):
        return {name: results[f"deformation/{name}"] for name in DEFORMATIONS}, []

    def tabulate(self, report):
        rows = [
            [title(name), percent(result["error"], result["error_interval"]), complement(result["error"])]
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
        clean = report["clean"]["error"]
        axis.axhline(
            100 * clean, color=plotting.BLACK, linewidth=1, linestyle="--", label=f"clean error {percent(clean)}"
        )
        axis.set_xticks(range(len(errors)), [title(name) for name in results], rotation=35, ha="right")
        axis.set(ylabel="error in %", ylim=(0, 100))
        figure.legend(loc="outside upper right")

    def sentences(self, report):
        results, clean = _results(report), report["clean"]["error"]
        if not results:
            return []
        order = sorted(results, key=lambda name: results[name]["error"])
        last, first = (f"{title(name)}" for name in (order[0], order[-1]))
        return [
            f"**The most harmful deformation is {first}:** the error {change(clean, results[order[-1]]['error'])}. "
            f"The least harmful is {last} ({percent(results[order[0]]['error'])})."
        ]

    def sheet(self, setting, report):
        results, rows = _results(report), []
        for row in sheets.example_indices(setting, report, 3):
            image = setting.dataset.read(np.array([row]))
            cells = [(image[0], percent(report["clean"]["error"]))]
            for name, result in results.items():
                changed = deform(image, name, setting.options.seed, [row])
                cells.append((changed[0], percent(result["error"])))
            rows.append(("", cells))
        columns = ("clean", *(re.sub(r" (±|\d)", r"\n\1", title(name)) for name in results))
        text = "Some of the measured images as the model saw them. Below each: the error on all images."
        return sheets.Sheet(text, columns, rows)

    def compare(self, report):
        return {f"{label}, error": percent(error) for label, error in self.errors(report).items()}

    def errors(self, report):
        return {title(name): result["error"] for name, result in _results(report).items()}

    def measures(self, report):
        errors = self.errors(report)
        return {_MEAN: float(np.mean(list(errors.values()))), **errors} if errors else {}

    def outcomes(self, report):
        results, count = _results(report), report["dataset"]["n"]
        outcomes = {title(name): errors_of_images([result], count) for name, result in results.items()}
        return {_MEAN: errors_of_images(list(results.values()), count), **outcomes}


def _results(report):
    return {name: report["deformation"][name] for name in DEFORMATIONS if name in report["deformation"]}
