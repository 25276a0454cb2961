"""The plan of a study: what is compared, on what, how often, and which difference matters.

It is written before the first training, and the report quotes it. Seeds may be added later; because that is usually
done after a look at the results, it marks the study as extended.
"""

import dataclasses
import itertools
import json
from pathlib import Path

from keras_mma import checks, files, forms
from keras_mma.errors import InputError
from keras_mma.study import arms as study_arms
from keras_mma.study import provenance

SCHEMA = "keras_mma.study/1"
#: Settings of a recipe of which a study can have several values.
DIMENSIONS = ("fraction", "network", "image_size", "epochs")
#: Settings of a recipe that a study does not take: they belong to its arms and cells.
OF_CELLS = ("method", "mixer_arguments", "adapt_arguments", "seed")
PARTS = ("test", "validation")
_OPTIONAL = forms.OPTIONAL_INTEGER
#: What a plan must hold, see `keras_mma.forms.fault`; without the tuning, which may be `None`.
FORM = {
    "written": str,
    "measure": str,
    "commit": (str, type(None)),
    "versions": {str: str},
    "baseline": str,
    "margin": forms.NUMBER,
    "seeds": int,
    "first_seed": int,
    "arms": {str: {"method": str, "mixer_arguments": dict, "adapt_arguments": dict, "mixing_points?": [str]}},
    "part": set(PARTS),
    "images": {
        "dataset": str,
        "selection": str,
        "n": int,
        "classes": int,
        "skipped?": int,
    },
    "recipe": {"dataset": str, "batch_size": int, "learning_rate": forms.NUMBER, "weight_decay": forms.NUMBER},
    "dimensions": {
        "fraction": [forms.NUMBER],
        "network": [str],
        "image_size": [_OPTIONAL],
        "epochs": [int],
    },
    "tuning": (dict, type(None)),
    "looks": [int],
    "layers?": {str: {str: dict}},
    "command?": forms.OPTIONAL_STRING,
    "extensions": [{"date": str, "from": int, "to": int, "looked_at": int}],
    "evaluations?": [{"date": str, "sections": [str], "limit": _OPTIONAL, "trained": _OPTIONAL}],
}
UNKNOWN_DEFAULTS = "the plan does not hold the defaults of its layers, which may have changed since"
MOST_SEEDS, _LARGEST_SEED = 10_000, 2_000_000_000  # more than anybody trains, and below PyTorch's end at 2**31
_TUNING = {"learning_rate": [forms.NUMBER], "weight_decay": [forms.NUMBER], "seeds": int}


def make(arms, baseline, seeds, margin, recipe, dimensions, images, first_seed=0, part="test", tuning=None):
    """A plan.

    Args:
        arms: List of `keras_mma.study.arms.Arm`s.
        baseline: Name of the arm with which the others are compared.
        seeds: Number of seeds, at least 2.
        margin: Largest difference that does not matter, in percentage points, positive.
        recipe: Dict of the settings that all training runs share; `OF_CELLS` and `DIMENSIONS` are not among them.
        dimensions: Dict from each of `DIMENSIONS` to the list of its values.
        images: Dict that describes the images on which accuracy is measured.
        first_seed: The first seed; the others follow it.
        part: The part of the dataset on which accuracy is measured, `"test"` or `"validation"`.
        tuning: `None`, or a dict with the lists `learning_rate` and `weight_decay` and the number of `seeds`.

    Returns:
        A dict of JSON values.

    Raises:
        InputError: if there is nothing to compare or a number is out of range.
    """
    for name, number in (("seeds", seeds), ("first_seed", first_seed)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(f"`{name}` must be an integer. Received: {name}={number!r}")
    if not 2 <= seeds <= MOST_SEEDS:
        raise InputError(
            f"`seeds` must be 2 to {MOST_SEEDS:,}: the spread of the results, and so an interval, needs two. "
            f"Received: seeds={seeds}"
        )
    if not 0 <= first_seed <= _LARGEST_SEED:
        raise InputError(f"`first_seed` must be 0 to {_LARGEST_SEED:,}. Received: first_seed={first_seed}")
    if not checks.is_number(margin) or not 0 < margin < 100:
        raise InputError(f"`margin` must be a number of points between 0 and 100. Received: margin={margin!r}")
    if part not in PARTS:
        raise InputError(f"`part` must be one of {', '.join(PARTS)}. Received: part={part!r}")
    for name, values in dimensions.items():
        if len(set(values)) < len(values):
            raise InputError(f"`{name}` must not have the same value twice. Received: {values}")
    plan = {
        "schema": SCHEMA,
        "written": provenance.now(),
        "baseline": baseline,
        "margin": margin,
        "seeds": seeds,
        "first_seed": first_seed,
        "arms": {arm.name: arm.settings() for arm in arms},
        "part": part,
        "measure": f"accuracy on the {part} part after the last epoch, in %",
        "images": images,
        "recipe": recipe,
        "dimensions": dimensions,
        "tuning": tuning,
        "looks": [],
        "extensions": [],
        "evaluations": [],
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }
    try:
        return json.loads(json.dumps(plan))  # as it is when read from the file
    except TypeError as error:
        raise InputError(
            f"Arguments of `methods` must be numbers, strings, lists, True, False or None. Received: {error}"
        ) from None


def without_places(contents):
    """A plan or a record without `data_dir`, which differs between machines and is not part of a study."""
    return contents | {"recipe": {name: value for name, value in contents["recipe"].items() if name != "data_dir"}}


def read(folder):
    """The plan of a folder.

    Raises:
        InputError: if there is none, or it is of another version or damaged.
    """
    path = Path(folder) / "plan.json"
    if not path.is_file():
        raise InputError(f"{folder} must be the folder of a study. Received: a folder without {path.name}")
    plan = files.read_json(path)
    if plan.get("schema") != SCHEMA:
        raise InputError(f"{path} must be a plan of this version ({SCHEMA}). Received: {plan.get('schema')}")
    wrong = _fault(plan)
    if wrong:
        raise InputError(f"{path} is damaged: {wrong}")
    return without_places(plan)


def _fault(plan):
    """What is wrong with a plan, in one line, or `None`."""
    wrong = forms.fault(plan, FORM)
    if wrong is None and plan["tuning"] is not None:
        wrong = forms.fault(plan["tuning"], _TUNING, "tuning")
    if wrong is not None:
        return wrong
    known = {field.name for field in dataclasses.fields(study_arms.Arm)}
    unknown = sorted({name for settings in plan["arms"].values() for name in settings} - known)
    looks = plan["looks"]
    ranges = {
        f"arms has the unknown {', '.join(unknown)}": not unknown,
        f"arms has {len(plan['arms'])} entries": len(plan["arms"]) >= 2,
        f"baseline is {plan['baseline']!r:.60}": plan["baseline"] in plan["arms"],
        f"margin is {plan['margin']}": 0 < plan["margin"] < 100,
        f"first_seed is {plan['first_seed']}": 0 <= plan["first_seed"] <= _LARGEST_SEED,
        f"seeds is {plan['seeds']}": 2 <= plan["seeds"] <= MOST_SEEDS,
        f"looks is {looks}": looks == sorted(set(looks)) and all(2 <= look < plan["seeds"] for look in looks),
        f"images.n is {plan['images']['n']}": plan["images"]["n"] > 0,
        "tuning.seeds is out of range": plan["tuning"] is None or 1 <= plan["tuning"]["seeds"] <= MOST_SEEDS,
    }
    return next((text for text, is_good in ranges.items() if not is_good), None)


def extend(plan, seeds, looked_at):
    """The plan with more seeds.

    Args:
        plan: A plan.
        seeds: The new number.
        looked_at: For how many seeds there are results that can be compared. From 2 on, they have an interval.

    Returns:
        A new plan.
    """
    date = provenance.now()
    extension = {"date": date, "from": plan["seeds"], "to": seeds, "looked_at": looked_at}
    looks = sorted({*plan["looks"], looked_at}) if looked_at >= 2 else plan["looks"]
    return plan | {"seeds": seeds, "looks": looks, "extensions": [*plan["extensions"], extension]}


def with_evaluation(plan, sections, limit, trained):
    """The plan with what is measured of the robustness of its models.

    Args:
        plan: A plan.
        sections: Names of sections of the robustness report.
        limit: Number of images; `None` for all.
        trained: Number of training runs that are finished. The report names it; of older plans it is not known.

    Returns:
        The plan, a new one unless it says so already.
    """
    question = {"sections": sorted(sections), "limit": limit}
    before = plan.get("evaluations", [])
    equal = [each["trained"] for each in before if question.items() <= each.items()]
    if equal and question.items() <= before[-1].items():
        return plan
    first = equal[0] if equal else trained if "evaluations" in plan else None
    return plan | {"evaluations": [*before, {"date": provenance.now(), **question, "trained": first}]}


def arms_of(plan):
    """The `Arm`s of a plan."""
    return [study_arms.Arm(name, **settings) for name, settings in plan["arms"].items()]


def seeds_of(plan):
    """The seeds of a plan, a `range`."""
    return range(plan["first_seed"], plan["first_seed"] + plan["seeds"])


def settings_of(plan):
    """Every combination of the dimensions, as a list of dicts."""
    values = [plan["dimensions"][name] for name in DIMENSIONS]
    return [dict(zip(DIMENSIONS, combination, strict=True)) for combination in itertools.product(*values)]


def title_of(plan, setting):
    """How a combination of the dimensions differs from the others; empty if there is only one."""
    words = {
        "fraction": lambda value: f"{100 * value:g} % of the training images",
        "network": str,
        "image_size": lambda value: "original size" if value is None else f"{value} pixels",
        "epochs": lambda value: f"{value} epochs",
    }
    several = [name for name in DIMENSIONS if len(plan["dimensions"][name]) > 1]
    return ", ".join(words[name](setting[name]) for name in several)
