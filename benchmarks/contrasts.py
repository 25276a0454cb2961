"""Contrasts of the accuracies of a study: sums of its methods with weights, for each seed, with intervals and verdicts.

    python -m benchmarks.contrasts docs/results/length docs/results/length/contrasts.toml

answers what a comparison with the baseline does not: the effect of one part of a method, or whether a gain grows with
the number of epochs. The file is a table from the names of contrasts to weights, which sum to 0:

    [growth]
    "cutmix epochs=200" = 1
    "none epochs=200" = -1
    "cutmix epochs=25" = -1
    "none epochs=25" = 1

A method stands alone where the study has one setting only. `--measures` names rows of the robustness table, whose mean
takes the place of the accuracy; `--relative-to` names a row that is subtracted from it. `--minus` subtracts the
contrasts of another study, by the intervals of Welch.
"""

import argparse
import math
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from keras_mma import files, forms, markdown
from keras_mma.errors import InputError, first_line
from keras_mma.study import analysis, evaluation, sequential, statistics
from keras_mma.study.study_plan import DIMENSIONS, seeds_of

_REPORT = {
    "plan": {"seeds": int, "first_seed": int, "looks": [int], "margin": forms.NUMBER, "part": str},
    "analysis": {"complete": bool},
    "cells": [
        {
            "name": str,
            "method": str,
            "seed": int,
            "setting": dict,
            "accuracy": forms.Between(0, 100),
            "images": int,
            "diverged?": forms.OPTIONAL_INTEGER,
        }
    ],
}


class Contrast(NamedTuple):
    """An `Interval` in percentage points, its p value after Holm's correction, and a verdict at the study's margin.

    `diverged` has the names of its training runs that diverged.
    """

    interval: statistics.Interval
    p: float
    verdict: str
    diverged: tuple = ()


class Sums(NamedTuple):
    """The weighted sums of accuracies.

    Args:
        values: The sum of each seed.
        resolution: Their resolution, see `keras_mma.study.statistics.mean_interval`.
        has_no_evidence: For each seed, whether all of its training runs diverged.
        diverged: Names of the training runs that diverged.
    """

    values: list
    resolution: float
    has_no_evidence: list
    diverged: tuple


def main(arguments=None):
    """Print the contrasts of a study as a Markdown table; 2 and one line if they cannot be computed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder with the report.json of a finished study")
    parser.add_argument("contrasts", type=Path, help=".toml file")
    parser.add_argument("--minus", type=Path, metavar="STUDY", help="another study, whose contrasts are subtracted")
    parser.add_argument("--measures", nargs="+", metavar="NAME", help="of the robustness (default: the accuracy)")
    parser.add_argument("--relative-to", metavar="NAME", help="a measure that is subtracted, such as clean")
    options = parser.parse_args(arguments)
    try:
        if options.relative_to is not None and options.measures is None:
            raise InputError(f"`relative_to` requires `measures`. Received: relative_to={options.relative_to}")
        names = options.measures, options.relative_to
        reports = [_read_report(study, *names) for study in (options.study, options.minus) if study]
        print(
            to_markdown(measure(reports[0], read(options.contrasts), *reports[1:]), reports[0]["plan"]["margin"]),
            end="",
        )
    except InputError as error:
        print(f"contrasts: error: {error}", file=sys.stderr)
        return 2
    return 0


def _read_report(study, measures, reference):
    report = files.read_json(study / "report.json", _REPORT)
    if not measures:
        return report
    asked = (report["plan"].get("evaluations") or [None])[-1]
    return report | {"cells": with_measures(report["cells"], study, measures, reference, asked)}


def read(path):
    """The contrasts of a file, a dict from their names to dicts from methods to weights."""
    try:
        contrasts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
    wrong = forms.fault(contrasts, {str: {str: forms.NUMBER}})
    if wrong or not contrasts:
        raise InputError(f"{path} must be a table from contrasts to weights of methods: {wrong or 'it is empty'}")
    for name, weights in contrasts.items():
        if not weights:
            raise InputError(f"{name} must have weights of methods. Received: none")
        if abs(sum(weights.values())) > 1e-9:
            raise InputError(f"the weights of {name} must sum to 0. Received: {sum(weights.values()):g}")
    return contrasts


def with_measures(cells, study, measures, reference=None, asked=None):
    """Cells with the mean of what was measured of the robustness of their models in place of their accuracy.

    Args:
        cells: The `cells` of a report.
        study: The folder of the study.
        measures: Names of rows of the table of robustness.
        reference: Name of a row that is subtracted from their mean, or `None`.
        asked: What should have been measured, see `keras_mma.study.evaluation.read`.

    Raises:
        InputError: if something was not measured of a model.
    """
    measured = evaluation.read(study, {cell["name"]: cell for cell in cells}, asked)
    if measured is None:
        raise InputError(f"`measures` need the robustness of all models, as its plan says. Received: {study}")
    known = next(iter(measured.accuracies.values()))
    for name in (*measures, *([] if reference is None else [reference])):
        if name not in known:
            raise InputError(f"`measures` must be of {', '.join(known)}. Received: {name}")

    def value(accuracies):
        mean = sum(accuracies[name] for name in measures) / len(measures)
        return mean if reference is None else mean - accuracies[reference]

    return [cell | {"accuracy": value(measured.accuracies[cell["name"]]), "images": measured.images} for cell in cells]


def measure(report, contrasts, other=None):
    """A dict from the names of the contrasts to `Contrast`s.

    As in the report, the level is stricter if the study was extended after a look at its results.

    Args:
        report: The report of a study.
        contrasts: What `read` returned.
        other: The report of another study, whose contrasts are subtracted, or `None`. The seeds of two studies are no
            pairs, so the intervals are those of Welch.

    Raises:
        InputError: if a study is not finished, or has no such method.
    """
    plan = report["plan"]
    looks = (*plan["looks"], plan["seeds"])
    if other is None:
        level = sequential.sequential_level(looks)
        sums = [_sums(report, weights) for weights in contrasts.values()]
        measured = [analysis.compare_pairs(each.values, each.has_no_evidence, level, each.resolution) for each in sums]
        analysis.judge(measured, plan["margin"], looks, complete=True)
        return {
            name: Contrast(analysis.interval_of(found), found["p_adjusted"], found["verdict"], each.diverged)
            for name, found, each in zip(contrasts, measured, sums, strict=True)
        }
    for name in ("part", "margin"):
        if plan[name] != other["plan"][name]:
            raise InputError(
                f"studies that are compared must have the same {name}. Received: {plan[name]} and {other['plan'][name]}"
            )
    if plan["looks"] or other["plan"]["looks"]:
        raise InputError("studies that are compared must not be extended after a look at their results")
    sums = [(_sums(report, weights), _sums(other, weights)) for weights in contrasts.values()]
    intervals, differences, equivalences = zip(*(_welch(*pair, plan["margin"]) for pair in sums), strict=True)
    verdicts = zip(intervals, statistics.holm(differences), statistics.holm(equivalences), sums, strict=True)
    return {
        name: Contrast(
            interval,
            p,
            statistics.verdict(interval, p, equivalence),
            one.diverged + tuple(f"{diverged} of the other study" for diverged in two.diverged),
        )
        for name, (interval, p, equivalence, (one, two)) in zip(contrasts, verdicts, strict=True)
    }


def _sums(report, weights):
    """The `Sums` of a study."""
    if not report["analysis"]["complete"]:
        raise InputError("the study must be finished, because contrasts of a part of it would be a look at its results")
    plan = report["plan"]
    seeds = seeds_of(plan)
    cells = {method: _cells(report["cells"], method, seeds) for method in weights}
    values = [sum(weight * cells[method][seed]["accuracy"] for method, weight in weights.items()) for seed in seeds]
    diverged = [[of[seed]["name"] for of in cells.values() if of[seed].get("diverged") is not None] for seed in seeds]
    images = next(iter(cells.values()))[seeds[0]]["images"]
    # A rounded accuracy has the variance r^2 / 12, so this is the resolution of a difference that varies as much.
    resolution = 100 / images * math.sqrt(sum(weight**2 for weight in weights.values()) / 2)
    return Sums(values, resolution, [len(names) == len(cells) for names in diverged], tuple(sum(diverged, [])))


def _welch(one, two, margin):
    """The interval of a difference of two means by Welch's t test, its p value, and that of "as large as the margin".

    Args:
        one, two: The `Sums` of two independent samples.
        margin: Positive number.
    """
    sizes = (len(one.values), len(two.values))
    variances = [max(np.var(each.values, ddof=1), each.resolution**2 / 6) / len(each.values) for each in (one, two)]
    df = sum(variances) ** 2 / sum(variance**2 / (n - 1) for variance, n in zip(variances, sizes, strict=True))
    mean, error = float(np.mean(one.values) - np.mean(two.values)), math.sqrt(sum(variances))
    half = float(stats.t.isf(statistics.ALPHA / 2, df)) * error
    p, *ends = (float(2 * stats.t.sf(abs(mean - value) / error, df)) for value in (0, margin, -margin))
    equivalence = max(ends) if abs(mean) < margin else 1.0
    if any(one.has_no_evidence + two.has_no_evidence):
        rest = [_with_evidence(each) for each in (one, two)]
        equivalence = _welch(*rest, margin)[2] if all(len(each.values) > 1 for each in rest) else 1.0
    return statistics.Interval(sum(sizes), mean, None, mean - half, mean + half), p, equivalence


def _with_evidence(sums):
    """The `Sums` of the seeds of which not all training runs diverged."""
    values = [value for value, is_void in zip(sums.values, sums.has_no_evidence, strict=True) if not is_void]
    return sums._replace(values=values, has_no_evidence=[False] * len(values))


def _cells(cells, text, seeds):
    """The cells of a method by seed. `text` may name the setting."""
    words, chosen = text.split(" "), {}
    while words and words[-1].partition("=")[0] in DIMENSIONS:
        name, _, value = words.pop().partition("=")
        chosen[name] = value
    method = " ".join(words)
    found = {}
    for cell in cells:
        if cell["method"] == method and all(str(cell["setting"].get(key)) == value for key, value in chosen.items()):
            if cell["seed"] in found:
                raise InputError(f"{text} must name one setting of the study. Received: {cell['setting']} and another")
            found[cell["seed"]] = cell
    missing = [seed for seed in seeds if seed not in found]
    if missing:
        raise InputError(f"the study has no training of {text} with seed {missing[0]}: {_settings(cells, method)}")
    return found


def _settings(cells, method):
    """The settings of a method, in one line."""
    settings = {
        " ".join(f"{name}={value}" for name, value in cell["setting"].items())
        for cell in cells
        if cell["method"] == method
    }
    return f"its settings are {', '.join(sorted(settings))}" if settings else "it is no method of the study"


#: Verdicts of a contrast, which is not better or worse but larger or smaller than 0.
_VERDICTS = {statistics.BETTER: "above 0", statistics.WORSE: "below 0"}


def to_markdown(measured, margin):
    """A table of contrasts."""
    rows = [
        [
            markdown.escape(name),
            f"{contrast.interval.mean:+.2f}",
            _ends(contrast.interval),
            f"{contrast.p:.3f}",
            _VERDICTS.get(contrast.verdict, contrast.verdict).replace("the margin", f"{margin:g}"),
        ]
        for name, contrast in measured.items()
    ]
    head = ["contrast, in points", "mean", "interval, not corrected", "p, corrected", "verdict"]
    table = markdown.table(head, rows) + "\n"
    diverged = sorted({name for contrast in measured.values() for name in contrast.diverged})
    if diverged:
        table += f"\nIncludes training runs that diverged: {markdown.escape(', '.join(diverged))}.\n"
    return table


def _ends(interval):
    return "–" if interval.low is None else f"[{interval.low:.2f}, {interval.high:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
