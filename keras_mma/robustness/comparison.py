"""One table and one plot over several reports."""

from pathlib import Path

from keras_mma import plotting
from keras_mma.errors import InputError
from keras_mma.robustness import report as report_files
from keras_mma.robustness.output import OutputFolder
from keras_mma.robustness.sections import SECTIONS


def compare(paths, output=None):
    """Compare reports on the same images.

    Args:
        paths: Paths of reports, or of their folders.
        output: Folder for `comparison.md` and `comparison.png`; nothing is written if `None`.

    Returns:
        A Markdown table, one column for each report. A dash stands where a report lacks what others have.

    Raises:
        InputError: if a report cannot be read, or the reports are not comparable.
    """
    reports = [report_files.read(path) for path in paths]
    check_comparable(reports, paths)
    text = to_markdown(reports, paths)
    if output is not None:
        picture = report_files.png(plot, reports, paths)
        with OutputFolder(output, "comparison") as folder:
            folder.write("comparison.png", picture)
            folder.write("comparison.md", text + "\n![Errors side by side](comparison.png)\n")
    return text


def check_comparable(reports, names):
    """Refuse reports that were not measured on the same images, or on different corruptions of them."""
    seen = {}
    for report, name in zip(reports, names, strict=True):
        for key, value in _identity(report).items():
            other, earlier = seen.setdefault(key, (name, value))
            if value != earlier:
                raise InputError(f"{other} and {name} are not comparable: {key} {earlier!r} and {value!r}")


def _identity(report):
    """Dict of what must be the same in reports that are compared."""
    dataset = report["dataset"]
    identity = {
        "dataset": dataset["name"],
        "n": dataset["n"],
        "image_shape": dataset["image_shape"],
        "seed": report["run"]["seed"],
    }
    if "sha256" in dataset:
        identity["sha256"] = dataset["sha256"]
    for section in SECTIONS:
        identity |= section.identity(report) if section.name in report else {}
    return identity


def to_markdown(reports, names):
    """A Markdown table over reports, one column for each."""
    rows = []
    for section in SECTIONS:
        columns = [section.compare(report) if section.name in report else {} for report in reports]
        labels = dict.fromkeys(label for column in columns for label in column)
        rows += [[label, *(column.get(label, "-") for column in columns)] for label in labels]
    dataset = reports[0]["dataset"]
    note = f"{dataset['n']:,} test images of `{dataset['name']}`. A dash: not measured."
    return f"# Comparison\n\n{note}\n\n{report_files.table(['', *(f'`{name}`' for name in names)], rows)}\n"


def plot(reports, names, figure):
    """Errors side by side, a row for each. A dash stands where a report lacks what others have."""
    columns = [
        {
            label: error
            for section in SECTIONS
            if section.name in report
            for label, error in section.errors(report).items()
        }
        for report in reports
    ]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    figure.set_size_inches(7.5, 1.2 + 0.24 * len(labels) + 0.2 * len(reports))
    axis = figure.subplots()
    step = 0.6 / max(1, len(reports) - 1)
    for number, (column, name) in enumerate(zip(columns, _short_names(names), strict=True)):
        rows = [row + number * step - 0.3 * (len(reports) > 1) for row in range(len(labels))]
        shown = [row for row, label in zip(rows, labels, strict=True) if label in column]
        errors = [100 * column[label] for label in labels if label in column]
        marker, color = "osD^vP*X"[number % 8], plotting.COLORS[number % len(plotting.COLORS)]
        axis.plot(errors, shown, marker, color=color, markersize=5, clip_on=False, label=name)
        for row, label in zip(rows, labels, strict=True):
            if label not in column:
                axis.text(0.5, row, "–", ha="left", va="center", weight="bold", color=color)
    for row in range(1, len(labels), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="#F3F3F3", zorder=0)
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="error in %", xlim=(0, 100), ylim=(len(labels) - 0.5, -0.5))
    axis.grid(False, axis="y")
    figure.legend(loc="outside upper left")  # a legend inside could cover a point


def _short_names(names):
    """Names of the reports without the folders that all of them share."""
    parts = [Path(name).parts for name in names]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [str(Path(*part[shared:])) for part in parts]
