"""Choose learning rate and weight decay for each method, by the same small grid on the validation part."""

import itertools
import math

from keras_mma import checks
from keras_mma.errors import InputError
from keras_mma.study import study_cells, study_plan

#: The default grid: factors of the values of the recipe.
FACTORS = (1 / 3, 1, 3)
# Far from the seeds of the study, so that the tuning uses none of them.
_SEED_OFFSET = 100_000


def make_grid(recipe, learning_rate=None, weight_decay=None, seeds=1):
    """The entry `tuning` of a plan.

    Args:
        recipe: Dict of the settings of the recipe.
        learning_rate: List of values; by default those of the recipe times `FACTORS`.
        weight_decay: Likewise.
        seeds: Number of seeds of every point of the grid.

    Returns:
        A dict.

    Raises:
        InputError: if a value is negative or not finite, or `seeds` is out of range.
    """
    grid = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    for name, values in grid.items():
        if values is None:
            value = recipe[name]
            # The value of the recipe stays as it is.
            values = (
                [value if factor == 1 else float(f"{factor * value:.3g}") for factor in FACTORS] if value else [value]
            )
        checks.several(f"tune_{name}", values)
        if not values:
            raise InputError(f"`tune_{name}` must have at least one number. Received: {values}")
        if not all(checks.is_number(value) and value >= 0 for value in values):
            raise InputError(f"`tune_{name}` must be finite numbers, not negative. Received: {values}")
        if len({f"{value:g}" for value in values}) < len(set(values)):  # the names of the training runs have six digits
            raise InputError(f"`tune_{name}` must be numbers that differ in the first six digits. Received: {values}")
        grid[name] = sorted(set(values))
    seeds = checks.integer("tune_seeds", seeds)
    if seeds > study_plan.MOST_SEEDS:
        raise InputError(f"`tune_seeds` must be 1 to {study_plan.MOST_SEEDS:,}. Received: tune_seeds={seeds}")
    return grid | {"seeds": seeds}


def cells_of(plan):
    """The cells of the tuning: every point of the grid for every arm, measured on the validation part."""
    tuning = plan["tuning"]
    return [
        study_cells.make(
            plan,
            arm,
            plan["first_seed"] + _SEED_OFFSET + seed,
            setting,
            {"learning_rate": rate, "weight_decay": decay},
            part="validation",
            suffix=f"-lr{rate:g}-wd{decay:g}",
        )
        for setting in study_plan.settings_of(plan)
        for arm in study_plan.arms_of(plan)
        for rate, decay in itertools.product(tuning["learning_rate"], tuning["weight_decay"])
        for seed in range(tuning["seeds"])
    ]


def choose(plan, records):
    """The best point of the grid for each arm, by the mean accuracy on the validation part.

    Args:
        plan: A plan with tuning.
        records: Dict from the names of cells to their records, those of the tuning among them.

    Returns:
        Dict from `study_cells.key_of` to a dict with `learning_rate` and `weight_decay`. Of equal points, the one
        nearest to the recipe is chosen.
    """
    accuracies = {}
    for cell in cells_of(plan):
        point = (cell.recipe["learning_rate"], cell.recipe["weight_decay"])
        of_arm = accuracies.setdefault(study_cells.key_of(cell.method, cell.setting), {})
        of_arm.setdefault(point, []).append(study_cells.accuracy_of(records[cell.name]))
    usual = (plan["recipe"]["learning_rate"], plan["recipe"]["weight_decay"])
    chosen = {}
    for key, points in accuracies.items():
        best = max(points, key=lambda point: (sum(points[point]) / len(points[point]), -_distance(point, usual)))
        chosen[key] = dict(zip(("learning_rate", "weight_decay"), best, strict=True))
    return chosen


def read_results(folder, plan):
    """The records in the folder of a study, after they have been compared with its plan.

    Args:
        folder: The folder of the study.
        plan: Its plan.

    Returns:
        The records, a dict from the names of cells, and what `choose` returns; `None` in place of the latter if the
        plan has no tuning, or the tuning has not finished.

    Raises:
        InputError: if a record is damaged, or of another training.
    """
    records, tuned = study_cells.read_records(folder), None
    if plan["tuning"] is not None:
        todo = cells_of(plan)
        study_cells.check_records(folder, records, todo)
        if any(cell.name not in records for cell in todo):
            return records, None
        tuned = choose(plan, records)
    study_cells.check_records(folder, records, study_cells.of_plan(plan, tuned))
    return records, tuned


def at_the_edge(plan, chosen):
    """Names of the settings that ended at the edge of the grid, for each key of `choose` that has some."""
    edges = {}
    for key, values in chosen.items():
        names = [
            name
            for name, value in values.items()
            if len(plan["tuning"][name]) > 1 and value in (plan["tuning"][name][0], plan["tuning"][name][-1])
        ]
        if names:
            edges[key] = names
    return edges


def _distance(point, other):
    """The distance of two points in factors."""
    return sum(abs(math.log((a or 1e-12) / (b or 1e-12))) for a, b in zip(point, other, strict=True))
