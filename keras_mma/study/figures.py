"""The figures of a study's report, as PNG files."""

from keras_mma import plotting
from keras_mma.study import statistics

VERDICT_COLORS = {
    statistics.BETTER: plotting.BLUE,
    statistics.WORSE: plotting.RED,
    statistics.NO_DIFFERENCE: plotting.BLACK,
    statistics.CANNOT_BE_TOLD: plotting.GRAY,
    "unfinished": "#BBBBBB",
}


def draw(analysis, cells, plan):
    """All figures.

    Args:
        analysis: What `keras_mma.study.analysis.analyze` returned.
        cells: List of records with `method`, `seed`, `setting` and `accuracy`, which is in %.
        plan: The plan of the study.

    Returns:
        Dict from file name to the content of a PNG file.
    """
    drawn = {}
    with plotting.style():
        if cells:
            drawn["seeds.png"] = seeds(analysis, cells, plan)
        if any(comparison["mean"] is not None for comparison in _comparisons(analysis)):
            drawn["differences.png"] = forest(analysis, plan)
            if any(arm["cost"] for setting in analysis["settings"] for arm in setting["arms"]):
                drawn["cost.png"] = cost(analysis, plan)
    return drawn


def seeds(analysis, cells, plan):
    """Every cell as a dot, the cells of a seed joined by a line, and the mean of each arm with its interval."""
    names = list(plan["arms"])
    settings = analysis["settings"]
    # As wide as the page at most, where it would be shrunk.
    width = min(max(5.0, 1.6 + 1.05 * len(names)), 11.0)
    figure, axes = _figure(width, 3.6 * len(settings), len(settings))
    for axis, setting in zip(axes, settings, strict=True):
        of_setting = [cell for cell in cells if cell["setting"] == setting["setting"]]
        for seed in sorted({cell["seed"] for cell in of_setting}):
            by_method = {cell["method"]: cell for cell in of_setting if cell["seed"] == seed}
            places = [(place, by_method[name]) for place, name in enumerate(names) if name in by_method]
            x, y = [place for place, _ in places], [cell["accuracy"] for _, cell in places]
            axis.plot(x, y, color="#999999", linewidth=0.8, alpha=0.7, zorder=2)
            for place, cell in places:
                diverged = cell.get("diverged") is not None
                axis.plot(place, cell["accuracy"], "x" if diverged else "o", color="#444444", markersize=5, zorder=3)
        for place, arm in enumerate(setting["arms"]):
            if arm["mean"] is None:
                continue
            low = arm["mean"] if arm["low"] is None else arm["low"]
            color = plotting.RED if arm["method"] == plan["baseline"] else plotting.BLUE
            half = arm["mean"] - low
            axis.errorbar(place + 0.2, arm["mean"], half, fmt="D", color=color, markersize=6, capsize=4, zorder=4)
        axis.set_xticks(range(len(names)), map(plotting.plain, names), **_rotation(names, width))
        axis.set(xlim=(-0.5, len(names) - 0.3), ylabel="accuracy in %", title=plotting.plain(setting["title"]))
    return _png(figure)


def forest(analysis, plan):
    """The differences from the baseline with their intervals, the margin shaded."""
    rows = [
        (setting, comparison)
        for setting in analysis["settings"]
        for comparison in setting["comparisons"]
        if comparison["mean"] is not None
    ]
    titles = len({setting["title"] for setting, _ in rows}) if len(analysis["settings"]) > 1 else 0
    figure, (axis,) = _figure(8.0, 1.5 + 0.42 * (len(rows) + titles))
    margin, place, title, labels = plan["margin"], 0, None, []
    axis.axvspan(-margin, margin, color="#EEEEEE", zorder=0)
    axis.axvline(0, color="#444444", linewidth=1)
    for setting, comparison in rows:
        if titles and setting["title"] != title:
            title = setting["title"]
            labels.append((place, plotting.plain(title), "bold"))
            place += 1
        color = VERDICT_COLORS[comparison["verdict"]]
        half = 0 if comparison["low"] is None else comparison["mean"] - comparison["low"]
        axis.errorbar(comparison["mean"], place, xerr=half, fmt="o", color=color, capsize=3, zorder=3)
        axis.annotate(
            comparison["verdict"].replace("the margin", f"{margin:g}"),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=color if comparison["verdict"] != "unfinished" else plotting.GRAY,
        )
        labels.append((place, plotting.plain(comparison["method"]), "normal"))
        place += 1
    axis.set_yticks([place for place, _, _ in labels], [label for _, label, _ in labels])
    for tick, (_, _, weight) in zip(axis.get_yticklabels(), labels, strict=True):
        tick.set_fontweight(weight)
    baseline = plotting.plain(plan["baseline"])
    axis.set(
        ylim=(place - 0.5, -0.5),
        xlabel=f"difference from {baseline} in percentage points; the margin of {margin:g} is shaded",
    )
    axis.grid(False, axis="y")
    return _png(figure)


def cost(analysis, plan):
    """The gain of each arm beside what an epoch of it costs."""
    settings, baseline = analysis["settings"], plotting.plain(plan["baseline"])
    figure, axes = _figure(7.0, 3.6 * len(settings), len(settings))
    for axis, setting in zip(axes, settings, strict=True):
        costs = {arm["method"]: arm["cost"] for arm in setting["arms"]}
        axis.axhspan(-plan["margin"], plan["margin"], color="#EEEEEE", zorder=0)
        axis.plot(1, 0, "D", color="#444444", label=f"{baseline} (baseline)")
        for index, comparison in enumerate(setting["comparisons"]):
            if comparison["mean"] is None or not costs[comparison["method"]]:
                continue
            half = 0 if comparison["low"] is None else comparison["mean"] - comparison["low"]
            axis.errorbar(
                costs[comparison["method"]],
                comparison["mean"],
                half,
                fmt=plotting.MARKERS[index // len(plotting.COLORS) % len(plotting.MARKERS)],
                color=plotting.COLORS[index % len(plotting.COLORS)],
                capsize=3,
                label=plotting.plain(comparison["method"]),
            )
        axis.axhline(0, color="#444444", linewidth=1)
        axis.set(
            xlabel=f"time of an epoch, {baseline} = 1",
            ylabel=f"difference from {baseline}\nin percentage points",
            title=plotting.plain(setting["title"]),
        )
        axis.margins(x=0.12)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _png(figure)


def _comparisons(analysis):
    return [comparison for setting in analysis["settings"] for comparison in setting["comparisons"]]


def _rotation(names, width):
    """Rotate labels that would overlap on an axis of so many inches."""
    longest = max(0.085 * len(name) for name in names)
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if longest * len(names) > width - 1 else {}


def _figure(width, height, rows=1):
    figure = plotting.new_figure(width, height)
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    return figure, axes


def _png(figure):
    return plotting.png(figure, dpi=140, bbox_inches="tight")
