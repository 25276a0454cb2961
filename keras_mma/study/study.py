"""Run a study: plan, training runs, statistics and report."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

from keras_mma import checks, files, plotting
from keras_mma.errors import InputError
from keras_mma.study import (
    cell_training,
    evaluation,
    planning,
    report,
    running,
    settling,
    study_cells,
    study_plan,
    tuning,
)


class Study(NamedTuple):
    """The result of a study.

    Args:
        report: The content of `report.json`, a dict.
        stopped: Whether the budget ended it before its last training or measurement.
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
    command=None,
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
        jobs: Number of training runs at once on this machine.
        scheduler: Address of a scheduler of `dask.distributed`, whose workers train instead.
        budget_minutes: Time after which the study stops, to be resumed.
        progress: Whether to show a progress bar.
        train: Function that trains a cell, see `keras_mma.study.running.run`.
        on_plan: Function that is called with the plan before the first training starts.
        command: The command line that calls this function, for the plan, or `None`.
        **settings: Settings of `keras_mma.study.recipe.Recipe`; `fraction`, `network`, `image_size` and `epochs` may be
            lists, whose combinations are compared each by itself.

    Returns:
        A `Study`.

    Raises:
        InputError: If an argument is invalid.
    """
    checks.integer("jobs", jobs)
    if scheduler is not None and jobs != 1:
        raise InputError(f"`jobs` must be 1 with a `scheduler`, whose workers train. Received: jobs={jobs}")
    if budget_minutes is not None and not checks.is_number(budget_minutes):
        raise InputError(f"`budget_minutes` must be a number of minutes. Received: budget_minutes={budget_minutes!r}")
    if evaluate is None and limit is not None:
        raise InputError(f"`limit` applies to `evaluate` only. Received: limit={limit}")
    if not tune and (tune_learning_rate is not None or tune_weight_decay is not None or tune_seeds != 1):
        raise InputError(
            "`tune_learning_rate`, `tune_weight_decay` and `tune_seeds` apply to `tune` only. Received: "
            f"tune_learning_rate={tune_learning_rate}, tune_weight_decay={tune_weight_decay}, "
            f"tune_seeds={tune_seeds}, tune=False"
        )
    plan = planning.make(
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
    plan |= {} if command is None else {"command": command}
    options = None if evaluate is None else _check_sections(evaluate, limit)
    plotting.require()
    folder = Path(output).absolute()  # workers of a scheduler have other current folders
    resources = {"jobs": jobs, "scheduler": scheduler, "budget_minutes": budget_minutes, "progress": progress}
    with _locked(folder):
        plan = settling.settle(
            folder, plan, lambda old: study_cells.compared_seeds(old, tuning.read_results(folder, old)[0])
        )
        if options is not None:
            plan = _with_evaluation(folder, plan, options)
        if on_plan is not None:
            on_plan(plan)
        return _carry_out(folder, plan, options, resources, train)


def _carry_out(folder, plan, options, resources, train):
    _, tuned = tuning.read_results(folder, plan)  # before hours of training
    budget = resources.pop("budget_minutes")
    deadline = None if budget is None else time.time() + 60 * budget

    def run(cells, after=None):
        left = None if deadline is None else (deadline - time.time()) / 60
        return running.run(cells, folder, train, after, budget_minutes=left, **resources)

    if plan["tuning"] is not None:
        todo = tuning.cells_of(plan)
        outcome = run(todo)
        if outcome.finished < len(todo):
            return Study(report.write(folder, plan), outcome.stopped, outcome.failures)
        _, tuned = tuning.read_results(folder, plan)
        files.write_json(folder / "tuned.json", tuned)
    cells = study_cells.of_plan(plan, tuned)
    outcome = run(cells, evaluation.after_training(folder, options))
    stopped = outcome.stopped
    if options is not None and outcome.finished == len(cells) and not outcome.failures:
        stopped = not _measure(folder, plan, cells, options, resources, deadline)
    return Study(report.write(folder, plan), stopped, outcome.failures)


def _with_evaluation(folder, plan, options):
    """The plan with what is measured of the models, which is written down like the rest."""
    records, _ = tuning.read_results(folder, plan)
    trained = sum(cell.name in records for cell in study_cells.of_plan(plan))
    asked = study_plan.with_evaluation(plan, options["only"], options["limit"], trained)
    if asked != plan:
        files.write_json(folder / "plan.json", study_plan.without_places(asked))
    return asked


def _measure(folder, plan, cells, options, resources, deadline):
    """Measure the models, all of them before the deadline. A study where that fails has the report of its runs."""
    records, _ = tuning.read_results(folder, plan)
    where = {name: resources[name] for name in ("jobs", "scheduler")}
    try:
        return evaluation.measure(cells, records, folder, options["only"], options["limit"], deadline, **where)
    except Exception:
        report.write(folder, plan)
        raise


def _check_sections(sections, limit):
    from keras_mma.robustness import Options

    try:
        options = Options(only=tuple(sections), limit=limit)
    except InputError as error:
        raise InputError(str(error).replace("`only`", "`evaluate`").replace("only=", "evaluate=")) from None
    return {"only": options.only, "limit": options.limit}


@contextlib.contextmanager
def _locked(folder):
    """One process at a time. Folders that were created only for the lock are removed."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`output` must be a folder. Received: the file {folder}")
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    files.make_folder(folder)
    files.refuse_links(folder)
    with files.locked(folder, "study"):
        try:
            yield
        finally:
            if not (folder / "plan.json").exists():
                files.remove_lock(folder / files.LOCK, made)
