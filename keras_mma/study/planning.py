"""Make the plan of a study from its arguments, after they have been checked with its images and models."""

import contextlib
import dataclasses
import json

import keras
import numpy as np

from keras_mma import checks, layers
from keras_mma.errors import InputError, first_line
from keras_mma.study import arms as study_arms
from keras_mma.study import cell_training, recipe, study_cells, study_plan, tuning
from keras_mma.study.regimes import REGIMES

# Arguments of a layer that differ between the cells, sites and machines of a study.
_OF_ONE_LAYER = ("name", "trainable", "dtype", "seed", "site", "data_format")


@contextlib.contextmanager
def _naming_methods():
    """A context in which errors of a recipe, which has one method, name the argument of a study."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("`method`", "`methods`")) from error


@_naming_methods()
def make(methods, baseline=None, regime=None, settings=None, grid=None, **arguments):
    """The plan of a study, after its settings have been checked.

    Args:
        methods, baseline, regime: See `keras_mma.study.study.study`.
        settings: Dict of settings of the recipe.
        grid: `None`, or a dict with the arguments of `keras_mma.study.tuning.make_grid`.
        **arguments: Other arguments of `keras_mma.study.study_plan.make`.

    Returns:
        A plan.

    Raises:
        InputError: If an argument is invalid.
    """
    checks.several("methods", methods)
    arms = [arm if isinstance(arm, study_arms.Arm) else study_arms.parse(arm) for arm in methods]
    if baseline is None:
        names = [arm.name for arm in arms]
        baseline = "none" if "none" in names else next(iter(names), None)
    study_arms.check(arms, baseline, recipe.METHODS)
    shared, dimensions = _settings(regime, settings or {})
    parts = {}
    for image_size in dimensions["image_size"]:
        parts[image_size] = cell_training.load(_recipe(shared, dimensions, arms[0], image_size=image_size))
    part = arguments.get("part", "test")
    if part == "validation" or grid is not None:
        _check_validation(parts, shared)
    data = next(iter(parts.values()))
    plan = study_plan.make(
        arms,
        baseline,
        recipe=shared,
        dimensions=dimensions,
        images=describe_images(shared["dataset"], data, part if part in study_plan.PARTS else "test"),
        tuning=None if grid is None else tuning.make_grid(shared, **grid),
        **arguments,
    )
    return plan | {"layers": check_models(plan)}


def describe_images(dataset, data, part):
    """What a plan holds of its images, a dict of JSON values.

    Args:
        dataset: Name of the dataset.
        data: What `keras_mma.study.cell_training.load` returned.
        part: Name of the part that is measured.
    """
    images = getattr(data, part)
    skipped = {*images.skipped, *data.train.skipped}
    return {
        "dataset": dataset,
        "n": len(images),
        "classes": data.train.classes,
        "selection": images.selection,
        "sha256": images.digest(),
        "training_images": len(data.train),
        "training_sha256": data.train.digest(),
        **({"skipped": len(skipped)} if skipped else {}),
    }


def check_models(plan):
    """Build the model of every arm once, so that a wrong argument is found before the first training.

    Returns:
        Dict from the names of the arms to the arguments of their layers, those with their defaults included: a dict
        from `"mixer"` and `"adapter"` to dicts of JSON values.

    Raises:
        InputError: if a model cannot be built.
    """
    built = {}
    for setting in study_plan.settings_of(plan):
        network = None
        for arm in study_plan.arms_of(plan):
            cell = study_cells.make(plan, arm, plan["first_seed"], setting)
            settings = cell_training.make_recipe(cell)
            train = cell_training.load(settings).train
            train = train.balanced_subset(settings.fraction, settings.seed)
            if network is None:
                network = _build("network", settings.network, recipe.make_network, settings, train)
            if arm.mixing_points is not None and not settings.mixes_features:
                raise InputError(
                    f"`methods` must not have mixing points for {arm.method}, which mixes no features. "
                    f"Received: {arm.name} with {list(arm.mixing_points)}"
                )
            at = "`at`" if "mixing_points" in arm.settings() else "`mixing_points`"
            built[arm.name] = _arguments(_build("methods", arm.name, recipe.add_mixing, settings, network, at=at))
    keras.backend.clear_session()
    return built


def _build(option, value, function, *arguments, at="`at`"):
    """The model that a function returns. Its errors name the option, and the one that gives the argument `at`."""
    try:
        return function(*arguments)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        message = first_line(error).replace("`at`", at)
        raise InputError(f"`{option}` {value} cannot be built: {message}") from error


def _arguments(model):
    """The arguments of the mixer of a model and of its first layer at a feature site."""
    kinds = {"mixer": layers.Mixer, "adapter": layers.FeatureMixer}
    found = {}
    for layer in model.layers:
        for name, kind in kinds.items():
            if isinstance(layer, kind) and name not in found:
                found[name] = json.loads(json.dumps(_shared(layer.get_config()), default=str))
    return found


def _shared(config):
    """A config without `_OF_ONE_LAYER`, in the layers that it holds too."""
    if isinstance(config, dict):
        return {key: _shared(value) for key, value in config.items() if key not in _OF_ONE_LAYER}
    return [_shared(value) for value in config] if isinstance(config, list | tuple) else config


def _settings(regime, settings):
    """The settings that all cells share, and the lists of values of those that can have several."""
    if regime is not None and regime not in REGIMES:
        raise InputError(f"`regime` must be one of {', '.join(REGIMES)}. Received: regime={regime!r}")
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(recipe.Recipe)
        if field.default is not dataclasses.MISSING and field.name not in study_plan.OF_CELLS
    }
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise InputError(
            f"`{unknown[0]}` must be a setting of the recipe: {', '.join(defaults)}. "
            f"Received: {unknown[0]}={settings[unknown[0]]!r}"
        )
    merged = defaults | (REGIMES[regime] if regime else {}) | settings
    merged = {name: _plain(value) for name, value in merged.items()}
    if merged["image_size"] is None and str(merged["dataset"]).startswith("folder:"):
        merged["image_size"] = 32
    dimensions = {}
    for name in study_plan.DIMENSIONS:
        value = merged.pop(name)
        dimensions[name] = value if isinstance(value, list) else [value]
        if value == []:
            raise InputError(f"`{name}` must have at least one value. Received: {name}=[]")
    return merged, dimensions


def _plain(value):
    """A value of a setting as JSON can hold it: a number of NumPy as one of Python, a sequence as a list."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _recipe(shared, dimensions, arm, **changes):
    values = {name: values[0] for name, values in dimensions.items()}
    return recipe.Recipe(**shared | values | arm.settings() | changes)


def _check_validation(parts, shared):
    for data in parts.values():
        if not hasattr(data, "validation"):
            raise InputError(
                "`validation_fraction` must be positive for measuring on the validation part and for `tune`. Received: "
                f"validation_fraction={shared['validation_fraction']}"
            )
