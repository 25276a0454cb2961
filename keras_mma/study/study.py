"""Run a study: plan, trainings, statistics and report."""

import contextlib
import dataclasses
from pathlib import Path
from typing import NamedTuple

import keras

from keras_mma import files, plotting
from keras_mma.errors import InputError, first_line
from keras_mma.study import arms as study_arms
from keras_mma.study import cell_training, evaluation, recipe, report, running, tuning
from keras_mma.study import cells as study_cells
from keras_mma.study import plan as plans
from keras_mma.study.regimes import REGIMES

#: Settings of a recipe that a study does not take: they belong to its arms and cells.
NOT_SETTINGS = ("method", "mixer_arguments", "adapt_arguments", "seed")


class Study(NamedTuple):
    """The result of a study.

    Args:
        report: The content of `report.json`, a dict.
        stopped: Whether the budget ended it before its last training.
        failures: Dict from the names of cells that failed to the first line of the error.
    """

    report: dict
    stopped: bool
    failures: dict


def study(
    output,
    methods,
    *,
    baseline=None,
    seeds=5,
    first_seed=0,
    margin=0.5,
    part="test",
    regime=None,
    tune=False,
    tune_learning_rate=None,
    tune_weight_decay=None,
    tune_seeds=1,
    evaluate=None,
    limit=None,
    jobs=1,
    scheduler=None,
    budget_minutes=None,
    progress=False,
    train=cell_training.train_cell,
    on_plan=None,
    **settings,
):
    """Compare methods on a dataset: train every method with every seed, and write the report.

    A call with the same arguments resumes, and one with more seeds extends the study.

    Args:
        output: Folder of the study, created if it does not exist.
        methods: List of `keras_mma.study.arms.Arm`s or of their spellings, such as `"cutmix+mma(temperature=1)"`.
        baseline: Name of the method with which the others are compared; by default `"none"` where it is among them,
            and otherwise the first.
        seeds: Number of seeds, at least 2.
        first_seed: The first seed.
        margin: Largest difference that does not matter, in percentage points.
        part: Part of the dataset on which accuracy is measured: `"test"`, or `"validation"` for choices.
        regime: Name of settings in `keras_mma.study.regimes.REGIMES`, which `settings` replace.
        tune: Whether to choose learning rate and weight decay for each method, the baseline included.
        tune_learning_rate: List of learning rates of the grid; by default a third, one and three times the usual one.
        tune_weight_decay: List of weight decays, likewise.
        tune_seeds: Number of seeds of each point of the grid.
        evaluate: Sections of the robustness report that are measured of every model, or `None`.
        limit: Number of images of these sections; all by default.
        jobs: Number of trainings at once on this machine.
        scheduler: Address of a scheduler of `dask.distributed`, whose workers train instead.
        budget_minutes: Time after which the study stops, to be resumed.
        progress: Whether to show a progress bar.
        train: Function that trains a cell, see `keras_mma.study.running.run`.
        on_plan: Function that is called with the plan before the first training starts.
        **settings: Settings of `keras_mma.study.recipe.Recipe`; `fraction`, `network`, `image_size` and `epochs` may be
            lists, whose combinations are compared each by itself.

    Returns:
        A `Study`.

    Raises:
        InputError: If an argument is invalid.
    """
    if jobs < 1:
        raise InputError(f"`jobs` must be a positive integer. Received: jobs={jobs}")
    if evaluate is None and limit is not None:
        raise InputError(f"`limit` applies to `evaluate` only. Received: limit={limit}")
    if not tune and (tune_learning_rate is not None or tune_weight_decay is not None):
        raise InputError(
            "`tune_learning_rate` and `tune_weight_decay` apply to `tune` only. Received: "
            f"tune_learning_rate={tune_learning_rate}, tune_weight_decay={tune_weight_decay}, tune=False"
        )
    plan = make_plan(
        methods,
        baseline,
        regime,
        settings,
        {"learning_rate": tune_learning_rate, "weight_decay": tune_weight_decay, "seeds": tune_seeds} if tune else None,
        seeds=seeds,
        first_seed=first_seed,
        margin=margin,
        part=part,
    )
    options = None if evaluate is None else _check_sections(evaluate, limit)
    plotting.require()
    folder = Path(output)
    resources = {"jobs": jobs, "scheduler": scheduler, "budget_minutes": budget_minutes, "progress": progress}
    with _locked(folder):
        plan = plans.settle(
            folder, plan, lambda old: study_cells.complete_seeds(old, tuning.read_records(folder, old)[0])
        )
        if on_plan is not None:
            on_plan(plan)
        return _carry_out(folder, plan, options, resources, train)


def make_plan(methods, baseline=None, regime=None, settings=None, grid=None, **arguments):
    """The plan of a study, after its settings have been checked.

    Args:
        methods, baseline, regime: See `study`.
        settings: Dict of settings of the recipe.
        grid: `None`, or a dict with the arguments of `keras_mma.study.tuning.make_grid`.
        **arguments: Other arguments of `keras_mma.study.plan.make`.

    Returns:
        A plan.

    Raises:
        InputError: If an argument is invalid.
    """
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
    images = getattr(data, part if part in plans.PARTS else "test")
    plan = plans.make(
        arms,
        baseline,
        recipe=shared,
        dimensions=dimensions,
        images={
            "dataset": shared["dataset"],
            "n": len(images),
            "classes": images.classes,
            "selection": images.selection,
            "sha256": images.digest(),
            "training_images": len(data.train),
            "training_sha256": data.train.digest(),
        },
        tuning=None if grid is None else tuning.make_grid(shared, **grid),
        **arguments,
    )
    check_models(plan)
    return plan


def check_models(plan):
    """Build the model of every arm once, so that a wrong argument is found before the first training.

    Raises:
        InputError: if a model cannot be built.
    """
    for setting in plans.settings_of(plan):
        network = None
        for arm in plans.arms_of(plan):
            cell = study_cells.make(plan, arm, plan["first_seed"], setting)
            try:
                settings = cell_training.make_recipe(cell)
                train = cell_training.load(settings).train
                train = train.balanced_subset(settings.fraction, settings.seed)
                if network is None:
                    network = recipe.make_network(settings, train)
                recipe.add_mixing(settings, network)
            except InputError:
                raise
            except (ValueError, TypeError) as error:
                raise InputError(f"`methods` {arm.name} cannot be built: {first_line(error)}") from error
    keras.backend.clear_session()


def _carry_out(folder, plan, options, resources, train):
    _, tuned = tuning.read_records(folder, plan)  # before hours of training
    if plan["tuning"] is not None:
        todo = tuning.cells_of(plan)
        outcome = running.run(todo, folder, train, **resources)
        if outcome.finished < len(todo):
            return Study(_report(folder, plan), outcome.stopped, outcome.failures)
        _, tuned = tuning.read_records(folder, plan)
        files.write_json(folder / "tuned.json", tuned)
    cells = study_cells.of_plan(plan, tuned)
    outcome = running.run(cells, folder, train, evaluation.after_training(folder, options), **resources)
    robustness = None
    if options is not None and outcome.finished == len(cells):
        records, _ = tuning.read_records(folder, plan)
        where = {name: resources[name] for name in ("jobs", "scheduler")}
        measured = evaluation.measure(cells, records, folder, options["only"], options["limit"], **where)
        images = min(options["limit"] or plan["images"]["n"], plan["images"]["n"])
        robustness = evaluation.compare(plan, measured, images)
    return Study(_report(folder, plan, robustness), outcome.stopped, outcome.failures)


def _report(folder, plan, robustness=None):
    records, tuned = tuning.read_records(folder, plan)
    return report.save(folder, plans.without_places(plan), records, robustness, tuned)


def _settings(regime, settings):
    """The settings that all cells share, and the lists of values of those that can have several."""
    if regime is not None and regime not in REGIMES:
        raise InputError(f"`regime` must be one of {', '.join(REGIMES)}. Received: regime={regime!r}")
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(recipe.Recipe)
        if field.default is not dataclasses.MISSING and field.name not in NOT_SETTINGS
    }
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise InputError(
            f"`{unknown[0]}` must be a setting of the recipe: {', '.join(defaults)}. "
            f"Received: {unknown[0]}={settings[unknown[0]]!r}"
        )
    merged = defaults | (REGIMES[regime] if regime else {}) | settings
    if merged["image_size"] is None and str(merged["dataset"]).startswith("folder:"):
        merged["image_size"] = 32
    dimensions = {}
    for name in plans.DIMENSIONS:
        value = merged.pop(name)
        dimensions[name] = list(value) if isinstance(value, list | tuple) else [value]
    return merged, dimensions


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


def _check_sections(sections, limit):
    from keras_mma.robustness import Options

    try:
        options = Options(only=tuple(sections), limit=limit)
    except InputError as error:
        raise InputError(str(error).replace("`only`", "`evaluate`").replace("only=", "evaluate=")) from None
    return {"only": options.only, "limit": options.limit}


@contextlib.contextmanager
def _locked(folder):
    """One process at a time. A folder that was created only for the lock is removed."""
    import filelock

    existed = folder.exists()
    if existed and not folder.is_dir():
        raise InputError(f"`output` must be a folder. Received: the file {folder}")
    files.make_folder(folder)
    files.refuse_links(folder)
    path = folder / ".lock"
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(f"`output` must not be in use by another study: wait for it. Received: {folder}") from None
    finally:
        if not (folder / "plan.json").exists():
            path.unlink(missing_ok=True)
            if not existed:
                with contextlib.suppress(OSError):
                    folder.rmdir()
