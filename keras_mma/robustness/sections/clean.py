"""The unchanged images."""

import numpy as np

from keras_mma import forms, markdown, plotting
from keras_mma.robustness import sheets
from keras_mma.robustness.metrics import Tally, binomial_interval, error_bars, errors_of_images
from keras_mma.robustness.run import Part, Section
from keras_mma.robustness.wording import complement, percent

#: Numbers of the pictures and of the classes that are shown, those with the largest errors.
WORST, CLASSES = 12, 20
# Length of the names of classes below pictures.
_LENGTH = 16
#: Largest difference of confidence and accuracy that is called calibrated.
_CALIBRATED = 0.02


class Clean(Section):
    """Error, likelihood and calibration on the unchanged images."""

    name = "clean"
    sheet_file = "clean-worst.png"
    form = {
        "error": forms.SHARE,
        "error_interval": [forms.SHARE, forms.SHARE],
        "nll": forms.NUMBER,
        "brier": forms.NUMBER,
        "ece": forms.SHARE,
        "correct?": str,
        "bins": {"count": [forms.NUMBER], "confidence": [forms.SHARE], "accuracy": [forms.SHARE]},
        "by_class?": {"count": [int], "errors": [int], "taken_for": [forms.OPTIONAL_INTEGER]},
        "worst?": [{"row": int, "label": int, "predicted": int, "confidence": forms.SHARE}],
    }

    def parts(self, setting):
        def measure(on_progress):
            tally, predicted, confidence = Tally(), [], []
            with setting.prefetched(setting.batches()) as batches:
                for indices, images, labels in batches:
                    probabilities, logs = setting.classifier.probabilities(images)
                    tally.add(probabilities, logs, labels)
                    predicted.append(probabilities.argmax(axis=1))
                    confidence.append(probabilities.max(axis=1))
                    on_progress(len(indices))
            labels, predicted = setting.dataset.labels[setting.indices], np.concatenate(predicted)
            return tally.summary(bins=True) | {
                "by_class": _by_class(labels, predicted, setting.dataset.classes),
                "worst": _worst(setting.indices, labels, predicted, np.concatenate(confidence)),
            }

        return [Part("clean", len(setting.indices), measure)]

    def summarize(self, setting, results, report):
        section, warnings = results["clean"], []
        chance = 1 / setting.classifier.description["classes"]
        if 1 - section["error"] <= 1.2 * chance:
            warnings.append(
                f"clean accuracy {complement(section['error'])} is near chance, {percent(chance)}: the model was given "
                f"pixels with preprocessing {setting.classifier.preprocess}; if it expects another range, use "
                "`preprocess`"
            )
        return section, warnings

    def sheet(self, setting, report):
        worst = report["clean"]["worst"]
        if not worst:
            return None
        images = [setting.dataset.read(np.array([entry["row"]]))[0] for entry in worst]
        names = [_short(name) for name in setting.dataset.class_names]
        captions = [
            f"{_name(names, entry['predicted'])} ({100 * entry['confidence']:.0f} %)\nis {_name(names, entry['label'])}"
            for entry in worst
        ]
        cells = list(zip(images, captions, strict=True))
        text = (
            f"The {len(cells)} errors with the largest confidence: what the model says, and the label. Some of them "
            "may be errors of the labels."
        )
        return sheets.Sheet(text, (), [("", cells[start : start + 6]) for start in range(0, len(cells), 6)])

    def tabulate(self, report):
        clean = report["clean"]
        rows = [
            ["error", percent(clean["error"], clean["error_interval"])],
            ["negative log-likelihood", f"{clean['nll']:.4f}"],
            ["Brier score", f"{clean['brier']:.4f}"],
            ["calibration error (15 bins)", f"{clean['ece']:.4f}"],
        ]
        return [("", ["measure", "value"], rows), *_table_of_classes(report)]

    def plot(self, report, figure):
        """The reliability diagram."""
        clean = report["clean"]
        bins = clean["bins"]
        count = len(bins["count"])
        filled = [i for i in range(count) if bins["count"][i]]
        centers = [(i + 0.5) / count for i in range(count)]
        accuracy, confidence = ([bins[key][i] for i in filled] for key in ("accuracy", "confidence"))
        numbers = [int(bins["count"][i]) for i in filled]
        right = [round(value * number) for value, number in zip(accuracy, numbers, strict=True)]
        intervals = [binomial_interval(*pair) for pair in zip(right, numbers, strict=True)]
        _, ends = error_bars(zip(accuracy, intervals, strict=True))
        figure.set_size_inches(4.2, 5.0)
        axis, histogram = figure.subplots(2, 1, height_ratios=(3, 1))
        axis.plot([0, 1], [0, 1], color=plotting.GRAY, linewidth=1, linestyle="--", label="calibrated")
        axis.bar(
            [centers[i] for i in filled], accuracy, 0.94 / count, color=plotting.BLUE, alpha=0.75, label="accuracy"
        )
        axis.errorbar(
            confidence,
            accuracy,
            yerr=ends / 100,
            fmt="o",
            color=plotting.BLACK,
            markersize=3,
            capsize=2,
            elinewidth=1,
            label="95 % interval",
        )
        title = f"clean error {percent(clean['error'])}, calibration error {clean['ece']:.4f}"
        axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
        figure.legend(loc="outside lower center", ncols=3, fontsize=7)
        histogram.bar(centers, bins["count"], 0.94 / count, color=plotting.GRAY)
        histogram.set(xlabel="confidence", ylabel="images", xlim=(0, 1))

    def headlines(self, report):
        clean = report["clean"]
        return [f"clean error {percent(clean['error'])}, calibration error {clean['ece']:.4f}"]

    def sentences(self, report):
        clean = report["clean"]
        sentences = [f"**{percent(clean['error'])} of the unchanged images are misclassified.** {_calibration(clean)}"]
        entries = [entry for entry in _classes(report) if entry["count"]]
        if len(entries) > 1 and clean["error"]:
            first, last = entries[0], entries[-1]
            sentences.append(
                f"The class with most errors is {markdown.escape(first['name'])} ({percent(first['error'])}), that "
                f"with fewest {markdown.escape(last['name'])} ({percent(last['error'])})."
            )
        return sentences

    def compare(self, report):
        clean = report["clean"]
        return {
            "error": percent(clean["error"], clean["error_interval"]),
            "negative log-likelihood": f"{clean['nll']:.4f}",
            "Brier score": f"{clean['brier']:.4f}",
            "calibration error": f"{clean['ece']:.4f}",
        }

    def errors(self, report):
        return {"clean": report["clean"]["error"]}

    def outcomes(self, report):
        return {"clean": errors_of_images([report["clean"]], report["dataset"]["n"])}


def _by_class(labels, predicted, classes):
    """Images and errors of every class, and the class that its errors are most often taken for."""
    count, errors, taken_for = [], [], []
    for label in range(classes):
        wrong = predicted[(labels == label) & (predicted != label)]
        count.append(int((labels == label).sum()))
        errors.append(len(wrong))
        taken_for.append(int(np.bincount(wrong).argmax()) if len(wrong) else None)
    return {"count": count, "errors": errors, "taken_for": taken_for}


def _worst(indices, labels, predicted, confidence):
    """The errors with the largest confidence."""
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "row": int(indices[i]),
            "label": int(labels[i]),
            "predicted": int(predicted[i]),
            "confidence": float(confidence[i]),
        }
        for i in order
    ]


def _classes(report):
    """The classes of a report with their errors, the largest error first; empty where the report has none."""
    by_class = report["clean"].get("by_class")
    if by_class is None:
        return []
    names = report["dataset"].get("class_names", [])
    entries = [
        {
            "name": _name(names, index),
            "count": count,
            "errors": errors,
            "error": errors / count if count else 0.0,
            "taken_for": None if other is None else _name(names, other),
        }
        for index, (count, errors, other) in enumerate(
            zip(by_class["count"], by_class["errors"], by_class["taken_for"], strict=False)
        )
    ]
    return sorted(entries, key=lambda entry: -entry["error"])


def _table_of_classes(report):
    entries = [entry for entry in _classes(report) if entry["count"]]
    if not entries:
        return []
    rows = [
        [
            markdown.escape(entry["name"]),
            entry["count"],
            percent(entry["error"], binomial_interval(entry["errors"], entry["count"])),
            "-" if entry["taken_for"] is None else markdown.escape(entry["taken_for"]),
        ]
        for entry in entries[:CLASSES]
    ]
    note = "Errors by class, the largest first."
    if len(entries) > CLASSES:
        note = f"Errors by class, the {CLASSES} largest of {len(entries)}."
    return [(note, ["class", "images", "error", "most often taken for"], rows)]


def _calibration(clean):
    """A sentence that compares the mean confidence with the accuracy."""
    weights = np.array(clean["bins"]["count"], "float64")
    confidence = float(np.average(clean["bins"]["confidence"], weights=weights)) if weights.any() else 0.0
    means = f"its mean confidence is {percent(confidence)} at an accuracy of {complement(clean['error'])}"
    gap = confidence - (1 - clean["error"])
    if abs(gap) <= _CALIBRATED:
        return f"On average, the confidence of the model equals its accuracy: {means}."
    return f"The model is {'overconfident' if gap > 0 else 'underconfident'}: {means}."


def _name(names, index):
    return str(names[index]) if index < len(names) else str(index)


def _short(name):
    name = " ".join(str(name).split())
    return plotting.plain(name if len(name) <= _LENGTH else name[: _LENGTH - 1] + "…")
