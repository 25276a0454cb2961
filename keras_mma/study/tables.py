"""The tables and sentences of a study's report."""

import math

from keras_mma import markdown
from keras_mma.markdown import code, escape
from keras_mma.study import statistics, study_plan


def results(setting, plan):
    """Head and rows of the main table: accuracies, differences and verdicts."""
    comparisons = {comparison["method"]: comparison for comparison in setting["comparisons"]}
    rows = []
    for arm in setting["arms"]:
        row = [code(arm["method"]), spread(arm)]
        if arm["method"] == plan["baseline"]:
            row += ["baseline", ""]
        else:
            comparison = comparisons[arm["method"]]
            row += [difference(comparison), verdict(comparison, plan["margin"])]
        rows.append([*row, "-" if arm["cost"] is None else f"{arm['cost']:.2f}"])
    heading = f"difference from {code(plan['baseline'])} in points"
    return ["method", "accuracy in %", heading, "verdict", "time per epoch"], rows


def spread(arm):
    """Mean and standard deviation."""
    if arm["mean"] is None:
        return "-"
    return f"{arm['mean']:.2f}" + ("" if arm["sd"] is None else f" ± {arm['sd']:.2f}")


def difference(comparison):
    """A difference with its interval."""
    if comparison["mean"] is None:
        return "-"
    text = _signed(comparison["mean"])
    return text if comparison["low"] is None else f"{text} {_interval(comparison['low'], comparison['high'])}"


def verdict(comparison, margin):
    """A verdict in words."""
    if comparison["mean"] is None:
        return "unfinished"
    text = comparison["verdict"].replace("the margin", f"{margin:g}")
    if comparison["verdict"] != statistics.CANNOT_BE_TOLD:
        return text
    for name, words in (("p", "p"), ("p_equivalence", "p of a larger difference")):
        alone, corrected = comparison[name], comparison[f"{name}_adjusted"]
        if alone <= statistics.ALPHA < corrected:
            text += f" ({words} {_p_value(alone)} alone, {_p_value(corrected)} corrected)"
    needed = comparison.get("seeds_needed")
    return text if needed is None else f"{text}; about {needed:,} seeds in a new study would settle it"


def legend(report):
    """How to read the main table."""
    plan, analysis = report["plan"], report["analysis"]
    images = next((setting["images"] for setting in analysis["settings"] if setting["images"]), None)
    count = f"{images:,} " if images else ""
    corrected = (
        f" Verdicts are corrected for {analysis['comparisons']} comparisons (Holm)."
        if analysis["comparisons"] > 1
        else ""
    )
    level = f"{100 * analysis['level']:.2f}".rstrip("0").rstrip(".")
    seeds = plan["seeds"] if analysis["complete"] else f"the finished ones of {plan['seeds']}"
    margin = f"{plan['margin']:g}"
    return (
        f"Accuracies are means ± standard deviations over {seeds} seeds, on {count}images of the "
        f"{plan['part']} part, after the last epoch. Brackets hold {level} % t intervals of the differences, paired by "
        "seed: for one seed, all methods have the same training images, initial weights and order of batches."
        f"{corrected} Times are relative to {code(plan['baseline'])}. *Better* and *worse*: the difference is not 0. "
        f"*No difference larger than {margin}*: the whole interval lies between −{margin} and +{margin}, the margin. "
        "*Cannot be told*: neither; with about the number of seeds that is given, a new study of this spread would "
        "have a verdict, whatever the difference."
    )


def precision(report):
    """The differences that the study could have shown."""
    plan, analysis = report["plan"], report["analysis"]
    lines = []
    for setting in analysis["settings"]:
        where = f"{escape(setting['title'])}: " if setting["title"] else ""
        if setting["detectable"] is not None:
            evidence = [comparison.get("evidence", comparison) for comparison in setting["comparisons"]]
            seeds = min(pairs["n"] for pairs in evidence if pairs["sd"] is not None)
            lines.append(
                f"{where}With {seeds} seeds and this spread, a true difference of {setting['detectable']:.2f} points "
                "would be detected in four of five studies. Smaller differences will usually be inconclusive."
            )
        if setting["noise"] is not None:
            noise = setting["noise"]
            lines.append(
                f"{where}Two training runs of one method differ in whether they are right on "
                f"{noise['disagreement']:.1%} of the {setting['images']:,} images. This alone gives the accuracy of "
                f"one run a standard deviation of {noise['floor']:.2f} points. More images and more seeds average "
                "it out."
            )
        if setting["two_way"] is not None:
            analysis_of_variance = setting["two_way"]
            lines.append(
                f"{where}The seeds explain {analysis_of_variance['correlation']:.0%} of the variance within a method, "
                "which is the part that pairing removes."
            )
    if lines:
        lines.append(
            "Intervals and verdicts are about training runs with other seeds, measured on these images. Other images "
            "of the same kind would give other differences."
        )
    else:
        lines.append("Nothing yet: an interval needs two seeds of a method and of the baseline.")
    tuned = report["tuned"]
    if plan["tuning"] is None:
        lines.append(
            "Learning rate and weight decay were not tuned: all methods have those of the recipe. On small data a "
            "tuned baseline can beat special methods; `--tune` tunes all of them."
        )
    elif tuned:
        lines.append(
            "Learning rate and weight decay were tuned for each method on the validation part; see the plan. They are "
            "the same for all seeds, so the intervals do not include the chance in their choice."
        )
    return "\n".join(f"- {line}" for line in lines)


def details(report):
    """P(A > B), correlations, and intervals by the pooled error."""
    plan, blocks = report["plan"], []
    for setting in report["analysis"]["settings"]:
        rows = []
        for comparison in setting["comparisons"]:
            if comparison["mean"] is None:
                continue
            probability, pooled = comparison["probability_better"], comparison["pooled"]
            row = [
                code(comparison["method"]),
                "-" if comparison["sd"] is None else f"{comparison['sd']:.2f}",
                _p_value(comparison["p_adjusted"]),
                f"{probability['share']:.2f} {_interval(probability['low'], probability['high'])}",
                "-" if comparison["correlation"] is None else f"{comparison['correlation']:.2f}".replace("-", "−"),
                "-" if pooled is None else difference(pooled),
            ]
            if "without_diverged" in comparison:
                row[0] += f" (without what diverged: {difference(comparison['without_diverged'])})"
            rows.append(row)
        if rows:
            blocks += [f"{escape(setting['title'])}:"] if setting["title"] else []
            head = ["method", "sd of the differences", "corrected p", f"P(better than {code(plan['baseline'])})"]
            blocks.append(markdown.table([*head, "correlation", "with pooled error"], rows))
    if not blocks:
        return "Nothing yet."
    blocks.append(
        "P(better) is the probability that a run with a seed of its own beats the baseline with that seed, with "
        "its exact interval. The correlation is that of method and baseline over the seeds. The pooled error is that "
        "of a two-way analysis of seeds and methods; a dash stands where the variances of the methods differ "
        "(Brown-Forsythe test, p < 0.05), a run diverged, or there are fewer than three methods."
        + _rounding(plan["images"]["n"])
    )
    return "\n\n".join(blocks)


def _rounding(images):
    """A sentence about the least standard deviation, where there are so few images that it can matter."""
    if images > 1000:
        return ""
    least = 100 / images / math.sqrt(6)
    return (
        f" With {images:,} images, accuracies have steps of {100 / images:.2f} points, and this rounding alone gives "
        f"differences a standard deviation of {least:.2f}: a smaller one counts as that."
    )


def robustness(report):
    """Paired differences of what the robustness module measures, one row for each measure."""
    measured, baseline = report["robustness"], report["plan"]["baseline"]
    others = [name for name in report["plan"]["arms"] if name != baseline]
    blocks = [
        f"Accuracies on {measured['images']:,} images of the {report['plan']['part']} part, measured with the exported "
        f"models. The first column is {code(baseline)}, the others are the differences from it, paired by seed, with "
        "their own spread. Bold: the difference is not 0, corrected for the comparisons of its row. It is not "
        "corrected for the number of rows."
    ]
    for setting in measured["settings"]:
        blocks += [f"### {escape(setting['title'])}"] if setting["title"] else []
        rows = []
        for measure in setting["measures"]:
            shown = (statistics.BETTER, statistics.WORSE)
            texts = {
                comparison["method"]: f"**{difference(comparison)}**"
                if comparison.get("verdict") in shown
                else difference(comparison)
                for comparison in measure["comparisons"]
            }
            rows.append([escape(measure["measure"]), spread(measure["baseline"]), *(texts[name] for name in others)])
        blocks.append(markdown.table(["", code(baseline), *map(code, others)], rows))
    return "\n\n".join(blocks)


def cells(report):
    """One row for each training run."""
    quoted = report["plan"]
    several = [name for name in study_plan.DIMENSIONS if len(quoted["dimensions"][name]) > 1]
    rows = []
    for cell in report["cells"]:
        diverged = cell.get("diverged")
        accuracy = f"{cell['accuracy']:.2f}" + (f" (diverged in epoch {diverged})" if diverged is not None else "")
        seconds = "-" if not cell.get("seconds") else f"{cell['seconds']:.0f}"
        rows.append(
            [
                code(cell["method"]),
                cell["seed"],
                *(escape(cell["setting"][name]) for name in several),
                accuracy,
                seconds,
            ]
        )
    return markdown.table(["method", "seed", *several, "accuracy in %", "seconds"], rows) if rows else "None yet."


def _p_value(p):
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")


def _interval(low, high):
    return f"[{low:.2f}, {high:.2f}]".replace("-", "−")
