"""Cells: each is run once, whatever happens in between."""

import contextlib
import errno
import functools
import itertools
import json
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from keras_mma import packing
from keras_mma.errors import InputError
from keras_mma.study import evaluation, progress_bar, provenance, running, study_cells, tuning, workers
from tests.study import fakes

ROOT = Path(__file__).parents[2]


def make_cells(**recipe):
    return study_cells.of_plan(fakes.make_plan(("none", "cutmix"), 2, recipe=fakes.RECIPE | recipe))


def epochs(folder, cell):
    return (study_cells.training_folder(folder, cell) / "epochs.txt").read_text().splitlines()


def test_every_cell_has_a_record_and_is_run_once(tmp_path):
    todo = make_cells()
    for _ in range(2):
        assert running.run(todo, tmp_path, fakes.train) == running.Outcome(4, False, {})
    records = study_cells.read_records(tmp_path)
    assert list(records) == sorted(cell.name for cell in todo)
    for cell in todo:
        record = records[cell.name]
        assert [line.split()[0] for line in epochs(tmp_path, cell)] == ["0", "1", "2"]
        assert (record["method"], record["seed"], record["setting"]) == (cell.method, cell.seed, cell.setting)
        assert record["test_accuracy"] == packing.unpack(record["correct"], 200).mean()
        assert record["recipe"] == cell.recipe and record["diverged"] is None and "keras" in record["versions"]
        assert record["threads"] == int(os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count())
    assert not [path for path in tmp_path.rglob("*unfinished*")]
    assert running.count_epochs(todo[0], tmp_path) == 3


def test_a_training_that_is_resumed_by_other_code_says_so(tmp_path, monkeypatch):
    (cell, *_) = make_cells()

    def stops(cell, output, on_epoch):
        fakes.train(cell, output, lambda epochs, seconds: on_epoch(epochs, 1e9 if epochs == 2 else seconds))

    first = provenance.origin()
    assert running.run([cell], tmp_path, stops, budget_minutes=10).stopped
    monkeypatch.setattr(provenance, "origin", lambda: first | {"commit": "new"})
    assert running.run([cell], tmp_path, fakes.train).finished == 1
    record = study_cells.read_records(tmp_path)[cell.name]
    assert record["commit"] == "new" and record["resumed_from"] == [first]


def test_a_training_whose_record_is_deleted_begins_anew(tmp_path):
    (cell, *_) = make_cells()
    running.run([cell], tmp_path, fakes.train)
    study_cells.record_path(tmp_path, cell).unlink()
    assert running.count_epochs(cell, tmp_path) == 0


def test_workers_are_given_absolute_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []

    def for_each(function, items, arguments, *where):
        folders.append(arguments[0])
        return []

    monkeypatch.setattr(workers, "for_each", for_each)
    todo = make_cells()
    running.run([], "s", fakes.train)
    evaluation.measure(todo, {cell.name: {} for cell in todo}, "s", ["clean"], None)
    assert folders == [tmp_path / "s"] * 2


def test_a_cell_that_fails_is_reported_and_the_others_go_on(tmp_path):
    outcome = running.run(make_cells(fails=["cutmix", 0]), tmp_path, fakes.train)
    assert outcome == running.Outcome(3, False, {"cutmix-seed0": "ValueError: no such layer"})
    assert running.run(make_cells(), tmp_path, fakes.train).finished == 4


def test_a_cell_that_diverges_is_recorded_as_such(tmp_path):
    running.run(make_cells(diverges=["cutmix", 1]), tmp_path, fakes.train)
    record = study_cells.read_records(tmp_path)["cutmix-seed1"]
    assert record["diverged"] == 2 and record["test_accuracy"] == 0.1 and record["correct"] is None


def test_an_accuracy_that_is_no_number_is_no_record(tmp_path):
    outcome = running.run(make_cells()[:1], tmp_path, lambda *_: {"accuracy": float("nan"), "images": 1})
    assert "finite accuracy" in outcome.failures["none-seed0"] and not study_cells.read_records(tmp_path)


def test_a_budget_stops_at_the_end_of_an_epoch_and_the_next_run_resumes(tmp_path):
    todo = make_cells(seconds=0.2)
    outcome = running.run(todo, tmp_path, fakes.train, budget_minutes=1.1 / 60)
    assert outcome.stopped and 0 < outcome.finished < 4
    counts = [running.count_epochs(cell, tmp_path) for cell in todo]
    assert 3 <= sum(counts) < 7 and counts == sorted(counts, reverse=True)
    assert running.run(todo, tmp_path, fakes.train) == running.Outcome(4, False, {})
    assert all(len(epochs(tmp_path, cell)) == 3 for cell in todo)
    # Time spent before the stop counts.
    assert all(record["seconds"] >= 0.6 for record in study_cells.read_records(tmp_path).values())
    assert running.run(todo, tmp_path / "other", fakes.train, budget_minutes=-1) == running.Outcome(0, True, {})


def test_a_cell_that_has_done_its_last_epoch_is_recorded_whatever_the_budget(tmp_path):
    (cell, *_) = make_cells(seconds=0.2)
    outcome = running.run([cell], tmp_path, one_long_epoch, budget_minutes=0.1 / 60)
    assert outcome == running.Outcome(1, False, {})


def test_waiting_for_a_turn_is_no_time_of_the_training(tmp_path, monkeypatch):
    turn, clock, waited = running.turn, time.perf_counter, [0]

    @contextlib.contextmanager
    def late(*arguments):
        with turn(*arguments):
            waited[0] += 3600
            yield

    monkeypatch.setattr(running, "turn", late)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + waited[0])
    assert running.run(make_cells()[:1], tmp_path, fakes.train).finished == 1
    assert study_cells.read_records(tmp_path)["none-seed0"]["seconds"] < 3600


def one_long_epoch(cell, output, on_epoch):
    output.mkdir()
    time.sleep(0.2)
    on_epoch(cell.recipe["epochs"], 0.2)
    return {"accuracy": 0.5, "images": 2}


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_changes_no_record(tmp_path, monkeypatch, jump):
    (cell, *_) = make_cells(seconds=0.05)
    actual, calls = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: actual() + jump * next(calls))
    assert running.run([cell], tmp_path, fakes.train) == running.Outcome(1, False, {})
    assert 0.1 <= study_cells.read_records(tmp_path)[cell.name]["seconds"] < 60
    # With a budget, a clock that is set forward stops the run, which then resumes.
    outcome = running.run(make_cells(), tmp_path, fakes.train, budget_minutes=10)
    assert outcome.stopped == (jump > 0) and not outcome.failures
    assert running.run(make_cells(), tmp_path, fakes.train) == running.Outcome(4, False, {})
    assert all(0 <= record["seconds"] < 60 for record in study_cells.read_records(tmp_path).values())


def test_a_cell_in_use_ends_with_the_budget(tmp_path):
    (cell, *_) = make_cells()
    (tmp_path / "trainings").mkdir()
    with filelock.FileLock(tmp_path / "trainings" / f".{cell.name}.lock", is_singleton=False):
        outcome = running.run([cell], tmp_path, fakes.train, budget_minutes=0.5 / 60)
    assert outcome == running.Outcome(0, True, {})
    assert running.run([cell], tmp_path, fakes.train) == running.Outcome(1, False, {})


def test_a_full_disk_is_known_by_its_number(tmp_path):
    def train(*_):
        raise RuntimeError("wrapped") from OSError(errno.EDQUOT, "Disk quota exceeded")

    with pytest.raises(InputError, match="is full"):
        running.run(make_cells(), tmp_path, train)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_run_with_one_line(tmp_path, jobs):
    with pytest.raises(InputError, match="is full: make room and run the same command again") as caught:
        running.run(make_cells(), tmp_path, fakes.full_disk, jobs=jobs)
    assert "\n" not in str(caught.value)
    assert {record["seed"] for record in study_cells.read_records(tmp_path).values()} <= {0}


def test_a_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def no_space(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(InputError, match="is full"):
        running.run(make_cells(epochs=0)[:1], tmp_path, fakes.train)
    monkeypatch.undo()
    assert not list((tmp_path / "records").iterdir())


def test_several_processes_run_each_cell_once(tmp_path):
    todo = make_cells()
    assert running.run(todo, tmp_path, fakes.train_beside_another, jobs=2) == running.Outcome(4, False, {})
    lines = [epochs(tmp_path, cell) for cell in todo]
    assert all(len(of_cell) == 3 for of_cell in lines)
    processes = {line.split()[1] for of_cell in lines for line in of_cell}
    assert len(processes) == 2 and str(os.getpid()) not in processes


def test_an_interruption_that_is_lost_ends_the_run_after_the_epoch(tmp_path):
    def train(cell, output, on_epoch):
        output.mkdir()
        for epoch in (1, 2, 3):
            if epoch == 2:
                with contextlib.suppress(KeyboardInterrupt):  # as a destructor does
                    signal.raise_signal(signal.SIGINT)
            on_epoch(epoch, 0.0)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            running.run(make_cells(), tmp_path, train)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)
    assert [running.count_epochs(cell, tmp_path) for cell in make_cells()] == [2, 0, 0, 0]
    assert running.run(make_cells(), tmp_path, fakes.train).finished == 4


def test_a_cell_ends_with_the_process_that_started_it(tmp_path):
    cell = make_cells()[0]
    (tmp_path / "records").mkdir()
    assert running.run_cell(cell, tmp_path, fakes.train, parent=os.getpid() + 1) == running.OUT_OF_TIME
    # joblib calls it in this very process where it cannot start others.
    assert running.run_cell(cell, tmp_path, fakes.train, parent=os.getpid()) == running.FINISHED


def test_what_resumes_a_training_is_kept_until_it_is_recorded(tmp_path):
    cell = make_cells()[0]
    states = study_cells.training_folder(tmp_path, cell) / "states"

    def train(cell, output, on_epoch):
        states.mkdir(parents=True)
        return fakes.train(cell, output, on_epoch) | {"loss": math.nan}

    outcome = running.run([cell], tmp_path, train)
    assert "not JSON compliant" in outcome.failures[cell.name] and states.exists()
    states.rmdir()
    assert running.run([cell], tmp_path, lambda *words: train(*words) | {"loss": 1.0}).finished == 1
    assert not states.exists()


def test_a_worker_without_the_folder_of_the_study_trains_nothing(tmp_path):
    reason = running.run_cell(make_cells()[0], tmp_path / "elsewhere", None)
    assert reason.startswith("a worker needs the folder of the study. Received: ")


@pytest.mark.slow
def test_a_worker_that_has_ended_is_told(tmp_path):
    with pytest.raises(InputError, match="a worker has ended, perhaps for lack of memory: use fewer `jobs`; the same"):
        running.run(make_cells(), tmp_path, fakes.ends, jobs=2)


@pytest.mark.slow
def test_whoever_comes_second_waits_and_finds_the_record(tmp_path, capsys):
    todo = make_cells(seconds=0.3)[:1]
    first = multiprocessing.get_context("spawn").Process(target=running.run, args=(todo, tmp_path, fakes.train))
    first.start()
    deadline = time.monotonic() + 60
    while not running.count_epochs(todo[0], tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.run_cell(todo[0], tmp_path, fakes.train) == running.FINISHED
    waiting = "keras-mma: none-seed0 is in use by another process"
    assert capsys.readouterr().err.startswith(waiting)
    first.join()
    assert len(epochs(tmp_path, todo[0])) == 3 and len({line.split()[1] for line in epochs(tmp_path, todo[0])}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_resumes(tmp_path, jobs):
    code = (
        "import sys; from pathlib import Path; from tests.study import fakes, test_running as t; "
        f"t.running.run(t.make_cells(seconds=0.3), Path(sys.argv[1]), fakes.train, jobs={jobs})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, start_new_session=True)
    todo = make_cells(seconds=0.3)
    deadline = time.monotonic() + 90
    while sum(running.count_epochs(cell, tmp_path) for cell in todo) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the workers of two jobs outlive it until the end of an epoch
    before = sum(running.count_epochs(cell, tmp_path) for cell in todo)
    assert 4 <= before < 12
    assert running.run(todo, tmp_path, fakes.train) == running.Outcome(4, False, {})
    assert all([line.split()[0] for line in epochs(tmp_path, cell)] == ["0", "1", "2"] for cell in todo)
    undisturbed = tmp_path / "undisturbed"
    running.run(make_cells(), undisturbed, fakes.train)
    for name, record in study_cells.read_records(undisturbed).items():
        assert study_cells.read_records(tmp_path)[name]["test_accuracy"] == record["test_accuracy"]


def test_the_bar_counts_epochs_of_all_processes(tmp_path, capsys):
    todo = make_cells(seconds=0.05)
    running.run(todo[:1], tmp_path, fakes.train)
    running.run(todo, tmp_path, fakes.train, progress=True)
    shown = capsys.readouterr().err
    assert "3/12" in shown and "12/12" in shown and "epoch" in shown
    # Not a terminal: lines without control characters.
    assert all(character == "\n" or character.isprintable() for character in shown)


def test_the_bar_estimates_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "_POLL", 0.05)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    started = time.perf_counter()
    with progress_bar.show(100, lambda: int((time.perf_counter() - started) / 0.2)):  # an epoch takes 0.2 seconds
        time.sleep(1.0)
    estimates = re.findall(r"\b[1-9]/100 \[\d+:\d+<00:(\d\d)", capsys.readouterr().err)
    assert estimates and 5 < int(estimates[-1]) < 40  # 19 seconds


def test_a_damaged_record_is_named(tmp_path):
    running.run(make_cells()[:1], tmp_path, fakes.train)
    (tmp_path / "records" / "none-seed0.json").write_text("{")
    with pytest.raises(InputError, match="none-seed0.json cannot be read.*delete the file to repeat this training"):
        study_cells.read_records(tmp_path)
    (tmp_path / "records" / "none-seed0.json").write_text(json.dumps({"schema": "other"}))
    with pytest.raises(InputError, match="must be a record of this version"):
        study_cells.read_records(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"test_accuracy": 7.0}, "test_accuracy is 7.0"),
        ({"test_accuracy": "x"}, "test_accuracy is 'x'"),
        ({"test_accuracy": None}, "test_accuracy is None"),
        ({"test_accuracy": float("nan")}, "NaN is not JSON"),
        ({"correct": "AAAA"}, "correct: ValueError: a text of 1000 values must have 125 bytes"),
        ({"correct": 5}, "correct is 5"),
        ({"seconds_per_epoch": "x"}, "seconds_per_epoch is 'x'"),
        ({"images": 0, "correct": None}, "images is 0"),
        ({"seconds": 10**400}, "seconds is 1000"),
        ({"part": ["test"]}, r"lacks \['test'\]_accuracy"),
        ({"part": "validation"}, "lacks validation_accuracy"),
        ({"recipe": []}, r"recipe is \[\]"),
    ],
)
def test_a_record_of_another_form_is_named(tmp_path, changes, match):
    plan = fakes.make_plan()
    cell = study_cells.of_plan(plan)[0]
    record = fakes.make_record(cell, 0.7) | changes
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "none-seed0.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"none-seed0.json .*{match}.*; delete (it|the file) to repeat this training"):
        study_cells.read_records(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 77}, "seed=77 instead of 0"),
        ({"method": "other"}, "method='other' instead of 'none'"),
        ({"recipe": {"epochs": 999}}, "epochs=999 instead of 3"),
        ({"setting": {}}, "setting={} instead of"),
    ],
)
def test_a_record_of_another_training_is_refused(tmp_path, changes, match):
    plan = fakes.make_plan()
    record = fakes.make_record(study_cells.of_plan(plan)[0], 0.7)
    changes = {key: record[key] | value if key == "recipe" else value for key, value in changes.items()}
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / "none-seed0.json"
    path.write_text(json.dumps(record))
    assert tuning.read_results(tmp_path, plan) == ({"none-seed0": record}, None)
    path.write_text(json.dumps(record | changes))
    with pytest.raises(InputError, match=f"none-seed0.json is the record of another training, with .*{match}"):
        tuning.read_results(tmp_path, plan)


def test_records_of_different_images_are_refused(tmp_path):
    plan = fakes.make_plan()
    (tmp_path / "records").mkdir()
    for cell, images in zip(study_cells.of_plan(plan)[:2], (1000, 2000), strict=True):
        (tmp_path / "records" / f"{cell.name}.json").write_text(json.dumps(fakes.make_record(cell, 0.7, images)))
    with pytest.raises(InputError, match=r"must be of the same images. Received: \[1000, 2000\] images"):
        tuning.read_results(tmp_path, plan)


def test_records_of_other_images_are_refused(tmp_path):
    todo = make_cells()
    running.run(todo, tmp_path, lambda *arguments: fakes.train(*arguments) | {"sha256": {"train": "a", "test": "b"}})
    study_cells.check_records(tmp_path, study_cells.read_records(tmp_path), todo)
    path = study_cells.record_path(tmp_path, todo[2])
    path.write_text(path.read_text().replace('"train": "a"', '"train": "c"'))
    with pytest.raises(InputError, match="must be of the same images as none-seed0, whose digests"):
        study_cells.check_records(tmp_path, study_cells.read_records(tmp_path), todo)


def test_a_grid_of_values_with_the_same_name_is_refused():
    with pytest.raises(InputError, match="`tune_learning_rate` must be numbers that differ in the first six digits"):
        tuning.make_grid({"weight_decay": 0.0}, learning_rate=[0.1, 0.1000000001])


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"epochs": "x", "seconds": 1}', "[" * 100_000])
def test_damaged_progress_counts_as_none(tmp_path, text):
    (cell, *_) = make_cells()
    folder = study_cells.training_folder(tmp_path, cell)
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(text)
    assert running.count_epochs(cell, tmp_path) == 0
    assert running.run([cell], tmp_path, fakes.train).finished == 1


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler with two worker processes, all of them processes of their own."""
    pytest.importorskip("distributed")
    contact = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(contact), "--no-dashboard"]
    commands = [["dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--dashboard-address", ":0", *common]]
    commands += [["dask_worker", "--nthreads", "1", "--local-directory", str(tmp_path), *common]] * 2
    processes = []
    for name, *words in commands:
        command = [sys.executable, "-m", f"distributed.cli.{name}", *words]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    deadline = time.monotonic() + 60
    while not contact.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield json.loads(contact.read_text())["address"]
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(30)


@pytest.mark.slow
def test_the_workers_of_a_scheduler_run_each_cell_once(tmp_path, cluster):
    from distributed import Client

    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
    study = tmp_path / "study"
    todo = make_cells(seconds=0.3)
    after = functools.partial(fakes.measure, folder=study)
    outcome = running.run(todo, study, fakes.train, after, scheduler=cluster, progress=True)
    assert outcome == running.Outcome(4, False, {})
    lines = [epochs(study, cell) for cell in todo]
    assert all(len(of_cell) == 3 for of_cell in lines)
    processes = {line.split()[1] for of_cell in lines for line in of_cell}
    assert len(processes) == 2 and str(os.getpid()) not in processes
    assert running.run(todo, study, fakes.train, scheduler=cluster).finished == 4
    measured = [json.loads(study_cells.measurement_path(study, cell.name).read_text()) for cell in todo]
    assert {str(each["process"]) for each in measured} == processes
    assert evaluation.measure(todo, study_cells.read_records(study), study, ["clean"], scheduler=cluster)
    study_cells.record_path(study, todo[0]).unlink()  # which a worker needs
    with pytest.raises(InputError, match="none-seed0"):
        evaluation.measure(todo, dict.fromkeys((cell.name for cell in todo), {}), study, ["clean"], scheduler=cluster)
    with pytest.raises(InputError, match="is full"):
        running.run(make_cells(), tmp_path / "full", fakes.full_disk, scheduler=cluster)


@pytest.mark.slow
def test_the_workers_of_a_scheduler_train_networks(tmp_path, cluster, needs_tensorflow):
    from keras_mma.study import cell_training

    todo = make_cells()[:2]
    assert running.run(todo, tmp_path, cell_training.train_cell, scheduler=cluster) == running.Outcome(2, False, {})
    for record in study_cells.read_records(tmp_path).values():
        assert record["test_accuracy"] > 0.2 and record["versions"]["keras"]


def test_a_scheduler_that_cannot_be_reached(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "_SCHEDULER_TIMEOUT", 1)
    with pytest.raises(InputError, match="`scheduler` 127.0.0.1:1 cannot be reached"):
        running.run(make_cells(), tmp_path, fakes.train, scheduler="127.0.0.1:1")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(InputError, match="`scheduler` must have at least one worker"),
    ):
        running.run(make_cells(), tmp_path, fakes.train, scheduler=empty.scheduler_address)


@pytest.mark.slow
def test_the_workers_of_the_command_print_no_lines_that_tensorflow_logs():
    code = (
        "import sys, keras_mma_command\n"
        "from keras_mma.study import study_cells, study_plan, workers\n"
        "print('imported', file=sys.stderr, flush=True)\n"
        "setting = dict.fromkeys(study_plan.DIMENSIONS, 1)\n"
        "assert len(workers.for_each(study_cells.key_of, ['a', 'b'], (setting,), jobs=2)) == 2\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("imported\n")[1] == ""
