"""The unchanged images."""

from keras_mma import plotting
from keras_mma.robustness.metrics import percent
from keras_mma.robustness.run import Section

_NUMBER = (int, float)


class Clean(Section):
    """Error, likelihood and calibration on the unchanged images."""

    name = "clean"
    form = {
        "error": _NUMBER,
        "error_interval": [_NUMBER, _NUMBER],
        "nll": _NUMBER,
        "brier": _NUMBER,
        "ece": _NUMBER,
        "bins": {"count": [_NUMBER], "confidence": [_NUMBER], "accuracy": [_NUMBER]},
    }

    def parts(self, setting):
        return [setting.part("clean", bins=True)]

    def summarize(self, setting, results, report):
        section, warnings = results["clean"], []
        chance = 1 / setting.classifier.description["classes"]
        if 1 - section["error_interval"][1] <= 1.2 * chance:
            warnings.append(
                f"clean accuracy {1 - section['error']:.2%} is near chance, {chance:.2%}: the model was given pixels "
                f"with preprocessing {setting.classifier.preprocess}; if it expects another range, use `preprocess`"
            )
        return section, warnings

    def tabulate(self, report):
        clean = report["clean"]
        rows = [
            ["error", percent(clean["error"], clean["error_interval"])],
            ["negative log-likelihood", f"{clean['nll']:.4f}"],
            ["Brier score", f"{clean['brier']:.4f}"],
            ["calibration error (15 bins)", f"{clean['ece']:.4f}"],
        ]
        return [("", ["measure", "value"], rows)]

    def plot(self, report, figure):
        """The reliability diagram."""
        bins = report["clean"]["bins"]
        count = len(bins["count"])
        filled = [i for i in range(count) if bins["count"][i]]
        centers = [(i + 0.5) / count for i in range(count)]
        accuracy, confidence = ([bins[key][i] for i in filled] for key in ("accuracy", "confidence"))
        figure.set_size_inches(4.2, 4.8)
        axis, histogram = figure.subplots(2, 1, height_ratios=(3, 1))
        axis.plot([0, 1], [0, 1], color=plotting.GRAY, linewidth=1, linestyle="--", label="calibrated")
        axis.bar(
            [centers[i] for i in filled], accuracy, 0.94 / count, color=plotting.BLUE, alpha=0.75, label="accuracy"
        )
        axis.plot(confidence, accuracy, "o", color=plotting.BLACK, markersize=3)
        axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"calibration error {report['clean']['ece']:.3f}")
        axis.legend(fontsize=8, loc="upper left")
        histogram.bar(centers, bins["count"], 0.94 / count, color=plotting.GRAY)
        histogram.set(xlabel="confidence", ylabel="images", xlim=(0, 1))

    def headlines(self, report):
        clean = report["clean"]
        return [f"clean error {clean['error']:.2%}, calibration error {clean['ece']:.4f}"]

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
