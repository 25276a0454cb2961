"""Run one cell of a finished study again and compare."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from keras_mma import checks
from keras_mma.errors import InputError
from keras_mma.study import cell_training, planning, provenance, running, settling, study_cells, study_plan, tuning

#: Largest difference between two runs of one cell, in percentage points.
TOLERANCE = 0.5


class Check(NamedTuple):
    """A cell, its accuracy in %, as recorded and as measured again, and what has changed since, in one line."""

    name: str
    before: float
    now: float
    changes: str = ""

    @property
    def agrees(self):
        """Whether the accuracies agree within `TOLERANCE`."""
        return abs(self.now - self.before) <= TOLERANCE


def rerun(folder, train, name=None, data_dir=None, jobs=None, dataset=None):
    """Train a cell again, in a temporary folder, and compare the accuracies.

    Args:
        folder: The folder of a study.
        train: See `keras_mma.study.running.run`.
        name: Name of the cell, by default the first of the plan that has a record and did not diverge.
        data_dir: Folder of tensorflow-datasets.
        jobs: Number of runs at once among which the cores of this machine are divided. The rounding depends on the
            number of threads; by default it is that of the record.
        dataset: Where the images are, if their folder has been moved: `folder:PATH`. Their digest must be the same.

    Returns:
        A `Check`.

    Raises:
        InputError: if there is no such cell, it fails, or its images or a default of its layers have changed since.
    """
    if jobs is not None:
        checks.integer("jobs", jobs)
    plan = study_plan.read(folder)
    records, _ = tuning.read_results(folder, plan)
    cells = {cell.name: cell for cell in study_cells.of_plan(plan) if cell.name in records}
    if name is None:
        name = next((name for name in cells if records[name].get("diverged") is None), None)
    if name not in cells:
        hint = (
            f"`cell` must be one of {', '.join(cells)}. Received: cell={name}" if cells else "it has no finished cell"
        )
        raise InputError(f"{folder} cannot be checked: {hint}")
    place = {"data_dir": data_dir} | ({} if dataset is None else {"dataset": dataset})
    if "layers" in plan:
        placed = plan | {"recipe": plan["recipe"] | place}
        settling.check_layers(plan, planning.check_models(placed))
    record = records[name]
    recipe = record["recipe"] | place
    cell = study_cells.Cell(name, record["method"], record["seed"], record["setting"], recipe, record["part"])
    _check_images(plan, cell, record)
    threads = record.get("threads") if jobs is None else max(1, (os.cpu_count() or 1) // jobs)
    with tempfile.TemporaryDirectory() as temporary:
        # The number of threads can only be set in a fresh process, and one job has none.
        processes = 1 if threads in (None, running.count_threads()) else 2
        outcome = running.run([cell], Path(temporary), train, jobs=processes, threads=threads, progress=True)
        if outcome.failures:
            raise InputError(f"{name} failed: {outcome.failures[name]}")
        (again,) = study_cells.read_records(temporary).values()
    return Check(name, *(100 * study_cells.accuracy_of(each) for each in (record, again)), _changes(plan, record))


def _check_images(plan, cell, record):
    """Compare the images with those of the record or, in a record of an early version, those of the plan.

    The plan describes them at the first of its sizes.
    """
    is_of_plan = cell.setting["image_size"] == plan["dimensions"]["image_size"][0]
    data = cell_training.load(cell_training.make_recipe(cell))
    for part, name in (("train", "training_sha256"), (cell.part, "sha256")):
        digest = record.get("sha256", {}).get(part, plan["images"].get(name) if is_of_plan else None)
        now = getattr(data, part).digest()
        if digest is not None and digest != now:
            raise InputError(
                f"the images of {cell.recipe['dataset']} must be those of the first training, whose {part} part has "
                f"the digest {digest}. Received: {now}"
            )


def _changes(plan, record):
    """What has changed since a record was made, or may have, in one line; empty if nothing has."""
    before = {name: record[name] for name in ("commit", "backend") if name in record} | (record.get("versions") or {})
    origin = provenance.origin()
    now = origin | origin.pop("versions")
    names = [name for name in before if before[name] != now.get(name)]
    changes = ", ".join(f"{name} {before[name]} then, {now.get(name)} now" for name in names)
    return f"{changes}; {study_plan.UNKNOWN_DEFAULTS}" if names and "layers" not in plan else changes
