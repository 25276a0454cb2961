"""Robustness of the exported models of a study, as paired differences."""

import functools
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_mma import files, forms
from keras_mma.errors import InputError, first_line
from keras_mma.study import analysis, provenance, running, sequential, study_cells, study_plan

#: What a file of `robustness` must hold, see `keras_mma.forms.fault`.
_FORM = {
    "sections": [str],
    "limit": forms.OPTIONAL_INTEGER,
    "loss": forms.OPTIONAL_NUMBER,
    "accuracies": {str: forms.NUMBER},
    "commit?": forms.OPTIONAL_STRING,
    "backend?": str,
    "versions?": {str: str},
}


class Measured(NamedTuple):
    """Robustness of the models of a study.

    Args:
        accuracies: Dict from the names of cells to dicts from measures to accuracies in %.
        images: Number of images.
        diverged: Names of the cells whose training diverged.
        changed: What changed between the measurements: `"commit"`, `"backend"` or names of packages.
    """

    accuracies: dict
    images: int
    diverged: frozenset = frozenset()
    changed: tuple = ()


def measure(cells, records, folder, sections, limit=None, deadline=None, jobs=1, scheduler=None):
    """Measure the exported model of every cell by `keras_mma.robustness`, and keep the accuracies in the folder.

    Args:
        cells: List of `keras_mma.study.study_cells.Cell`s, all of which have a record.
        records: Dict from their names to their records.
        folder: The folder of the study. Measurements that it has in `robustness` are not repeated, so that they need no
            model.
        sections: Names of sections of the robustness report.
        limit: Number of images, the same for all cells; all by default.
        deadline: Time after which no other measurement begins, in seconds since the epoch of `time.time`.
        jobs, scheduler: See `keras_mma.study.running.run`.

    Returns:
        Whether all models have been measured.

    Raises:
        InputError: if a model cannot be measured.
    """
    from keras_mma.study.workers import for_each

    exported = [cell for cell in cells if records[cell.name].get("diverged") is None]
    if not exported:
        raise InputError(f"`evaluate` needs a training that did not diverge. Received: {len(cells)} that diverged")
    folder = Path(folder).absolute()  # workers of a scheduler have other current folders
    threads = running.threads_of(jobs, scheduler)
    arguments = (folder, tuple(sections), limit, deadline, threads)
    return all(for_each(_measure_in_turn, exported, arguments, jobs, scheduler, threads))


def read(folder, records, asked=None):
    """What was measured of the models of a study.

    Args:
        folder: The folder of the study.
        records: Dict from the names of its cells to their records. A cell that diverged has the accuracy of chance, or
            that of the worst other model of its setting where it is smaller, as under attack.
        asked: What should have been measured, an entry of the plan's `evaluations`; by default anything.

    Returns:
        A `Measured`; `None` unless all models were measured, in the same sections and on as many images.
    """
    paths = {
        name: study_cells.measurement_path(folder, name)
        for name, record in records.items()
        if record.get("diverged") is None
    }
    if not paths or not all(path.exists() for path in paths.values()):
        return None
    kept = {name: _read(path) for name, path in paths.items()}
    questions = {(tuple(sorted(each["sections"])), each["limit"]) for each in kept.values()}
    if len(questions) > 1 or any(kept[name]["loss"] != records[name].get("loss") for name in kept):
        return None
    ((sections, limit),) = questions
    if asked is not None and (list(sections), limit) != (asked["sections"], asked["limit"]):
        return None
    first, *others = (each["accuracies"] for each in kept.values())
    names = [name for name in first if all(name in other for other in others)]
    accuracies = {name: {measure: each["accuracies"][measure] for measure in names} for name, each in kept.items()}
    for name in records.keys() - kept.keys():
        alike = [accuracies[other] for other in kept if records[other]["setting"] == records[name]["setting"]]
        chance = 100 * study_cells.accuracy_of(records[name])
        accuracies[name] = {measure: min([chance, *(each[measure] for each in alike)]) for measure in names}
    images = next(iter(records.values()))["images"]
    diverged = frozenset(records.keys() - kept.keys())
    return Measured(accuracies, min(limit or images, images), diverged, provenance.changed(kept.values()))


def _read(path):
    try:
        return files.read_json(path, _FORM)
    except InputError as error:
        raise InputError(f"{error}; delete the file to measure the model again") from None


def after_training(folder, options):
    """What measures a cell when it is trained; its model may be gone when a study is resumed from its records.

    Args:
        folder: The folder of the study.
        options: Dict with the sections `only` and `limit`, or `None` to measure nothing.

    Returns:
        A function of a cell, or `None`.
    """
    if options is None:
        return None
    return functools.partial(measure_cell, folder=folder, sections=options["only"], limit=options["limit"])


def _measure_in_turn(cell, folder, sections, limit, deadline, threads):
    """`measure_cell`, after a worker of an interrupted study that may still measure the model."""
    try:
        with running.turn(folder, cell, deadline, threads):
            return measure_cell(cell, folder, sections, limit, deadline)
    except running.OutOfTime:
        return False


def measure_cell(cell, folder, sections, limit, deadline=None):
    """Measure the exported model of one cell, unless that was done or the cell diverged, and keep the accuracies.

    Returns:
        Whether nothing is left to measure: `False` after the deadline.
    """
    record = files.read_json(study_cells.record_path(folder, cell))
    if record.get("diverged") is not None:
        return True
    # Another training of the cell has another loss.
    identity = {"sections": sorted(sections), "limit": limit, "loss": record.get("loss")}
    path = study_cells.measurement_path(folder, cell.name)
    if path.exists():
        kept = _read(path)
        if {"sections": sorted(kept["sections"]), "limit": kept["limit"], "loss": kept["loss"]} == identity:
            return True
    if deadline is not None and time.time() > deadline:
        return False
    path.parent.mkdir(exist_ok=True)
    measured = {"accuracies": _measure_model(cell, folder, sections, limit), "finished": provenance.now()}
    files.write_json(path, identity | measured | provenance.origin())
    return True


def _measure_model(cell, folder, sections, limit):
    from keras_mma import robustness
    from keras_mma.study import cell_training

    output = study_cells.training_folder(folder, cell)
    # Otherwise `evaluate` would refuse to replace the report of a larger limit or of more sections.
    (output / "robustness" / "report.json").unlink(missing_ok=True)
    images = getattr(cell_training.load(cell_training.make_recipe(cell)), cell.part)
    saved = output / "saved_model"  # PyTorch has none
    model = saved if saved.exists() else output / "model.keras"
    try:
        report = robustness.evaluate(model, images, only=sections, limit=limit, output=output / "robustness")
    except InputError as error:
        raise InputError(f"{cell.name} cannot be evaluated: {first_line(error).partition(': ')[2]}") from error
    return accuracies(report, sections)


def accuracies(report, sections):
    """The accuracies in % of some sections of a robustness report, a dict from the labels of the sections."""
    from keras_mma.robustness.sections import SECTIONS

    chosen = [section for section in SECTIONS if section.name in sections]
    errors = {label: error for section in chosen for label, error in section.measures(report).items()}
    return {label: 100 * (1 - error) for label, error in errors.items()}


def compare(plan, measured):
    """Paired differences of all measures.

    Args:
        plan: The plan of the study.
        measured: A `Measured`.

    Returns:
        A dict of JSON values with `images`, `settings`, each with `title` and `measures`, and, if there is any,
        `changed`.
    """
    looks = (*plan["looks"], plan["seeds"])
    level = sequential.sequential_level(looks)
    names = list(next(iter(measured.accuracies.values())))
    settings = []
    for setting in study_plan.settings_of(plan):
        by_arm = {}
        for arm in study_plan.arms_of(plan):
            cells = [study_cells.make(plan, arm, seed, setting) for seed in study_plan.seeds_of(plan)]
            by_arm[arm.name] = [cell.name for cell in cells]
        measures = [_measure(plan, by_arm, name, measured, looks, level) for name in names]
        settings.append({"setting": setting, "title": study_plan.title_of(plan, setting), "measures": measures})
    changed = {"changed": list(measured.changed)} if measured.changed else {}
    return {"images": measured.images, "settings": settings, **changed}


def _measure(plan, by_arm, name, measured, looks, level):
    values = {arm: np.array([measured.accuracies[cell][name] for cell in cells]) for arm, cells in by_arm.items()}
    diverged = {arm: np.array([cell in measured.diverged for cell in cells]) for arm, cells in by_arm.items()}
    baseline = values[plan["baseline"]]
    comparisons = []
    for arm, own in values.items():
        if arm != plan["baseline"]:
            both = diverged[arm] & diverged[plan["baseline"]]
            compared = analysis.compare_pairs(own - baseline, both, level, 100 / measured.images)
            comparisons.append({"method": arm, **compared})
    analysis.judge(comparisons, plan["margin"], looks, complete=True)
    return {"measure": name, "baseline": analysis.summary(baseline, level), "comparisons": comparisons}
