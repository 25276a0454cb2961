"""One plot for each section of a report, and one over several reports. Needs matplotlib."""

import io

from keras_mma.robustness import attacks, deformations
from keras_mma.robustness.severities import GROUPS, SEVERITIES

SECTIONS = ("corruption", "deformation", "occlusion", "attack")
_ORDERS = {
    "random": ("at random", "#555555"),
    "salient_first": ("salient first", "#c0392b"),
    "nonsalient_first": ("non-salient first", "#2471a3"),
}


def draw(report):
    """All plots of a report.

    Args:
        report: What `evaluate` returns.

    Returns:
        A dict from file names to PNG bytes.
    """
    pictures = {"reliability.png": _reliability(report["clean"])}
    makers = {"corruption": _corruption, "deformation": _deformation, "occlusion": _occlusion, "attack": _attack}
    for section, maker in makers.items():
        if section in report and not (section == "attack" and report["attack"]["left_out"]):
            pictures[f"{section}.png"] = maker(report)
    return pictures


def compare(reports, names):
    """One plot over several reports: clean error, groups of corruptions, deformations and attacks side by side.

    Args:
        reports: Reports on the same images.
        names: What to call them.

    Returns:
        PNG bytes. A dash stands where a report lacks what others have.
    """
    return _png(_comparison(reports, names))


def _comparison(reports, names):
    bars = [_error_bars(report) for report in reports]
    labels = [label for label in dict.fromkeys(label for one in bars for label in one)]
    figure, axis = _figure(max(6.0, 0.28 * len(labels) * len(reports) + 1.5), 4 + 0.2 * len(reports))
    width = 0.8 / len(reports)
    for number, (one, name) in enumerate(zip(bars, names, strict=True)):
        places = {label: i + (number - (len(reports) - 1) / 2) * width for i, label in enumerate(labels)}
        found = [label for label in labels if label in one]
        drawn = axis.bar([places[label] for label in found], [100 * one[label] for label in found], width, label=name)
        for label in labels:
            if label not in one:
                axis.text(
                    places[label], 0.5, "–", ha="center", va="bottom", weight="bold", color=drawn[0].get_facecolor()
                )
    axis.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axis.set(ylabel="error in %", ylim=(0, 100))
    figure.legend(fontsize=8, loc="outside upper left")  # a legend inside could cover a bar
    return figure


def _error_bars(report):
    bars = {"clean": report["clean"]["error"]}
    corruption = report.get("corruption", {"group_mean_errors": {}})
    kind = " (regenerated)" if corruption.get("source") == "regenerated" else ""
    bars |= {f"{group}{kind}": error for group, error in corruption["group_mean_errors"].items()}
    bars |= {deformations.title(name): one["error"] for name, one in report.get("deformation", {}).items()}
    for one in report.get("attack", {}).get("results", []):
        bars[f"{attacks.TITLES[one['attack']]} {one['epsilon_255']}/255"] = 1 - one["robust_accuracy"]
    return bars


def _reliability(clean):
    bins = clean["bins"]
    count = len(bins["count"])
    figure, (axis, histogram) = _figure(4.2, 4.8, rows=2, heights=(3, 1))
    filled = [i for i in range(count) if bins["count"][i]]
    axis.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="calibrated")
    axis.bar(
        [(i + 0.5) / count for i in filled],
        [bins["accuracy"][i] for i in filled],
        0.94 / count,
        color="#2471a3",
        alpha=0.75,
        label="accuracy",
    )
    axis.plot(
        [bins["confidence"][i] for i in filled],
        [bins["accuracy"][i] for i in filled],
        "o",
        color="#1b2631",
        markersize=3,
    )
    axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"calibration error {clean['ece']:.3f}")
    axis.legend(fontsize=8, loc="upper left")
    histogram.bar([(i + 0.5) / count for i in range(count)], bins["count"], 0.94 / count, color="#888888")
    histogram.set(xlabel="confidence", ylabel="images", xlim=(0, 1))
    return _png(figure)


def _corruption(report):
    section = report["corruption"]
    names = [name for name in section["results"]]
    errors = [[100 * one["error"] for one in section["results"][name]["severities"]] for name in names]
    figure, axis = _figure(5.2, 0.34 * len(names) + 1.4)
    picture = axis.imshow(errors, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
    for row, values in enumerate(errors):
        for column, value in enumerate(values):
            axis.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if value > 50 else "black",
            )
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.set_xticks(range(len(SEVERITIES)), SEVERITIES)
    place = 0
    for group in list(GROUPS.values())[:-1]:
        place += sum(name in section["results"] for name in group)
        axis.axhline(place - 0.5, color="white", linewidth=2)
    axis.grid(False)
    axis.set(xlabel="severity")
    axis.set_title(f"error in % ({section['label']}), mean {100 * section['mean_error']:.1f}", fontsize=9)
    figure.colorbar(picture, ax=axis, shrink=0.8)
    return _png(figure)


def _deformation(report):
    section = report["deformation"]
    figure, axis = _figure(5.2, 3.2)
    errors = [100 * one["error"] for one in section.values()]
    ends = [
        [100 * (one["error"] - one["error_interval"][0]) for one in section.values()],
        [100 * (one["error_interval"][1] - one["error"]) for one in section.values()],
    ]
    labels = [deformations.title(name) for name in section]
    axis.bar(range(len(labels)), errors, yerr=ends, color="#2471a3", capsize=3, error_kw={"elinewidth": 1})
    axis.axhline(100 * report["clean"]["error"], color="#c0392b", linewidth=1, linestyle="--", label="clean")
    axis.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axis.set(ylabel="error in %", ylim=(0, 100))
    axis.legend(fontsize=8)
    return _png(figure)


def _occlusion(report):
    section = report["occlusion"]
    figure, axis = _figure(5.2, 3.4)
    shares = [0, *(100 * share for share in section["shares"])]
    for order, (label, color) in _ORDERS.items():
        values = [1 - report["clean"]["error"], *section["accuracy"][order]]
        axis.plot(shares, [100 * value for value in values], marker=".", color=color, label=label)
    chance = 100 / report["model"]["classes"]
    axis.axhline(chance, color="#888888", linewidth=1, linestyle=":", label="chance")
    axis.set(xlabel="patches dropped in %", ylabel="accuracy in %", xlim=(0, 100), ylim=(0, 100))
    axis.legend(fontsize=8)
    return _png(figure)


def _attack(report):
    figure, axis = _figure(5.2, 3.4)
    for (name, label), color in zip(attacks.TITLES.items(), ("#2471a3", "#c0392b"), strict=True):
        found = [one for one in report["attack"]["results"] if one["attack"] == name]
        values = [100 * one["robust_accuracy"] for one in found]
        ends = [
            [value - 100 * one["robust_accuracy_interval"][0] for value, one in zip(values, found, strict=True)],
            [100 * one["robust_accuracy_interval"][1] - value for value, one in zip(values, found, strict=True)],
        ]
        epsilons = [one["epsilon_255"] for one in found]
        axis.errorbar(epsilons, values, yerr=ends, marker="o", markersize=4, capsize=3, color=color, label=label)
    axis.axhline(100 * (1 - report["clean"]["error"]), color="#888888", linewidth=1, linestyle="--", label="clean")
    axis.set(xlabel="epsilon in 1/255", ylabel="robust accuracy in %", xlim=(0, 9), ylim=(-2, 102))
    axis.legend(fontsize=8)
    return _png(figure)


def _figure(width, height, rows=1, heights=None):
    from matplotlib.figure import Figure  # no global state, no window

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, height_ratios=heights)
    for axis in axes if rows > 1 else [axes]:
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure, axes


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
