"""The report: JSON for programs, Markdown and plots for people."""

import itertools
import json
import math
from pathlib import Path

from keras_mma import plotting
from keras_mma.errors import InputError, first_line
from keras_mma.robustness.sections import SECTIONS

SCHEMA = "keras_mma.robustness/2"
# What a report must hold so that another run or a comparison can read it; see `fault`.
FORM = {
    "model": {"path": str, "sha256": str, "classes": int},
    "dataset": {"name": str, "n": int, "total": int, "image_shape": [int] * 3, "sha256?": str},
    "run": {"seed": int},
    **{f"{section.name}?" if section.name != "clean" else "clean": section.form for section in SECTIONS},
}


def files(sections=SECTIONS):
    """Names of the files of a report with these sections."""
    return ["report.json", "report.md", *(f"{section.name}.png" for section in sections)]


def sections_of(report):
    """Names of the sections that a report has."""
    return [section.name for section in SECTIONS if section.name in report]


def headlines(report):
    """List of strings, the most important figures of a report."""
    model = report["model"]
    lines = [line for section in SECTIONS if section.name in report for line in section.headlines(report)]
    return [f"outputs are {model['outputs']}, {model['outputs_decided']}", *lines]


def read(path):
    """Read a `report.json`, or the one in a folder.

    Raises:
        InputError: if there is none, or it has another schema, or is damaged.
    """
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a report: {first_line(error)}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise InputError(f"{path} must be a report of this version ({SCHEMA})")
    wrong = fault(report, FORM)
    if wrong:
        raise InputError(f"{path} is a damaged report: {wrong}")
    return report


def fault(value, form, place=""):
    """Describe in one line what is wrong with a value.

    Args:
        value: Plain values, as JSON holds them.
        form: What it must be: a type or several, a set of values, a list of one form or of as many forms as there must
            be values, or a dict of forms by key. A key that ends in `?` may be missing; the key `str` stands for any.
        place: Where the value stands, such as `"clean.error"`.

    Returns:
        A string, or `None` if nothing is wrong.
    """
    if isinstance(form, set):
        return None if value in form else f"{place} is {value!r:.60}"
    if isinstance(form, list):
        if not isinstance(value, list) or len(form) not in (1, len(value)):
            return f"{place} must be a list" + (f" of {len(form)}" if len(form) > 1 else "")
        inner = [(part, form[i % len(form)], f"{place}[{i}]") for i, part in enumerate(value)]
    elif isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{place or 'all of it'} must be an object"
        form = dict.fromkeys(value, form[str]) if str in form else form
        missing = [key for key in form if not key.endswith("?") and key not in value]
        if missing:
            return f"{place + ' ' if place else ''}lacks {missing[0]}"
        known = {key.removesuffix("?"): part for key, part in form.items()}
        inner = [(value[key], part, f"{place}.{key}".lstrip(".")) for key, part in known.items() if key in value]
    else:
        is_good = isinstance(value, form) and not (isinstance(value, float) and not math.isfinite(value))
        return None if is_good else f"{place} is {value!r:.60}"
    return next((wrong for part in inner if (wrong := fault(*part))), None)


def save(report, folder):
    """Write `report.json`, `report.md` and a plot for each section, and remove other files of an earlier run.

    Args:
        report: What `evaluate` returns.
        folder: An `OutputFolder`.
    """
    sections = [section for section in SECTIONS if section.name in report]
    pictures = {f"{section.name}.png": png(section.plot, report) for section in sections}
    pictures = {name: content for name, content in pictures.items() if content}
    texts = {"report.md": to_markdown(report, pictures), "report.json": json.dumps(report, indent=1, allow_nan=False)}
    for name, content in itertools.chain(pictures.items(), texts.items()):
        folder.write(name, content)
    folder.remove(set(folder.written()) - set(pictures) - set(texts))


def png(plot, *arguments):
    """What a function draws on a figure, as PNG bytes; `None` if it draws nothing."""
    with plotting.style():
        figure = plotting.new_figure()
        plot(*arguments, figure)
        return plotting.png(figure) if figure.axes else None


def to_markdown(report, pictures=()):
    """The report as Markdown.

    Args:
        report: What `evaluate` returns.
        pictures: Names of the plots beside it.

    Returns:
        A string.
    """
    blocks = [_header(report)]
    for section in SECTIONS:
        blocks.append(f"## {section.name.capitalize()}")
        for note, header, rows in section.tabulate(report) if section.name in report else [("Not measured.", None, [])]:
            blocks += [note] if note else []
            blocks += [table(header, rows)] if header else []
        if f"{section.name}.png" in pictures:
            blocks.append(f"![{section.name.capitalize()}]({section.name}.png)")
    return "\n\n".join([*blocks, _run(report)]) + "\n"


def table(header, rows):
    """A Markdown table of strings."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _header(report):
    model, dataset = report["model"], report["dataset"]
    size = " × ".join(map(str, dataset["image_shape"]))
    lines = [
        f"# Robustness of `{model['path']}`",
        f"{dataset['n']:,} of {dataset['total']:,} test images of `{dataset['name']}`, {size}, {dataset['classes']} "
        f"classes. Errors are proportions of images; brackets hold 95 % intervals (Wilson) over the images.",
    ]
    return "\n\n".join(lines + [f"**Warning: {warning}.**" for warning in report["warnings"]])


def _run(report):
    model, dataset, run = report["model"], report["dataset"], report["run"]
    skipped = [f"damaged files left out: {', '.join(dataset['skipped'])}"] if dataset["skipped"] else []
    rows = [
        ["model", f"{model['kind']}, SHA-256 `{model['sha256'][:16]}…`"],
        *([key.replace("_", " "), f"`{model[key]}`"] for key in ("signature", "output_name") if key in model),
        ["input", f"{model['input_dtype']} {model['input_shape']}; preprocessing {model['preprocess']}"],
        ["outputs", f"{model['outputs']}, {model['outputs_decided']}"],
        ["images", "; ".join([dataset["selection"], dataset["decoding"], *skipped])],
        ["seed, batch size", f"{run['seed']}, {run['batch_size']}"],
        ["repeatable", f"yes: two calls on {run['repeatable']['images']} images gave identical outputs"],
        ["wall time", f"{run['seconds']:.0f} s, {run['parts_resumed']} parts from an interrupted run"],
        ["started", run["started"]],
        ["versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())],
    ]
    return "## The run\n\n" + table(["", ""], rows)
