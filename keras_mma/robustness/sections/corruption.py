"""Corrupted images."""

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.metrics import percent
from keras_mma.robustness.perturbations import corruptions
from keras_mma.robustness.run import Section

_NUMBER = (int, float)
_SEVERITIES = corruptions.SEVERITIES
# The group that has no part in the mean error.
_EXTRA = "extra"
_DRAWN_APART = (
    "with `limit` the published corrupted images are not those of the clean error, because the two sets are drawn from "
    "in different orders"
)


class Corruption(Section):
    """The error on corrupted images, of five severities each."""

    name = "corruption"
    form = {
        "source": str,
        "label": str,
        "left_out": {str: str},
        "results": {
            str: {
                "group": str,
                "mean_error": _NUMBER,
                "severities": [{"error": _NUMBER, "ece": _NUMBER}] * len(_SEVERITIES),
            }
        },
        "group_mean_errors": {str: _NUMBER},
        "mean_error": _NUMBER,
        "relative_mean_error": (*_NUMBER, type(None)),
        "baseline?": (dict, type(None)),
    }

    def parts(self, setting):
        names, label = _names(setting), _label(setting)
        if setting.baseline is not None:
            _check_baseline(setting.baseline, names, label)
        if "frost" in names and setting.published is None:
            image, options = setting.first_batch[0][:1], setting.options
            corruptions.corrupt(image, "frost", 1, frost_textures=options.frost_textures)  # refuses bad textures

        def part(name, severity):
            def change(images, rows):
                options = setting.options
                return corruptions.corrupt(images, name, severity, options.seed, rows, options.frost_textures)

            place = f"corruption/{name}/{severity}"
            if setting.published is None:
                return setting.part(place, change)
            return setting.part(place, load=lambda: setting.published.load(name, severity))

        return [part(name, severity) for name in names for severity in _SEVERITIES]

    def summarize(self, setting, results, report):
        """The mean error is the mean over corruptions, without the extra ones, of their mean over severities.

        What is relative to the clean error is `None` where that belongs to other images than the corrupted ones.
        """
        by_name = {}
        for name in _names(setting):
            measured = [results[f"corruption/{name}/{severity}"] for severity in _SEVERITIES]
            by_name[name] = {
                "group": corruptions.CORRUPTIONS[name].group,
                "mean_error": _mean(result["error"] for result in measured),
                "severities": measured,
            }
        groups = dict.fromkeys(result["group"] for result in by_name.values())
        for group in groups:
            groups[group] = _mean(result["mean_error"] for result in by_name.values() if result["group"] == group)
        mean = _mean(by_name[name]["mean_error"] for name in _benchmark(by_name))
        drawn_apart = setting.published is not None and len(setting.rows) < len(setting.dataset)
        section = {
            "source": "regenerated" if setting.published is None else "published",
            "label": _label(setting),
            "left_out": _left_out(setting),
            "results": by_name,
            "group_mean_errors": groups,
            "mean_error": mean,
            "relative_mean_error": None if drawn_apart else mean - report["clean"]["error"],
            "relative_left_out": _DRAWN_APART if drawn_apart else None,
            "baseline": None,
        }
        if setting.baseline is not None:
            section["baseline"] = {"report": str(setting.options.baseline)} | relative_to(
                report | {"corruption": section}, setting.baseline
            )
        return section, []

    def tabulate(self, report):
        section = report["corruption"]
        kind = _kind(section)
        if section["source"] == "regenerated":
            severities = section["label"].removeprefix("regenerated, ")
            note = (
                f"The corruptions were **regenerated** from the test images, with the {severities} and seed "
                f"{report['run']['seed']}; these are not figures on a published corrupted test set."
            )
        else:
            note = f"Source: {section['label']}."
        for name, reason in section["left_out"].items():
            note += f" Left out: {name}, because {reason}."
        if section.get("relative_left_out"):
            note += f" No figure is relative to the clean error: {section['relative_left_out']}."
        blank = [""] * (len(_SEVERITIES) + 1)
        rows = [
            ["**mean error**", *blank, f"**{percent(section['mean_error'])}**"],
            ["mean error less clean error", *blank, percent(section["relative_mean_error"])],
        ]
        for group, error in section["group_mean_errors"].items():
            rows.append([f"**{group}**", *blank, f"**{percent(error)}**"])
            for name, result in section["results"].items():
                if result["group"] == group:
                    errors = [percent(severity["error"]) for severity in result["severities"]]
                    calibration = _mean(severity["ece"] for severity in result["severities"])
                    rows.append([_title(name), *errors, f"{calibration:.3f}", percent(result["mean_error"])])
        severities = [f"severity {severity}" for severity in _SEVERITIES]
        tables = [(note, [f"error{kind}", *severities, "calibration error", "mean"], rows)]
        return tables + ([_relative_table(section["baseline"], kind)] if section.get("baseline") else [])

    def plot(self, report, figure):
        section = report["corruption"]
        results = section["results"].values()
        errors = [[100 * severity["error"] for severity in result["severities"]] for result in results]
        figure.set_size_inches(5.2, 0.34 * len(errors) + 1.4)
        axis = figure.subplots()
        picture = axis.imshow(errors, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(errors):
            color = "white" if value > 50 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
        axis.set_yticks(range(len(errors)), map(_title, section["results"]))
        axis.set_xticks(range(len(_SEVERITIES)), _SEVERITIES)
        groups = [result["group"] for result in results]
        for row in range(1, len(groups)):
            if groups[row] != groups[row - 1]:
                axis.axhline(row - 0.5, color="white", linewidth=2)
        axis.grid(False)
        axis.set(xlabel="severity")
        axis.set_title(f"error in % ({section['label']}), mean {100 * section['mean_error']:.1f}", fontsize=9)
        figure.colorbar(picture, ax=axis, shrink=0.8)

    def headlines(self, report):
        section = report["corruption"]
        lines = [f"mean corruption error {section['mean_error']:.2%} ({section['label']})"]
        if section["baseline"] and section["baseline"]["mce"] is not None:
            lines.append(f"mCE {section['baseline']['mce']:.2%} relative to {section['baseline']['report']}")
        return lines

    def compare(self, report):
        section = report["corruption"]
        means = {
            f"**corruption, mean error** ({section['label']})": section["mean_error"],
            f"less clean error{_kind(section)}": section["relative_mean_error"],
        }
        return {label: percent(error) for label, error in (means | self.errors(report)).items()}

    def errors(self, report):
        section = report["corruption"]
        return {f"{group}{_kind(section)}": error for group, error in section["group_mean_errors"].items()}

    def identity(self, report):
        return _identity(report["corruption"]["label"], _benchmark(report["corruption"]["results"]))


def relative_to(report, baseline):
    """Corruption errors relative to those of another report.

        CE_c = sum_s E_c,s / sum_s E'_c,s,    relative CE_c = sum_s (E_c,s - E) / sum_s (E'_c,s - E')

    with E' the errors of the baseline; mCE and relative mCE are their means.

    Args:
        report: A report.
        baseline: A report on the same images.

    Returns:
        A dict. `None` stands where a denominator is not positive, and for every relative figure where the report has
        none.
    """
    ours, theirs = report["corruption"]["results"], baseline["corruption"]["results"]
    ratios, relative = {}, {}
    has_relative = report["corruption"]["relative_mean_error"] is not None
    for name in _benchmark(ours):
        errors, others = ([severity["error"] for severity in side[name]["severities"]] for side in (ours, theirs))
        ratios[name] = _ratio(sum(errors), sum(others))
        rise = sum(errors) - len(errors) * report["clean"]["error"]
        other_rise = sum(others) - len(others) * baseline["clean"]["error"]
        relative[name] = _ratio(rise, other_rise) if has_relative else None
    return {
        "model": baseline["model"]["path"],
        "sha256": baseline["model"]["sha256"],
        "ce": ratios,
        "relative_ce": relative,
        "mce": _mean_or_none(ratios.values()),
        "relative_mce": _mean_or_none(relative.values()),
    }


def _names(setting):
    """The corruptions that are measured."""
    if setting.published is not None:
        return list(setting.published.names)
    with_extra = setting.options.extra_corruptions
    names = [name for name, entry in corruptions.CORRUPTIONS.items() if with_extra or entry.group != _EXTRA]
    return [name for name in names if name not in _left_out(setting)]


def _left_out(setting):
    """Dict from the corruptions that are not measured to the reason."""
    reasons = {}
    for name, entry in corruptions.CORRUPTIONS.items() if setting.published is None else ():
        if entry.needs and getattr(setting.options, entry.needs) is None:
            reasons[name] = f"it needs `{entry.needs}`"
        if entry.needs_color and setting.dataset.shape[-1] == 1 and setting.options.extra_corruptions:
            reasons[name] = "the images have no colors"
    return reasons


def _label(setting):
    if setting.published is not None:
        return setting.published.label
    label = corruptions.label(*setting.dataset.shape[:2])
    textures = setting.options.frost_textures
    return label if textures is None else f"{label}, frost textures {corruptions.weather.textures_digest(textures)}"


def _benchmark(results):
    """Names of the corruptions that have a part in the mean error."""
    return [name for name, result in results.items() if result["group"] != _EXTRA]


def _identity(label, names):
    return {"corruptions": label, "set of corruptions": ", ".join(sorted(names))}


def _check_baseline(baseline, names, label):
    """Refuse a report that has no figures for these corrupted images."""
    if "corruption" not in baseline:
        raise InputError("`baseline` must have a section on corruption. Received: a report without one")
    theirs = _identity(baseline["corruption"]["label"], _benchmark(baseline["corruption"]["results"]))
    names = [name for name in names if corruptions.CORRUPTIONS[name].group != _EXTRA]
    for key, value in _identity(label, names).items():
        if theirs[key] != value:
            raise InputError(f"`baseline` must have the same {key}, {value}. Received: {theirs[key]}")


def _relative_table(baseline, kind):
    rows = [["**mean**", percent(baseline["mce"]), percent(baseline["relative_mce"])]]
    rows += [
        [_title(name), percent(value), percent(baseline["relative_ce"][name])] for name, value in baseline["ce"].items()
    ]
    note = (
        f"Relative to `{baseline['model']}` ({baseline['report']}), whose error is 100 %. A dash stands where that is "
        "0 or does not rise, or where no figure is relative to the clean error."
    )
    return note, [f"corruption{kind}", "CE", "relative CE"], rows


def _kind(section):
    return " (regenerated)" if section["source"] == "regenerated" else ""


def _title(name):
    return name.replace("_", " ")


def _ratio(numerator, denominator):
    return numerator / denominator if denominator > 0 else None


def _mean(values):
    return float(np.mean(list(values)))


def _mean_or_none(values):
    values = list(values)
    return None if None in values else _mean(values)
