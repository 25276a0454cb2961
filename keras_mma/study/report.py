"""The report of a study: `report.md`, `report.html` and `report.json`."""

import math
from pathlib import Path

from keras_mma import files, markdown
from keras_mma.study import evaluation, figures, latex, provenance, quoted_plan, study_cells, study_plan, tables, tuning
from keras_mma.study.analysis import analyze

SCHEMA = "keras_mma.study.report/1"
#: Alternative texts of the figures.
_TEXTS = {
    "seeds.png": "Every training run is a dot. A line joins the runs of one seed. Diamonds are means with their "
    "intervals. A cross is a training run that diverged.",
    "differences.png": "Differences from the baseline, paired by seed, with their intervals.",
    "cost.png": "Difference from the baseline beside the time of an epoch.",
}


def save(folder, plan, records, tuned=None):
    """Write the report of a study into its folder.

    Args:
        folder: The folder of the study, with what was measured of the robustness of its models.
        plan: Its plan.
        records: Dict from the names of cells to their records.
        tuned: What `keras_mma.study.tuning.choose` returned, or `None`.

    Returns:
        The content of `report.json`, a dict.
    """
    folder = Path(folder)
    report = make(plan, records, _robustness(folder, plan, records), tuned)
    pictures = figures.draw(report["analysis"], report["cells"], plan)
    text = to_markdown(report, list(pictures))
    page = markdown.to_html(text, pictures, title_of(report))
    for name, content in pictures.items():
        files.write(folder / name, content)
    files.write(folder / "report.md", text)
    files.write(folder / "report.html", page)
    files.write_json(folder / "report.json", report)
    return report


def rewrite(folder):
    """Write the report of a study again, from its plan and records. Neither images nor training runs are needed.

    Args:
        folder: The folder of a study.

    Returns:
        The content of `report.json`, a dict.

    Raises:
        InputError: if it is not the folder of a study.
    """
    return write(folder, study_plan.read(Path(folder)))


def write(folder, plan):
    """Write the report of a study from its records; the arguments and the result are those of `save`."""
    records, tuned = tuning.read_results(folder, plan)
    return save(folder, study_plan.without_places(plan), records, tuned)


def _robustness(folder, plan, records):
    """What was measured of all models, or `None`."""
    names = [cell.name for cell in study_cells.of_plan(plan)]
    if any(name not in records for name in names):
        return None
    asked = (plan.get("evaluations") or [None])[-1]
    measured = evaluation.read(folder, {name: records[name] for name in names}, asked)
    return None if measured is None else evaluation.compare(plan, measured)


def make(plan, records, robustness=None, tuned=None):
    """The content of `report.json`.

    Args:
        plan, records, tuned: See `save`.
        robustness: What `keras_mma.study.evaluation.compare` returned, or `None`.
    """
    cells = []
    for cell in study_cells.of_plan(plan):
        if cell.name in records:
            record = {name: value for name, value in records[cell.name].items() if name not in ("schema", "correct")}
            cells.append({"name": cell.name, **record, "accuracy": 100 * study_cells.accuracy_of(record)})
    report = {
        "schema": SCHEMA,
        "plan": plan,
        "analysis": analyze(plan, records),
        "robustness": robustness,
        "tuned": tuned,
        "cells": cells,
    }
    report["warnings"] = warnings(report)
    return report


def title_of(report):
    """What the study compares, in one line."""
    plan = report["plan"]
    others = [name for name in plan["arms"] if name != plan["baseline"]]
    compared = ", ".join(others) if len(others) <= 4 else f"{len(others)} methods"
    return f"{compared} against {plan['baseline']} on {plan['images']['dataset']}"


def warnings(report):
    """Limits of the conclusions, a list of sentences."""
    plan, analysis, cells = report["plan"], report["analysis"], report["cells"]
    sentences = []
    if not analysis["complete"]:
        sentences.append(
            f"The study is unfinished: {analysis['finished']} of {analysis['planned']} training runs are done, and "
            "there are no verdicts before the last. Run the same command again to resume."
        )
    if analysis["extended"]:
        looks = ", ".join(map(str, plan["looks"]))
        sentences.append(
            f"The study was extended to {plan['seeds']} seeds after a look at its results with {looks}. Intervals are "
            f"therefore those of a group-sequential plan, at {100 * analysis['level']:.2f} % instead of 95 %. A new "
            "study with other seeds would have intervals at 95 %."
        )
    elif plan["extensions"]:
        looked_at = max(extension["looked_at"] for extension in plan["extensions"])
        when = "after the results of one seed, which have no interval" if looked_at else "before there were results"
        sentences.append(f"The number of seeds was raised {when}.")
    sentences += _about_robustness(report)
    for setting in analysis["settings"]:
        for arm in setting["arms"]:
            if arm["diverged"]:
                seeds = ", ".join(map(str, arm["diverged"]))
                where = f" ({markdown.escape(setting['title'])})" if setting["title"] else ""
                sentences.append(
                    f"{markdown.code(arm['method'])}{where} diverged with seed {seeds}. A training run that diverges "
                    "counts with the accuracy of chance."
                )
    if any("evidence" in comparison for setting in analysis["settings"] for comparison in setting["comparisons"]):
        sentences.append(
            "Where a method and the baseline diverged with the same seed, their difference of 0 is no evidence that "
            "they are equal: the verdict about the margin and the number of seeds that would be needed leave such "
            "pairs out."
        )
    sentences += _near_chance(report)
    titles = {
        study_cells.key_of(name, setting): study_plan.title_of(plan, setting)
        for setting in study_plan.settings_of(plan)
        for name in plan["arms"]
    }
    for key, names in tuning.at_the_edge(plan, report["tuned"]).items() if report["tuned"] else ():
        what = f"{' and '.join(names).replace('_', ' ')} of {markdown.code(study_cells.method_of(key))}"
        where = f" ({markdown.escape(titles[key])})" if titles[key] else ""
        sentences.append(
            f"The tuned {what}{where} is the largest or the smallest of the grid. A wider grid may be better."
        )
    commits = sorted({str(cell.get("commit")) for cell in cells})
    if len(commits) > 1:
        sentences.append(f"The training runs were made by different commits: {markdown.escape(', '.join(commits))}.")
    several = sorted(set(provenance.changed(cells)) - {"commit", "backend"})
    if several:
        sentences.append(
            f"The training runs were made with different versions of {markdown.escape(', '.join(several))}."
        )
    backends = sorted({cell["backend"] for cell in cells if "backend" in cell})
    if len(backends) > 1:
        sentences.append(
            f"The training runs were made with different backends: {markdown.escape(', '.join(backends))}."
        )
    resumed = sum(bool(cell.get("resumed_from")) for cell in cells)
    if resumed:
        sentences.append(
            f"{resumed} of the training runs were resumed with another commit, backend or version than they began with."
        )
    earlier = sum(cell.get("finished", plan["written"]) < plan["written"] for cell in cells)
    if earlier:
        sentences.append(f"{earlier} of the training runs had ended before the plan was written.")
    if any("+changes" in commit for commit in commits):
        sentences.append(
            "Some training runs were made by code with uncommitted changes, and cannot be repeated exactly."
        )
    if plan["part"] == "validation" and plan["tuning"] is not None:
        sentences.append("Learning rate and weight decay were tuned on the images on which accuracy is measured.")
    if plan["part"] == "validation":
        sentences.append(
            "Accuracy is measured on the validation part, for a choice. A claim needs the test part and other seeds."
        )
    return sentences


def _near_chance(report):
    """A sentence for each setting in which no method has learned anything that could be compared."""
    images, sentences = report["plan"]["images"], []
    chance = 100 / images["classes"]
    for setting in report["analysis"]["settings"]:
        means = [arm["mean"] for arm in setting["arms"] if arm["mean"] is not None]
        if means and max(means) <= chance + 3 * math.sqrt(chance * (100 - chance) / images["n"]):
            where = f" ({markdown.escape(setting['title'])})" if setting["title"] else ""
            sentences.append(
                f"No accuracy{where} is above that of guessing among {images['classes']} classes, {chance:.1f} %, by "
                "more than chance explains: differences mean nothing. Train for more epochs or on more images."
            )
    return sentences


def _about_robustness(report):
    evaluations, sentences = report["plan"].get("evaluations"), []
    limit = f" and `--limit {evaluations[-1]['limit']}`" if evaluations and evaluations[-1]["limit"] else ""
    if evaluations and evaluations[-1]["trained"]:
        sentences.append(
            f"The robustness measurements were chosen when {evaluations[-1]['trained']} training runs had finished."
        )
    if report["robustness"] is not None and "changed" in report["robustness"]:
        names = markdown.escape(", ".join(report["robustness"]["changed"]))
        sentences.append(f"Between the measurements of robustness, this was changed: {names}.")
    if evaluations and report["analysis"]["complete"] and report["robustness"] is None:
        sentences.append(
            "Not all models have been measured yet. Run the command of the study again with `--evaluate "
            f"{' '.join(evaluations[-1]['sections'])}`{limit} to resume."
        )
    return sentences


def to_markdown(report, pictures=()):
    """The report as Markdown.

    Args:
        report: What `make` returned.
        pictures: Names of the figures beside it.

    Returns:
        Markdown text.
    """
    plan, analysis = report["plan"], report["analysis"]
    blocks = [f"# {markdown.escape(title_of(report))}"]
    blocks += [f"> **{sentence}**" for sentence in report["warnings"]]
    for setting in analysis["settings"]:
        blocks += (
            [f"## {markdown.escape(setting['title'][0].upper() + setting['title'][1:])}"] if setting["title"] else []
        )
        blocks.append(markdown.table(*tables.results(setting, plan)))
    blocks.append(tables.legend(report))
    blocks += [f"![{_TEXTS[name]}]({name})\n\n*{_TEXTS[name]}*" for name in pictures]
    blocks.append("## What this study can tell\n\n" + tables.precision(report))
    blocks.append("## More about the differences\n\n" + tables.details(report))
    if report["robustness"]:
        blocks.append("## Robustness\n\n" + tables.robustness(report))
    blocks.append("## The plan\n\n" + quoted_plan.table(report))
    blocks.append("## Tables to paste\n\n" + _tables_to_paste(analysis, plan))
    blocks.append("## Every training run\n\n" + tables.cells(report))
    return "\n\n".join(blocks) + "\n"


def summary(report):
    """The verdicts in a few lines, for a terminal."""
    plan, analysis = report["plan"], report["analysis"]
    lines = []
    for setting in analysis["settings"]:
        baseline = next(arm for arm in setting["arms"] if arm["method"] == plan["baseline"])
        head = f"{plan['images']['dataset']}, {setting['title']}" if setting["title"] else plan["images"]["dataset"]
        if baseline["mean"] is not None:
            head += f": {plan['baseline']} {baseline['mean']:.2f} %, {baseline['n']} seeds"
        lines.append(head)
        width = max((len(comparison["method"]) for comparison in setting["comparisons"]), default=0)
        for comparison in setting["comparisons"]:
            difference = tables.difference(comparison)
            verdict = tables.verdict(comparison, plan["margin"]) if comparison["mean"] is not None else "no result"
            lines.append(f"  {comparison['method']:<{width}}  {difference:<22}  {verdict}")
    return "\n".join([*(f"note: {sentence.replace('`', '')}" for sentence in report["warnings"]), *lines])


def _tables_to_paste(analysis, plan):
    blocks = []
    for setting in analysis["settings"]:
        head, rows = tables.results(setting, plan)
        if setting["title"]:
            blocks.append(f"{markdown.escape(setting['title'])}:")
        blocks.append(f"```text\n{markdown.table(head, rows)}\n```")
        blocks.append(f"```latex\n{latex.table(head, rows)}\n```")
    return "\n\n".join(blocks)
