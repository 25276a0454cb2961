"""Corrupted images."""

import numpy as np

from keras_mma import forms, plotting
from keras_mma.markdown import escape, sentence
from keras_mma.robustness import sheets
from keras_mma.robustness.metrics import errors_of_images
from keras_mma.robustness.perturbations import corruptions
from keras_mma.robustness.perturbations.corruptions import registry
from keras_mma.robustness.run import Section
from keras_mma.robustness.sections import relative
from keras_mma.robustness.sections.relative import EXTRA, benchmark, title
from keras_mma.robustness.wording import change, enumerate_words, percent

_SEVERITIES = corruptions.SEVERITIES
_HARMLESS = 0.02  # A corruption that adds at most this error at every severity is called harmless.
# Images of another size than the published ones differ by more than this factor.
_OTHER_SIZE = 1.25
_DRAWN_APART = (
    "with `limit` the published corrupted images are not those of the clean error, because the two sets are drawn from "
    "in different orders"
)


class Corruption(Section):
    """The error on corrupted images, of five severities each."""

    name = "corruption"
    sheet_file = "corruption-images.png"
    form = {
        "source": str,
        "label": str,
        "left_out": {str: str},
        "results": {
            str: {
                "group": str,
                "mean_error": forms.SHARE,
                "severities": [{"error": forms.SHARE, "ece": forms.SHARE, "correct?": str}] * len(_SEVERITIES),
            }
        },
        "group_mean_errors": {str: forms.SHARE},
        "mean_error": forms.SHARE,
        "relative_mean_error": forms.OPTIONAL_NUMBER,
        "baseline?": (dict, type(None)),
    }

    def parts(self, setting):
        names, label = _names(setting), _label(setting)
        if setting.published is None:
            registry.check_channels(setting.dataset.shape[-1])
        if setting.baseline is not None:
            relative.check_baseline(setting.baseline, names, label)
        if "frost" in names and setting.published is None:
            image, options = setting.first_batch[0][:1], setting.options
            corruptions.corrupt(image, "frost", 1, frost_textures=options.frost_textures)  # refuses bad textures

        def part(name, severity):
            def change(images, indices):
                options = setting.options
                return corruptions.corrupt(images, name, severity, options.seed, indices, options.frost_textures)

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
        mean = _mean(by_name[name]["mean_error"] for name in benchmark(by_name))
        drawn_apart = setting.published is not None and len(setting.indices) < len(setting.dataset)
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
            section["baseline"] = {"report": str(setting.options.baseline)} | relative.relative_to(
                report | {"corruption": section}, setting.baseline
            )
        return section, []

    def tabulate(self, report):
        section = report["corruption"]
        kind = _kind(section)
        if section["source"] == "regenerated":
            severities = escape(section["label"].removeprefix("regenerated, "))
            note = (
                f"The corruptions were **regenerated** from the test images, with the {severities} and seed "
                f"{report['run']['seed']}; these are not figures on a published corrupted test set."
            )
        else:
            note = f"Source: {sentence(section['label'])}."
        for name, reason in section["left_out"].items():
            note += f" Left out: {escape(name)}, because {sentence(reason)}."
        if section.get("relative_left_out"):
            note += f" No figure is relative to the clean error: {section['relative_left_out']}."
        blank = [""] * (len(_SEVERITIES) + 1)
        rows = [
            ["**mean error**", *blank, f"**{percent(section['mean_error'])}**"],
            ["mean error minus clean error", *blank, percent(section["relative_mean_error"])],
        ]
        for group, error in section["group_mean_errors"].items():
            rows.append([f"**{escape(group)}**", *blank, f"**{percent(error)}**"])
            for name, result in section["results"].items():
                if result["group"] == group:
                    errors = [percent(severity["error"]) for severity in result["severities"]]
                    calibration = _mean(severity["ece"] for severity in result["severities"])
                    rows.append([escape(title(name)), *errors, f"{calibration:.3f}", percent(result["mean_error"])])
        severities = [f"severity {severity}" for severity in _SEVERITIES]
        tables = [(note, [f"error{kind}", *severities, "calibration error", "mean"], rows)]
        return tables + ([relative.table(section["baseline"], kind)] if section.get("baseline") else [])

    def plot(self, report, figure):
        section = report["corruption"]
        results = section["results"].values()
        errors = [[100 * severity["error"] for severity in result["severities"]] for result in results]
        figure.set_size_inches(5.2, 0.34 * len(errors) + 1.4)
        axis = figure.subplots()
        picture = axis.imshow(errors, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(errors):
            color = "white" if value > 50 else "black"
            axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
        axis.set_yticks(range(len(errors)), [plotting.plain(title(name)) for name in section["results"]])
        axis.set_xticks(range(len(_SEVERITIES)), _SEVERITIES)
        groups = [result["group"] for result in results]
        for row in range(1, len(groups)):
            if groups[row] != groups[row - 1]:
                axis.axhline(row - 0.5, color="white", linewidth=2)
        axis.grid(False)
        axis.set(xlabel="severity")
        clean, mean = (100 * error for error in (report["clean"]["error"], section["mean_error"]))
        axis.set_title(f"error in %: clean {clean:.1f}, mean of the corruptions {mean:.1f}", fontsize=9)
        colorbar = figure.colorbar(picture, ax=axis, shrink=0.8)
        colorbar.ax.axhline(clean, color=plotting.SKY, linewidth=3)
        colorbar.ax.text(-0.25, clean, "clean", ha="right", va="center", fontsize=7)

    def headlines(self, report):
        section = report["corruption"]
        lines = [f"mean corruption error {percent(section['mean_error'])} ({section['label']})"]
        if section["baseline"] and section["baseline"]["mce"] is not None:
            lines.append(f"mCE {percent(section['baseline']['mce'])} relative to {section['baseline']['report']}")
        return lines

    def sentences(self, report):
        section, clean = report["corruption"], report["clean"]["error"]
        results = {name: section["results"][name] for name in benchmark(section["results"])}
        if not results:
            return []
        largest = {name: max(entry["error"] for entry in result["severities"]) for name, result in results.items()}
        order = sorted(results, key=lambda name: -results[name]["mean_error"])
        worst = [f"{escape(title(name))} (mean {percent(results[name]['mean_error'])})" for name in order[:3]]
        if section["relative_mean_error"] is None:
            sentences = [f"**On average, {percent(section['mean_error'])} of corrupted images are misclassified.**"]
        else:
            sentences = [f"**On average over the corruptions, the error {change(clean, section['mean_error'])}.**"]
        top = f"{percent(largest[order[0]])} in {escape(title(order[0]))}"
        sentences.append(f"It is largest in {enumerate_words(worst)}, up to {top}.")
        if section["relative_mean_error"] is None:
            return sentences
        harmless = [escape(title(name)) for name in reversed(order) if largest[name] - clean <= _HARMLESS]
        if harmless:
            names = enumerate_words(harmless)
            verb = "is" if len(harmless) == 1 else "are"
            sentences.append(
                f"{names[0].upper()}{names[1:]} {verb} harmless: at most {100 * _HARMLESS:.0f} points more errors "
                "at any severity."
            )
        else:
            sentences.append(
                f"No corruption is harmless. The mildest, {escape(title(order[-1]))}, adds "
                f"{100 * (largest[order[-1]] - clean):.1f} points at its worst severity."
            )
        return sentences

    def cautions(self, report):
        section, (height, width, _) = report["corruption"], report["dataset"]["image_shape"]
        published = registry.PUBLISHED_SETS[registry.published_set(height, width)]
        larger = max(height, width)
        factor = larger / published.side
        if section["source"] != "regenerated" or 1 / _OTHER_SIZE <= factor <= _OTHER_SIZE:
            return []
        return [
            f"The severities are those of {published.title}, whose images have {published.side} pixels a side. These "
            f"have {larger}, so a blur of the same number of pixels changes {'more' if factor < 1 else 'less'} of the "
            "picture. Compare the errors with those of other models on the same images, not with published ones, and "
            "look at the pictures of the corruptions."
        ]

    def sheet(self, setting, report):
        if setting.published is not None:
            return None
        results, options = report["corruption"]["results"], setting.options
        examples = sheets.example_indices(setting, report, 4)
        rows = []
        for number, (name, result) in enumerate(results.items()):
            row = [examples[number % len(examples)]]
            image = setting.dataset.read(np.array(row))
            cells = [(image[0], f"clean: {percent(report['clean']['error'])}")]
            for severity, measured in zip(_SEVERITIES, result["severities"], strict=True):
                changed = corruptions.corrupt(image, name, severity, options.seed, row, options.frost_textures)
                cells.append((changed[0], percent(measured["error"])))
            rows.append((title(name), cells))
        text = (
            "Some of the measured images as the model saw them. Below each: the error on all images of that severity."
        )
        return sheets.Sheet(text, ("clean", *(f"severity {severity}" for severity in _SEVERITIES)), rows)

    def compare(self, report):
        section = report["corruption"]
        means = {
            f"**corruption, mean error** ({escape(section['label'])})": section["mean_error"],
            f"corruption error minus clean error{_kind(section)}": section["relative_mean_error"],
        }
        groups = {escape(label): error for label, error in self.errors(report).items()}
        return {label: percent(error) for label, error in (means | groups).items()}

    def errors(self, report):
        section = report["corruption"]
        return {f"{group}{_kind(section)}": error for group, error in section["group_mean_errors"].items()}

    def measures(self, report):
        section = report["corruption"]
        return {f"corruptions, mean{_kind(section)}": section["mean_error"]} | self.errors(report)

    def outcomes(self, report):
        results, count = report["corruption"]["results"], report["dataset"]["n"]
        by_name = {name: errors_of_images(result["severities"], count) for name, result in results.items()}
        groups = {group: [] for group in report["corruption"]["group_mean_errors"]}
        for name, result in results.items():
            groups.setdefault(result["group"], []).append(by_name[name])
        means = [_mean_of_images([by_name[name] for name in benchmark(results)])]
        means += [_mean_of_images(groups[group]) for group in report["corruption"]["group_mean_errors"]]
        return dict(zip(self.measures(report), means, strict=True))

    def identity(self, report):
        return relative.identity(report["corruption"]["label"], benchmark(report["corruption"]["results"]))


def _names(setting):
    """The corruptions that are measured."""
    if setting.published is not None:
        return list(setting.published.names)
    with_extra = setting.options.extra_corruptions
    names = [name for name, entry in corruptions.CORRUPTIONS.items() if with_extra or entry.group != EXTRA]
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


def _kind(section):
    return " (regenerated)" if section["source"] == "regenerated" else ""


def _mean(values):
    return float(np.mean(list(values)))


def _mean_of_images(errors):
    """The mean of arrays, or `None` where one of them is `None` or there are none."""
    return None if not errors or any(values is None for values in errors) else np.mean(errors, axis=0)
