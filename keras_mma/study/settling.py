"""The folder of a study: a plan is written into a new one, and checked against the plan of an existing one."""

from pathlib import Path

from keras_mma import files, forms
from keras_mma.errors import InputError
from keras_mma.study import study_plan

#: Entries that identify a study. The number of seeds is not among them.
_FIXED = ("arms", "baseline", "margin", "first_seed", "part", "recipe", "dimensions", "tuning", "images")


def settle(folder, plan, compared_seeds):
    """Write the plan of a new study, or check it against the plan of an existing one.

    Args:
        folder: The folder of the study.
        plan: What `make` returned.
        compared_seeds: Function of the existing plan that returns for how many seeds there are results that can be
            compared.

    Returns:
        The plan in effect: the old one, with seeds added where `plan` has more of them.

    Raises:
        InputError: If the folder holds another study or other files, or the existing plan has more seeds.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`output` must be a folder. Received: the file {folder}")
    path = folder / "plan.json"
    if not path.exists():
        others = [name for name in files.entries(folder) if not name.startswith(".")] if folder.exists() else []
        if others:
            raise InputError(f"`output` {folder} must be empty or hold a study. Received: {', '.join(others[:3])}")
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(path, study_plan.without_places(plan))
        return plan
    before, place = study_plan.read(folder), plan["recipe"].get("data_dir")
    plan = study_plan.without_places(plan)
    changed = [name for name in _FIXED if _comparable(before[name]) != _comparable(plan[name])]
    if changed:
        values = ", ".join(f"{name} {_difference(name, before[name], plan[name])}" for name in changed)
        is_moved = _without_dataset(before) == _without_dataset(plan)
        same = f"the images are the same: name them as before, {before['recipe']['dataset']}, or link that path to them"
        raise InputError(
            f"`output` {folder} holds another study, with {values}: {same if is_moved else 'choose another folder'}"
        )
    check_layers(before, plan.get("layers", {}))
    if plan["seeds"] < before["seeds"]:
        raise InputError(
            f"`seeds` must not be less than the {before['seeds']} of the plan in {folder}: seeds must not "
            f"be dropped after a look at the results. Received: seeds={plan['seeds']}"
        )
    if plan["seeds"] > before["seeds"]:
        before = study_plan.extend(before, plan["seeds"], compared_seeds(before))
        before |= {name: plan[name] for name in ("command",) if name in plan}
        files.write_json(path, before)
    return before if place is None else before | {"recipe": before["recipe"] | {"data_dir": place}}


def _comparable(entry):
    """An entry of a plan without what follows from the rest and is not in plans of earlier versions."""
    return {name: entry[name] for name in entry if name != "skipped"} if isinstance(entry, dict) else entry


def _without_dataset(plan):
    """What must not change in a plan, without the name of the dataset, which for a folder is a path."""
    dropped = {
        key: {name: value for name, value in plan[key].items() if name != "dataset"} for key in ("recipe", "images")
    }
    return {name: plan[name] for name in _FIXED} | dropped


def check_layers(plan, layers):
    """Raise an `InputError` if an argument of a layer, such as a default, has changed since the plan was written.

    Args:
        plan: A plan.
        layers: Dict from the names of arms to what their layers have now, see `keras_mma.study.planning.check_models`.
    """
    for arm, before in plan.get("layers", {}).items():
        for layer, arguments in before.items():
            changed = forms.first_difference(arguments, layers.get(arm, {}).get(layer, {}))
            if changed is not None:
                name, then, now = changed
                raise InputError(
                    f"the {layer} of {arm} must be that of the plan, which has {name}={then!r}: a default has changed "
                    f"since commit {plan['commit']}. Received: {name}={now!r}"
                )


def _difference(name, before, now):
    """How a plan differs from another."""
    if name == "arms" and set(before) != set(now):
        return ", ".join(before)
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return ", ".join(f"{name}={before.get(name)!r}" for name in names[:3])
    return repr(before)
