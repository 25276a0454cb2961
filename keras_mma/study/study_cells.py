"""The cells of a study, one training each, and their records."""

import dataclasses
import hashlib
import re
from pathlib import Path

from keras_mma import files, forms, packing
from keras_mma.errors import InputError, first_line
from keras_mma.study import study_plan

SCHEMA = "keras_mma.study.cell/1"
#: What a record must hold beside its accuracy, see `keras_mma.forms.fault`.
FORM = {
    "method": str,
    "seed": int,
    "setting": dict,
    "part": set(study_plan.PARTS),
    "recipe": dict,
    "images": int,
    "diverged?": forms.OPTIONAL_INTEGER,
    "loss?": forms.OPTIONAL_NUMBER,
    "seconds?": forms.NUMBER,
    "threads?": forms.OPTIONAL_INTEGER,
    "seconds_per_epoch?": forms.OPTIONAL_NUMBER,
    "correct?": (str, type(None)),
    "finished?": str,
    "backend?": str,
    "versions?": {str: str},
    "resumed_from?": [dict],
    "sha256?": {str: str},
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        name: Name of its files, different for every cell of a study.
        method: Name of its arm.
        seed: Its seed.
        setting: Dict from `plan.DIMENSIONS` to its values.
        recipe: Dict of all settings of its `keras_mma.study.recipe.Recipe`.
        part: Part of the dataset on which its accuracy is measured.
    """

    name: str
    method: str
    seed: int
    setting: dict
    recipe: dict
    part: str


def of_plan(plan, tuned=None):
    """The cells of a plan, the methods of one seed after the other: a study that is stopped has complete pairs.

    Args:
        plan: See `keras_mma.study.study_plan`.
        tuned: What `keras_mma.study.tuning.choose` returned, or `None`.

    Returns:
        A list of `Cell`s.
    """
    return [
        make(plan, arm, seed, setting, (tuned or {}).get(key_of(arm.name, setting), {}))
        for setting in study_plan.settings_of(plan)
        for seed in study_plan.seeds_of(plan)
        for arm in study_plan.arms_of(plan)
    ]


def make(plan, arm, seed, setting, changes=None, part=None, suffix=""):
    """A cell of a plan.

    Args:
        plan: See `keras_mma.study.study_plan`.
        arm: An `Arm`.
        seed: A seed.
        setting: A combination of the dimensions.
        changes: Dict of settings of the recipe that the cell changes.
        part: Part of the dataset on which accuracy is measured, by default that of the plan.
        suffix: End of the name.

    Returns:
        A `Cell`.
    """
    recipe = plan["recipe"] | arm.settings() | setting | {"seed": seed} | (changes or {})
    several = [str(setting[name]) for name in study_plan.DIMENSIONS if len(plan["dimensions"][name]) > 1]
    name = "-".join([_file_name(arm.name), *several, f"seed{seed}"]) + suffix
    return Cell(name, arm.name, seed, setting, recipe, part or plan["part"])


def key_of(method, setting):
    """A text that stands for a method in a combination of the dimensions."""
    return " ".join([method, *(f"{name}={setting[name]}" for name in study_plan.DIMENSIONS)])


def method_of(key):
    """The method of a text that `key_of` made. Its name may have spaces."""
    return key.rsplit(" ", len(study_plan.DIMENSIONS))[0]


def compared_seeds(plan, records):
    """The largest number of seeds with which an arm can be compared with the baseline in one of the settings."""
    baseline, *others = sorted(study_plan.arms_of(plan), key=lambda arm: arm.name != plan["baseline"])
    return max(
        sum(all(make(plan, arm, seed, setting).name in records for arm in pair) for seed in study_plan.seeds_of(plan))
        for setting in study_plan.settings_of(plan)
        for pair in ((baseline, other) for other in others)
    )


def record_path(folder, cell):
    """Path of a cell's record in the folder of its study."""
    return Path(folder) / "records" / f"{cell.name}.json"


def measurement_path(folder, name):
    """Path of the robustness of the model of a cell in the folder of its study."""
    return Path(folder) / "robustness" / f"{name}.json"


def training_folder(folder, cell):
    """Folder of a cell's training in the folder of its study."""
    return Path(folder) / "trainings" / cell.name


def read_records(folder):
    """The records in the folder of a study, a dict from the names of the cells.

    Raises:
        InputError: if a record is damaged.
    """
    records = {}
    for path in sorted((Path(folder) / "records").glob("*.json")):
        try:
            record = files.read_json(path)
        except InputError as error:
            raise InputError(f"{error}; delete the file to repeat this training") from None
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"{path} must be a record of this version ({SCHEMA}); delete it to repeat this training. "
                f"Received: {record.get('schema')!r:.60}"
            )
        wrong = _fault(record)
        if wrong:
            raise InputError(f"{path} is damaged: {wrong}; delete the file to repeat this training")
        records[path.stem] = record
    return records


def check_records(folder, records, cells):
    """Raise an `InputError` if the record of a cell is that of another training.

    Args:
        folder: The folder of the study.
        records: Dict from the names of cells to their records.
        cells: List of `Cell`s.
    """
    for cell in cells:
        difference = cell.name in records and _difference(records[cell.name], cell)
        if difference:
            raise InputError(
                f"{record_path(folder, cell)} is the record of another training, with {difference}; delete the file to "
                "run the cell again"
            )
    sizes = {}
    for cell in cells:
        if "sha256" in records.get(cell.name, {}):
            first = sizes.setdefault((cell.part, cell.setting["image_size"]), cell.name)
            expected, digests = (records[name]["sha256"] for name in (first, cell.name))
            if digests != expected:
                raise InputError(
                    f"{record_path(folder, cell)} must be of the same images as {first}, whose digests are {expected}; "
                    f"delete the file to repeat this training. Received: {digests}"
                )
    numbers = sorted({records[cell.name]["images"] for cell in cells if cell.name in records})
    if len(numbers) > 1:
        raise InputError(
            f"the records in {Path(folder) / 'records'} must be of the same images. Received: {numbers} images"
        )


def _fault(record):
    """What is wrong with a record, in one line, or `None`."""
    key = f"{record.get('part')}_accuracy"
    wrong = forms.fault(record, FORM | {key: forms.NUMBER})
    if wrong is None and not 0 <= record[key] <= 1:
        return f"{key} is {record[key]}"
    if wrong is None and record["images"] < 1:
        return f"images is {record['images']}"
    if wrong is None and record.get("correct") is not None:
        try:
            packing.unpack(record["correct"], record["images"])
        except ValueError as error:
            return f"correct: {first_line(error)}"
    return wrong


def _difference(record, cell):
    """How a record differs from the training of its cell, in one line, or `None`."""
    expected = {"method": cell.method, "seed": cell.seed, "setting": cell.setting, "part": cell.part}
    recipe = {name: value for name, value in cell.recipe.items() if name != "data_dir"}
    for kept, planned in ((record, expected), (record["recipe"], recipe)):
        for name, value in planned.items():
            if kept.get(name) != value:
                return f"{name}={kept[name]!r:.60} instead of {value!r:.60}" if name in kept else f"{name} missing"
    return None


def accuracy_of(record):
    """The measured accuracy of a record, in [0, 1]."""
    return record[f"{record['part']}_accuracy"]


def _file_name(name):
    """The name of an arm where it can be that of a file, otherwise its beginning and a hash."""
    plain = re.sub(r"[^A-Za-z0-9+._]", "_", name)
    if plain == name and len(name) <= 40 and not name.startswith("."):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{plain[:32].strip('._')}_{digest[:8]}"
