"""Images with dropped patches."""

from keras_mma import plotting
from keras_mma.errors import InputError
from keras_mma.robustness.metrics import Tally, percent
from keras_mma.robustness.perturbations.occlusion import GRID, ORDERS, SHARES, occlude
from keras_mma.robustness.run import Part, Section

_NUMBER = (int, float)
_LABELS = {
    "random": ("random", "#555555"),
    "salient_first": ("salient first", plotting.RED),
    "nonsalient_first": ("non-salient first", plotting.BLUE),
}


class Occlusion(Section):
    """Accuracy over the share of patches that are dropped, in three orders."""

    name = "occlusion"
    form = {
        "detector": str,
        "shares": [_NUMBER] * len(SHARES),
        "accuracy": {order: [_NUMBER] * len(SHARES) for order in ORDERS},
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

            return Part(f"occlusion/{order}", len(setting.rows), measure)

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
        curves = [[1 - report["clean"]["error"], *section["accuracy"][order]] for order in ORDERS]
        rows = [list(map(percent, row)) for row in zip([0, *section["shares"]], *curves, strict=True)]
        note = (
            f"Accuracy with patches of a grid of {GRID} × {GRID} painted black, ordered by `{section['detector']}` "
            "saliency."
        )
        return [(note, ["dropped", *(label for label, _ in _LABELS.values())], rows)]

    def plot(self, report, figure):
        section = report["occlusion"]
        figure.set_size_inches(5.2, 3.4)
        axis = figure.subplots()
        shares = [0, *(100 * share for share in section["shares"])]
        for order, (label, color) in _LABELS.items():
            values = [1 - report["clean"]["error"], *section["accuracy"][order]]
            axis.plot(shares, [100 * value for value in values], marker=".", color=color, label=label)
        chance = 100 / report["model"]["classes"]
        axis.axhline(chance, color=plotting.GRAY, linewidth=1, linestyle=":", label="chance")
        axis.set(xlabel="patches dropped in %", ylabel="accuracy in %", xlim=(0, 100), ylim=(0, 100))
        axis.legend(fontsize=8)

    def compare(self, report):
        section = report["occlusion"]
        means = {order: sum(values) / len(values) for order, values in section["accuracy"].items()}
        return {
            f"occlusion {label} ({section['detector']}), mean accuracy": percent(means[order])
            for order, (label, _) in _LABELS.items()
        }


def _measure(setting, detector, order, on_progress):
    tallies = [Tally() for _ in SHARES]
    for rows, images, labels in setting.batches():
        maps = None if detector is None else _maps(detector, images)
        for share, tally in zip(SHARES, tallies, strict=True):
            occluded = occlude(images, order, share, maps, setting.options.seed, rows)
            tally.add(*setting.classifier.probabilities(occluded), labels)
        on_progress(len(rows))
    return [tally.summary() for tally in tallies]


def _maps(detector, images):
    from keras import ops

    return ops.convert_to_numpy(detector(ops.convert_to_tensor(images)))
