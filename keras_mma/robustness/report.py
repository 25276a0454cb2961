"""The report: JSON for programs; Markdown, one HTML page and pictures for people."""

import json
from pathlib import Path

from keras_mma import forms, markdown, plotting
from keras_mma.errors import InputError
from keras_mma.files import read_json
from keras_mma.robustness import page, sheets
from keras_mma.robustness.run import UNFINISHED
from keras_mma.robustness.sections import SECTIONS, sections_of

SCHEMA = "keras_mma.robustness/2"
# What a report must hold so that another run or a comparison can read it; see `forms.fault`.
FORM = {
    "model": {"path": str, "sha256": str, "classes": int},
    "dataset": {"name": str, "n": int, "total": int, "image_shape": [int] * 3, "sha256?": str, "class_names?": [str]},
    "run": {"seed": int},
    **{f"{section.name}?" if section.name != "clean" else "clean": section.form for section in SECTIONS},
}


def files(sections=SECTIONS):
    """Names of the files of a report with these sections."""
    sheets = [section.sheet_file for section in sections if section.sheet_file]
    return ["report.json", "report.md", "report.html", *(f"{section.name}.png" for section in sections), *sheets]


def headlines(report: dict) -> list[str]:
    """List of strings, the most important figures of a report."""
    model, dataset = report["model"], report["dataset"]
    lines = [line for section in sections_of(report) for line in section.headlines(report)]
    cautions = [f"caution: {line}" for section in sections_of(report) for line in section.cautions(report)]
    of_all = "" if dataset["n"] == dataset["total"] else f" of {dataset['total']:,}"
    return [
        f"{dataset['n']:,}{of_all} test images of {dataset['name']}: {dataset['selection']}",
        f"outputs are {model['outputs']}, {model['outputs_decided']}",
        *lines,
        *cautions,
    ]


def read(path):
    """Read a `report.json`, or the one in a folder.

    Raises:
        InputError: if there is none, or it has another schema, or is damaged.
    """
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    report = read_json(path)
    if report.get("schema") != SCHEMA:
        received = repr(report.get("schema"))[:60]
        raise InputError(
            f"{path} must be a report of this version ({SCHEMA}): evaluate the model again. Received: {received}"
        )
    wrong = forms.fault(report, FORM)
    if wrong:
        raise InputError(f"{path} is a damaged report: {wrong}")
    return report


def save(report, folder, setting=None):
    """Write the report and its pictures, and remove other files of an earlier run, except parts of unfinished ones.

    Args:
        report: What `evaluate` returns.
        folder: An `OutputFolder`.
        setting: The `Setting` of the evaluation, which has the images, or `None` for a report without them.
    """
    pictures = _pictures(report, setting)
    contents = {name: content for name, (content, _) in pictures.items()}
    text = page.to_markdown(report, {name: words for name, (_, words) in pictures.items()})
    texts = {
        "report.md": text,
        "report.html": markdown.to_html(text, contents, page.title(report)),
        "report.json": json.dumps(report, indent=1, allow_nan=False),
    }
    for name, content in (contents | texts).items():
        folder.write(name, content)
    folder.remove(set(folder.written()) - set(contents) - set(texts) - set(folder.written(UNFINISHED)))


def _pictures(report, setting):
    """Dict from the names of the pictures to their content and what they show."""
    pictures = {}
    for section in sections_of(report):
        pictures[f"{section.name}.png"] = png(section.plot, report), ""
        sheet = None if setting is None or section.sheet_file is None else section.sheet(setting, report)
        if sheet is not None:
            pictures[section.sheet_file] = png(sheets.draw, sheet, dpi=150), sheet.text
    return {name: picture for name, picture in pictures.items() if picture[0]}


def png(plot, *arguments, dpi=120):
    """What a function draws on a figure, as PNG bytes; `None` if it draws nothing."""
    with plotting.style():
        figure = plotting.new_figure()
        plot(*arguments, figure)
        return plotting.png(figure, dpi=dpi) if figure.axes else None
