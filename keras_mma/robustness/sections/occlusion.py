"""Images with dropped patches."""

import numpy as np

from keras_mma import forms, plotting
from keras_mma.errors import InputError
from keras_mma.markdown import code, escape
from keras_mma.robustness import sheets
from keras_mma.robustness.metrics import Tally, errors_of_images
from keras_mma.robustness.perturbations.occlusion import GRID, ORDERS, SHARES, occlude, paint, rank_patches
from keras_mma.robustness.run import Part, Section
from keras_mma.robustness.wording import complement, enumerate_words, percent

_LABELS = {
    "random": ("random", "#555555"),
    "salient_first": ("salient first", plotting.RED),
    "nonsalient_first": ("non-salient first", plotting.BLUE),
}

_WORDS = {
    "random": "drawn at random",
    "salient_first": "the most salient",
    "nonsalient_first": "the least salient",
}


class Occlusion(Section):
    """Accuracy over the share of patches that are dropped, in three orders."""

    name = "occlusion"
    sheet_file = "occlusion-images.png"
    form = {
        "detector": str,
        "shares": [forms.SHARE] * len(SHARES),
        "accuracy": {order: [forms.SHARE] * len(SHARES) for order in ORDERS},
        "results?": {order: [{"correct?": str}] * len(SHARES) for order in ORDERS},
    }

    def parts(self, setting):
        from keras_mma import saliency

        try:
            detector = saliency.get(setting.options.detector)
        except ValueError as error:
            raise InputError(str(error)) from error
        height, width = setting.dataset.shape[:2]
        if min(height, width) < GRID:
            raise InputError(
                f"occlusion needs images of at least {GRID} x {GRID} pixels: name the other sections with `only`. "
                f"Received: {height} x {width}"
            )

        def part(order):
            def measure(on_progress):
                return {"results": _measure(setting, None if order == "random" else detector, order, on_progress)}

            return Part(f"occlusion/{order}", len(setting.indices), measure)

        return [part(order) for order in ORDERS]

    def summarize(self, setting, results, report):
        measured = {order: results[f"occlusion/{order}"]["results"] for order in ORDERS}
        section = {
            "grid": GRID,
            "detector": setting.options.detector,
            "shares": list(SHARES),
            "accuracy": {order: [1 - result["error"] for result in measured[order]] for order in ORDERS},
            "results": measured,
        }
        return section, []

    def tabulate(self, report):
        section = report["occlusion"]
        clean = complement(report["clean"]["error"])
        curves = [[clean, *map(percent, section["accuracy"][order])] for order in ORDERS]
        rows = list(zip(map(percent, [0, *section["shares"]]), *curves, strict=True))
        note = (
            f"Accuracy with patches of a grid of {GRID} × {GRID} painted black, ordered by {code(section['detector'])} "
            "saliency."
        )
        return [(note, ["dropped", *(label for label, _ in _LABELS.values())], rows)]

    def plot(self, report, figure):
        section = report["occlusion"]
        figure.set_size_inches(6.6, 3.4)
        axis = figure.subplots()
        shares = [0, *(100 * share for share in section["shares"])]
        for order, (label, color) in _LABELS.items():
            values = [1 - report["clean"]["error"], *section["accuracy"][order]]
            axis.plot(shares, [100 * value for value in values], marker=".", color=color, label=label)
        clean = 100 * (1 - report["clean"]["error"])
        label = f"clean accuracy {complement(report['clean']['error'])}"
        axis.axhline(clean, color=plotting.BLACK, linewidth=1, linestyle="--", label=label)
        chance = 100 / report["model"]["classes"]
        axis.axhline(chance, color=plotting.GRAY, linewidth=1, linestyle=":", label="chance")
        axis.set(xlabel="patches dropped in %", ylabel="accuracy in %", xlim=(0, 100), ylim=(0, 100))
        figure.legend(loc="outside right upper")

    def sentences(self, report):
        section = report["occlusion"]
        half = min(range(len(SHARES)), key=lambda number: abs(section["shares"][number] - 0.5))
        values = [f"{percent(section['accuracy'][order][half])} where they are {_WORDS[order]}" for order in ORDERS]
        return [
            f"**With {percent(section['shares'][half])} of the patches black, accuracy goes from "
            f"{complement(report['clean']['error'])}** to {enumerate_words(values)}."
        ]

    def sheet(self, setting, report):
        from keras_mma import saliency

        (row,) = sheets.example_indices(setting, report, 1)
        image = setting.dataset.read(np.array([row]))
        maps, section, rows = _maps(saliency.get(setting.options.detector), image), report["occlusion"], []
        for order, (label, _) in _LABELS.items():
            cells = [(image[0], complement(report["clean"]["error"]))]
            for share, accuracy in zip(SHARES, section["accuracy"][order], strict=True):
                occluded = occlude(image, order, share, maps, setting.options.seed, [row])
                cells.append((occluded[0], percent(accuracy)))
            rows.append((label, cells))
        columns = tuple(f"{100 * share:g} %" for share in (0, *SHARES))
        return sheets.Sheet("One of the measured images as the model saw it, and the accuracy on all.", columns, rows)

    def compare(self, report):
        section = report["occlusion"]
        means = {order: sum(values) / len(values) for order, values in section["accuracy"].items()}
        return {
            f"occlusion {label} ({escape(section['detector'])}), mean accuracy": percent(means[order])
            for order, (label, _) in _LABELS.items()
        }

    def measures(self, report):
        accuracy = report["occlusion"]["accuracy"]
        return {_label(report, order): 1 - sum(accuracy[order]) / len(accuracy[order]) for order in ORDERS}

    def outcomes(self, report):
        results, count = report["occlusion"].get("results"), report["dataset"]["n"]
        return {
            _label(report, order): None if results is None else errors_of_images(results[order], count)
            for order in ORDERS
        }


def _label(report, order):
    return f"occlusion {_LABELS[order][0]} ({report['occlusion']['detector']}), mean"


def _measure(setting, detector, order, on_progress):
    def occluded():
        for indices, images, labels in setting.batches():
            maps = None if detector is None else _maps(detector, images)
            ranks = rank_patches(order, maps, setting.options.seed, indices)
            for number, share in enumerate(SHARES):
                yield number, paint(images, ranks, share), labels

    tallies = [Tally() for _ in SHARES]
    with setting.prefetched(occluded()) as batches:
        for number, images, labels in batches:
            tallies[number].add(*setting.classifier.probabilities(images), labels)
            on_progress(len(labels) * (number == len(SHARES) - 1))
    return [tally.summary() for tally in tallies]


def _maps(detector, images):
    from keras import ops

    return ops.convert_to_numpy(detector(ops.convert_to_tensor(images)))
