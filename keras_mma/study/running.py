"""Run the cells of a study, one after the other or several at once, and resume where a run was interrupted."""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from keras_mma import files, forms, packing
from keras_mma.errors import InputError, first_line
from keras_mma.study import progress_bar, provenance, study_cells, study_plan, workers

FINISHED, OUT_OF_TIME = "finished", "out of time"
# A process has one random state and one Keras session: threads of a worker take turns.
_ONE_AT_A_TIME = threading.Lock()
_INTERRUPTED = threading.Event()
_NO_BAR = contextlib.nullcontext()


class OutOfTime(Exception):
    """The budget is spent. The cell resumes from its last epoch in the next run."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
        finished: Number of cells that have a record now.
        stopped: Whether the budget ended the run before all cells were finished.
        failures: Dict from the names of cells that failed to the first line of the error.
    """

    finished: int
    stopped: bool
    failures: dict


def run(cells, folder, train, after=None, jobs=1, scheduler=None, budget_minutes=None, progress=False, threads=None):
    """Run all cells that have no record yet.

    A cell is one call of `train(cell, output, on_epoch)`. It writes what it needs to resume into the folder `output`,
    calls `on_epoch(epochs, seconds)` after each epoch, which may raise `OutOfTime`, and returns a dict with `accuracy`
    in [0, 1], the number of `images`, and optionally `correct` (which images were right), `diverged` (`None`, or the
    number of the epoch) and other JSON values.

    Args:
        cells: List of `keras_mma.study.study_cells.Cell`s.
        folder: The folder of the study. On a cluster, all workers must share it.
        train: The function; on several processes it must be one that can be pickled.
        after: A function of the cell that is called where it was trained, when its record has been written.
        jobs: Number of processes on this machine.
        scheduler: Address of a scheduler of `dask.distributed`, whose workers run the cells instead.
        budget_minutes: After this time, every cell stops at the end of an epoch and no other begins.
        progress: Whether to show a bar with the time that is left.
        threads: Number of threads of each training, with several `jobs`. By default they share the cores.

    Returns:
        An `Outcome`.

    Raises:
        InputError: if the disk is full, or the scheduler cannot be reached.
    """
    deadline = None if budget_minutes is None else time.time() + 60 * budget_minutes
    folder = Path(folder).absolute()  # workers of a scheduler have other current folders
    (folder / "records").mkdir(parents=True, exist_ok=True)
    (folder / "trainings").mkdir(exist_ok=True)
    todo = [cell for cell in cells if not study_cells.record_path(folder, cell).exists()]
    threads = threads_of(jobs, scheduler, threads)
    parent = os.getpid() if threads else None

    def count():
        return sum(count_epochs(cell, folder) for cell in cells)

    bar = progress_bar.show(sum(cell.recipe["epochs"] for cell in cells), count) if progress else _NO_BAR
    with _heeding_interruptions(), bar:
        arguments = (folder, train, after, deadline, threads, parent)
        states = workers.for_each(run_cell, todo, arguments, jobs, scheduler, threads)
    named = {cell.name: state for cell, state in zip(todo, states, strict=True)}
    return Outcome(
        finished=sum(study_cells.record_path(folder, cell).exists() for cell in cells),
        stopped=OUT_OF_TIME in states,
        failures={name: state for name, state in named.items() if state not in (FINISHED, OUT_OF_TIME)},
    )


def run_cell(cell, folder, train, after=None, deadline=None, threads=None, parent=None):
    """Run one cell, unless another process has finished it meanwhile.

    Args:
        cell, folder, train, after: See `run`.
        deadline: Time at which the budget ends, in seconds since the epoch of `time.time`.
        threads: Number of threads of the backend; by default as many as there are cores.
        parent: Number of the process that started this one. Once it has ended, the budget has ended too.

    Returns:
        `FINISHED`, `OUT_OF_TIME` or the first line of an error.

    Raises:
        InputError: if the disk is full: the other cells would fail too.
    """
    output = study_cells.training_folder(folder, cell)
    record = study_cells.record_path(folder, cell)

    def spent():
        return before + time.perf_counter() - started

    def is_over(seconds=0.0):
        # Where processes have a new parent once theirs has ended. joblib may also call this in the process itself.
        is_orphan = parent not in (None, os.getppid(), os.getpid())
        return is_orphan or (deadline is not None and time.time() + seconds > deadline)

    def on_epoch(epochs, seconds):
        progress = {"epochs": epochs, "seconds": spent(), "origins": origins}
        files.write(_progress_path(output), json.dumps(progress))
        if _INTERRUPTED.is_set():
            raise KeyboardInterrupt
        if is_over(seconds) and epochs < cell.recipe["epochs"]:
            raise OutOfTime

    try:
        with turn(folder, cell, deadline, threads):
            if record.exists():
                return FINISHED
            if is_over():
                return OUT_OF_TIME
            if not record.parent.is_dir():  # another machine
                return f"a worker needs the folder of the study. Received: {folder}, which it does not have"
            started = time.perf_counter()  # a clock that is set meanwhile moves the end of a budget, but no duration
            origin = provenance.origin()  # that of the code in memory, and not of what it becomes meanwhile
            before, earlier = (_progress(output)[name] for name in ("seconds", "origins"))
            origins = [*(each for each in earlier if each != origin), origin]
            result = train(cell, output, on_epoch)
            files.write_json(record, _record(cell, result, spent(), origins))
            # The training needs no resuming any more; if its record is deleted, it begins anew.
            shutil.rmtree(output / "states", ignore_errors=True)
            _progress_path(output).unlink(missing_ok=True)
            if after is not None:
                after(cell)
            return FINISHED
    except OutOfTime:
        return OUT_OF_TIME
    except Exception as error:
        if files.is_full_disk(error):
            raise InputError(f"{files.full_disk(folder)} ({cell.name})") from error
        return first_line(error)


@contextlib.contextmanager
def _heeding_interruptions():
    """A context in which Ctrl-C ends the run at the latest after the current epoch.

    Python raises `KeyboardInterrupt` wherever it is, and some code ignores it: destructors, and callbacks from C.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return

    def remember(number, frame):
        _INTERRUPTED.set()
        handler(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        _INTERRUPTED.clear()


def threads_of(jobs, scheduler=None, threads=None):
    """Number of threads of each of several processes on this machine, `None` without such processes.

    Args:
        jobs, scheduler: See `run`.
        threads: The number, if it is given. By default the processes share the cores.
    """
    if jobs == 1 or scheduler:
        return None
    return threads or max(1, (os.cpu_count() or 1) // jobs)


@contextlib.contextmanager
def turn(folder, cell, deadline=None, threads=None):
    """A context in which no other thread of this process works, and no other process works on the cell.

    A worker may outlive the process that started it, so that a second one has to wait for it.

    Args:
        folder: The folder of the study.
        cell: The cell.
        deadline: Time until which to wait, in seconds since the epoch of `time.time`.
        threads: Number of threads of the backend, unless it is set already.

    Raises:
        OutOfTime: if the deadline passes before.
    """
    if threads:  # of TensorFlow and of JAX; joblib sets those of PyTorch
        for name in ("TF_NUM_INTRAOP_THREADS", "NPROC"):
            os.environ.setdefault(name, str(threads))
    with _ONE_AT_A_TIME, _locked(folder, cell, deadline):
        yield


@contextlib.contextmanager
def _locked(folder, cell, deadline):
    """The lock of a cell in the folder of its study. Whoever has to wait for another process says so."""
    import filelock

    lock = filelock.FileLock(Path(folder) / "trainings" / f".{cell.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(
            f"keras-mma: {cell.name} is in use by another process, such as a worker of an interrupted study: waiting "
            "for it",
            file=sys.stderr,
        )
        try:
            lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.time()))
        except filelock.Timeout:
            raise OutOfTime from None
    try:
        yield
    finally:
        lock.release()


def count_epochs(cell, folder):
    """Number of finished epochs of a cell."""
    if study_cells.record_path(folder, cell).exists():
        return cell.recipe["epochs"]
    return _progress(study_cells.training_folder(folder, cell))["epochs"]


def _progress_path(output):
    return output / "progress.json"


def _progress(output):
    """Epochs, seconds and origins of a cell in earlier runs."""
    none = {"epochs": 0, "seconds": 0.0, "origins": []}
    try:
        form = {"epochs": int, "seconds": forms.NUMBER, "origins?": [dict]}
        return none | files.read_json(_progress_path(output), form)
    except InputError:  # there is none, or it is damaged: the epochs themselves are in the history
        return none


def count_threads():
    """Number of threads of the backend in this process."""
    given = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count()


def _record(cell, result, seconds, origins):
    """What is kept of a training, whose last epochs have the last of the origins."""
    result = dict(result)
    accuracy, correct = float(result.pop("accuracy")), result.pop("correct", None)
    if not math.isfinite(accuracy):
        raise ValueError(f"a cell must return a finite accuracy. Received: {accuracy}")
    record = {
        "schema": study_cells.SCHEMA,
        "method": cell.method,
        "seed": cell.seed,
        "setting": cell.setting,
        "part": cell.part,
        f"{cell.part}_accuracy": accuracy,
        "diverged": None,
        "seconds": seconds,
        **result,
        "threads": count_threads(),
        "correct": None if correct is None else packing.pack(correct),
        "recipe": cell.recipe,
        "finished": provenance.now(),
        **origins[-1],
        "resumed_from": origins[:-1],
    }
    return study_plan.without_places(record)
