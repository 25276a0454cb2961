"""Tables and plots over several reports on the same images."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_mma import checks
from keras_mma.errors import InputError
from keras_mma.markdown import code, escape, table, to_html
from keras_mma.robustness import comparison_plots, paired
from keras_mma.robustness import report as report_files
from keras_mma.robustness.output import OutputFolder
from keras_mma.robustness.sections import SECTIONS, sections_of

_TEXTS = {"comparison.png": "Errors side by side", "differences.png": "Paired differences with 95 % intervals"}
_READING = (
    "Negative differences are fewer errors. An interval that holds 0 does not tell which is better. Of twenty "
    "intervals, one is expected to miss by chance."
)


def compare(
    paths: Iterable[str | os.PathLike],
    output: str | os.PathLike | None = None,
    against: Iterable[str | os.PathLike] | None = None,
) -> str:
    """Compare reports on the same images.

    Because all models see the same images, the differences of their errors are paired. Without `against` every report
    stands in a column of its own, and differences are those from the first; their intervals are over the images, and
    apply to these trained models only. With `against` the reports are the seeds of two methods: the intervals of the
    differences are over the seeds and apply to the methods.

    Args:
        paths: Paths of reports, or of their folders.
        output: Folder for `comparison.md`, `comparison.html`, `comparison.png` and `differences.png`; nothing is
            written if `None`.
        against: Paths of as many other reports, which are subtracted, in the same order of seeds; or `None`.

    Returns:
        Markdown. A dash stands where a report lacks what others have.

    Raises:
        InputError: if a report cannot be read or is named twice, or the reports are not comparable.

    Example:

    >>> import pathlib
    >>> images = keras_mma.datasets.load("digits").test
    >>> for width in (1, 2):
    ...     network = keras_mma.models.WideResNet(10, width, input_shape=(16, 16, 1))
    ...     report = keras_mma.robustness.evaluate(network, images, only=["clean"], limit=20, output=f"width-{width}")
    >>> text = keras_mma.robustness.compare(["width-1", "width-2"], output="comparison")
    >>> text.splitlines()[0], len(list(pathlib.Path("comparison").glob("*.png")))
    ('# Comparison', 2)
    """
    checks.several("paths", paths)
    if against is not None:
        checks.several("against", against)
    paths, against = list(paths), None if against is None else list(against)
    if against is not None and len(against) != len(paths):
        raise InputError(
            "`against` must name as many reports as there are before it, in the order of their seeds. "
            f"Received: {len(against)} against {len(paths)}"
        )
    names = [*paths, *(against or ())]
    reports = [report_files.read(path) for path in names]
    _refuse_repeated(names)
    check_comparable(reports, names)
    if against is None:
        shown, rows, errors = _short_names(names), differences(reports), [_errors(report) for report in reports]
        text = to_markdown(reports, names, rows)
        columns = [f"{name} − {shown[0]}" for name in shown[1:]]
    else:
        shown, rows, text = _methods(reports, names, len(paths))
        errors = [_means(list(map(_errors, half))) for half in (reports[: len(paths)], reports[len(paths) :])]
        columns = [" − ".join(shown)]
    if output is not None:
        pictures = {"comparison.png": report_files.png(comparison_plots.errors, errors, shown)}
        if rows:
            pictures["differences.png"] = report_files.png(comparison_plots.differences, rows, columns)
        page = text + "".join(f"\n![{_TEXTS[name]}]({name})\n" for name in pictures)
        with OutputFolder(output, "comparison") as folder:
            for name, content in pictures.items():
                folder.write(name, content)
            folder.write("comparison.md", page)
            folder.write("comparison.html", to_html(page, pictures, "Comparison"))
            folder.remove(set(folder.written()) - set(pictures) - {"comparison.md", "comparison.html"})
    return text


def check_comparable(reports, names):
    """Refuse reports that were not measured on the same images, or on different corruptions of them."""
    seen = {}
    for report, name in zip(reports, names, strict=True):
        for key, value in _identity(report).items():
            other, earlier = seen.setdefault(key, (name, value))
            if value != earlier:
                raise InputError(f"{other} and {name} are not comparable: {key} {earlier!r} and {value!r}")


def _refuse_repeated(names):
    """Refuse the same report twice: its differences are 0, and a seed that counts twice narrows the intervals."""
    files = {}
    for name in names:
        path = (Path(name, "report.json") if Path(name).is_dir() else Path(name)).resolve()
        if path in files:
            raise InputError(
                f"The reports of a comparison must be different. Received: {files[path]} and {name}, the same file"
            )
        files[path] = name


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
    for section in sections_of(report):
        identity |= section.identity(report)
    return identity


def to_markdown(reports, names, paired_rows):
    """Markdown tables over reports: one column for each, and the `differences` from the first."""
    rows = []
    for section in SECTIONS:
        columns = [section.compare(report) if section.name in report else {} for report in reports]
        labels = dict.fromkeys(label for column in columns for label in column)
        rows += [[label, *(column.get(label, "-") for column in columns)] for label in labels]
    dataset = reports[0]["dataset"]
    note = f"{dataset['n']:,} test images of {code(dataset['name'])}. A dash: not measured."
    blocks = ["# Comparison", note, table(["", *map(code, names)], rows)]
    if paired_rows:
        blocks += [
            f"## Differences from {code(names[0])}",
            "Differences of errors in points, with 95 % intervals over the images, which all models share. They apply "
            f"to these trained models only; for methods, compare several seeds with `--against`. {_READING}",
            table(
                ["", *map(code, names[1:])],
                [[escape(label), *map(_cell, cells)] for label, cells in paired_rows.items()],
            ),
        ]
        if any(cell and cell.low is None for cells in paired_rows.values() for cell in cells):
            blocks.append(
                "A difference without interval is that of a report that does not say which images are correct."
            )
    return "\n\n".join(blocks) + "\n"


def differences(reports):
    """Paired differences of all reports from the first.

    Args:
        reports: Reports on the same images.

    Returns:
        Dict from labels to a list of a `paired.Difference`, or `None` where one lacks it, for each further report.
    """
    measures, outcomes = [_measures(report) for report in reports], [_outcomes(report) for report in reports]
    labels = dict.fromkeys(label for measure in measures for label in measure)

    def difference(label, number):
        if label not in measures[0] or label not in measures[number]:
            return None
        errors, others = outcomes[number].get(label), outcomes[0].get(label)
        if errors is None or others is None:
            return paired.Difference(measures[number][label] - measures[0][label])
        return paired.over_images(errors, others)

    rows = {label: [difference(label, number) for number in range(1, len(reports))] for label in labels}
    return {label: cells for label, cells in rows.items() if any(cells)}


def _methods(reports, names, count):
    """Names of two methods, their differences and a Markdown page; the first `count` reports belong to the first."""
    shown = _method_names(names, count)
    measures = [_measures(report) for report in reports]
    labels = [label for label in measures[0] if all(label in measure for measure in measures)]
    over_images = differences(reports[::-1]) if count == 1 else {}
    rows, cells = [], {}
    for label in labels:
        values = np.array([measure[label] for measure in measures]).reshape(2, count)
        cells[label] = over_images[label] if count == 1 else [paired.over_seeds(values[0] - values[1])]
        rows.append([escape(label), *map(_spread, values), _cell(*cells[label])])
    dataset = reports[0]["dataset"]
    seeds = f"{count} seeds each, paired in the order of the reports" if count > 1 else "one trained model each"
    over = "seeds (paired t)" if count > 1 else "images; they apply to these trained models only"
    note = (
        f"{dataset['n']:,} test images of {code(dataset['name'])}; {seeds}. Errors in %"
        f"{' (mean ± standard deviation)' if count > 1 else ''}, differences in points with 95 % intervals over the "
        f"{over}. {_READING}"
    )
    listed = [
        f"- {code(name)}: {', '.join(map(code, part))}"
        for name, part in zip(shown, (names[:count], names[count:]), strict=True)
    ]
    head = ["error", *map(code, shown), "difference"]
    return shown, cells, "\n\n".join(["# Comparison", note, "\n".join(listed), table(head, rows)]) + "\n"


def _spread(values):
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def _cell(difference):
    """A difference as text, bold where it is clear; a dash for `None`."""
    if difference is None:
        return "-"
    return f"**{paired.points(difference)}**" if difference.is_clear else paired.points(difference)


def _errors(report):
    return _gather(report, lambda section: section.errors(report))


def _measures(report):
    return _gather(report, lambda section: section.measures(report))


def _outcomes(report):
    try:
        return _gather(report, lambda section: section.outcomes(report))
    except ValueError as error:
        raise InputError(
            f"the report of {report['model']['path']} is damaged: `correct` must be of as many images as it measured"
        ) from error


def _gather(report, function):
    return {label: value for section in sections_of(report) for label, value in function(section).items()}


def _means(columns):
    """Means of the errors that all columns have."""
    return {
        label: float(np.mean([column[label] for column in columns])) for label in columns[0] if _all(columns, label)
    }


def _all(columns, label):
    return all(label in column for column in columns)


def _short_names(names):
    """Names of the reports without the folders that all of them share."""
    parts = [Path(name).parts for name in names]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [str(Path(*part[shared:])) for part in parts]


def _method_names(names, count):
    """Two names for two groups of reports: what the names of each have in common."""
    short = [name.removesuffix("/report.json") for name in _short_names(names)]
    common = [_common_prefix(part) if len(part) > 1 else part[0] for part in (short[:count], short[count:])]
    common = [re.sub(r"[-_./ ]*(seed)?[-_./ ]*$", "", name) for name in common]
    return common if all(common) and common[0] != common[1] else ["first", "second"]


def _common_prefix(names):
    """What names begin with, without the first digits of numbers that differ."""
    prefix = os.path.commonprefix(names)
    is_cut = all(name[len(prefix) :][:1].isdigit() for name in names)
    return prefix.rstrip("0123456789") if is_cut else prefix
