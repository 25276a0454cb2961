"""The robustness of the models of a study, which is kept beside their records."""

import time
import types

import filelock
import numpy as np
import pytest
from scipy import stats

from keras_mma import files, robustness
from keras_mma.errors import InputError
from keras_mma.study import cell_training, evaluation, provenance, report, running, study_cells, study_plan
from tests.study import fakes


@pytest.fixture
def todo():
    return study_cells.of_plan(fakes.make_plan(("none", "cutmix"), 2, recipe=fakes.RECIPE))


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells whose models are measured."""
    names = []

    def measure(cell, folder, sections, limit):
        names.append(cell.name)
        return {"clean": float(len(names))}

    monkeypatch.setattr(evaluation, "_measure_model", measure)
    return names


def train(cell, output, on_epoch):
    return fakes.train(cell, output, on_epoch) | {"loss": 0.5}


def read(folder):
    """The accuracy `clean` of each cell, and the number of images."""
    measured = evaluation.read(folder, study_cells.read_records(folder))
    return measured and ({name: each["clean"] for name, each in measured.accuracies.items()}, measured.images)


def test_a_model_is_measured_once_when_it_is_trained(tmp_path, todo, measured):
    after = evaluation.after_training(tmp_path, {"only": ("clean",), "limit": 9})
    assert running.run(todo, tmp_path, train, after) == running.Outcome(4, False, {})
    assert measured == [cell.name for cell in todo]
    evaluation.measure(todo, study_cells.read_records(tmp_path), tmp_path, ("clean",), 9)
    assert read(tmp_path) == ({cell.name: 1.0 + number for number, cell in enumerate(todo)}, 9) and len(measured) == 4


def test_another_training_or_question_is_measured_again(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, train)
    counts = []
    for sections, limit in (
        (["clean"], 9),
        (["clean"], 9),
        (["clean"], 8),
        (["clean", "attack"], 8),
        (["attack", "clean"], 8),
    ):
        evaluation.measure_cell(todo[0], tmp_path, sections, limit)
        counts.append(len(measured))
    assert counts == [1, 1, 2, 3, 3]
    path = study_cells.record_path(tmp_path, todo[0])
    files.write_json(path, files.read_json(path) | {"loss": 0.25})
    assert read(tmp_path) is None
    evaluation.measure_cell(todo[0], tmp_path, ("clean", "attack"), 8)
    assert len(measured) == 4 and read(tmp_path) == ({todo[0].name: 4.0}, 8)


def test_robustness_needs_all_models_and_one_question(tmp_path, todo, measured):
    running.run(todo, tmp_path, train)
    for cell in todo[:-1]:
        evaluation.measure_cell(cell, tmp_path, ("clean",), None)
    assert read(tmp_path) is None
    evaluation.measure_cell(todo[-1], tmp_path, ("clean",), 9)
    assert read(tmp_path) is None
    evaluation.measure_cell(todo[-1], tmp_path, ("clean",), None)
    assert read(tmp_path) == (dict(zip([cell.name for cell in todo], (1.0, 2.0, 3.0, 5.0), strict=True)), 200)


def test_measures_that_some_models_lack_are_left_out(tmp_path, todo, measured):
    """A later version may measure more."""
    running.run(todo[:2], tmp_path, train)
    for cell in todo[:2]:
        evaluation.measure_cell(cell, tmp_path, ("clean",), None)
    path = study_cells.measurement_path(tmp_path, todo[1].name)
    kept = files.read_json(path)
    files.write_json(path, kept | {"accuracies": {"mean": 3.0} | kept["accuracies"]})
    measured = evaluation.read(tmp_path, study_cells.read_records(tmp_path))
    assert [list(each) for each in measured.accuracies.values()] == [["clean"], ["clean"]]


def test_the_report_of_another_question_is_replaced(tmp_path, todo, monkeypatch):
    """`robustness.evaluate` would refuse to replace one of more images or of another training."""
    place = study_cells.training_folder(tmp_path, todo[0]) / "robustness"
    (place / "unfinished").mkdir(parents=True)
    (place / "report.json").write_text("{}")

    def evaluate(model, images, only, limit, output):
        assert output == place and not (place / "report.json").exists() and (place / "unfinished").exists()
        return {"clean": {"error": 0.25}}

    monkeypatch.setattr(robustness, "evaluate", evaluate)
    monkeypatch.setattr(cell_training, "load", lambda recipe: types.SimpleNamespace(test=None, validation=None))
    assert evaluation._measure_model(todo[0], tmp_path, ("clean",), 8) == {"clean": 75.0}


def test_a_damaged_measurement_says_what_to_do(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, train)
    evaluation.measure_cell(todo[0], tmp_path, ("clean",), 9)
    study_cells.measurement_path(tmp_path, todo[0].name).write_text('{"sections": ')
    with pytest.raises(InputError, match="delete the file to measure the model again"):
        evaluation.measure_cell(todo[0], tmp_path, ("clean",), 9)


def test_a_cell_that_diverged_is_not_measured(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, lambda *arguments: train(*arguments) | {"diverged": 1, "accuracy": 0.1})
    evaluation.measure_cell(todo[0], tmp_path, ("clean",), 9)
    assert not measured and read(tmp_path) is None
    running.run(todo, tmp_path, train)
    evaluation.measure(todo, study_cells.read_records(tmp_path), tmp_path, ("clean",), 9)
    assert measured == [cell.name for cell in todo[1:]]


def test_a_cell_that_diverged_has_the_accuracy_of_chance_or_less(tmp_path, todo, monkeypatch):
    """Where the others have less, as under attack, one that gives every image the same class would be the best."""
    attack = iter([3.0, 2.0, 4.0, 1.0])
    monkeypatch.setattr(evaluation, "_measure_model", lambda *_: {"clean": 70.0, "attack": next(attack)})
    dimensions = fakes.DIMENSIONS | {"epochs": [3, 4]}
    todo = [*todo, *study_cells.of_plan(fakes.make_plan(("none", "cutmix"), 2, dimensions=dimensions))[-1:]]
    running.run(todo[:1], tmp_path, lambda *arguments: train(*arguments) | {"diverged": 1, "accuracy": 0.1})
    running.run(todo, tmp_path, train)
    evaluation.measure(todo, study_cells.read_records(tmp_path), tmp_path, ("clean", "attack"), 9)
    accuracies = evaluation.read(tmp_path, study_cells.read_records(tmp_path)).accuracies
    assert accuracies[todo[-1].name]["attack"] == 1.0  # of another setting
    assert accuracies[todo[0].name] == {"clean": 10.0, "attack": 2.0}


def test_the_report_has_what_the_plan_asks_for(tmp_path, todo, measured):
    plan = study_plan.with_evaluation(fakes.make_plan(("none", "cutmix"), 2), ("clean",), 9, 0)
    running.run(todo, tmp_path, train)
    for sections, limit, is_asked in ((("clean",), 8, False), (("clean", "attack"), 9, False), (("clean",), 9, True)):
        for cell in todo:
            evaluation.measure_cell(cell, tmp_path, sections, limit)
        found = evaluation.read(tmp_path, study_cells.read_records(tmp_path), plan["evaluations"][-1])
        assert (found is not None) == is_asked and read(tmp_path)


def test_a_measurement_names_its_origin(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, train)
    evaluation.measure_cell(todo[0], tmp_path, ("clean",), None)
    kept = files.read_json(study_cells.measurement_path(tmp_path, todo[0].name))
    assert {name: kept[name] for name in ("commit", "backend", "versions")} == provenance.origin() and kept["finished"]


def test_the_report_says_what_changed_between_measurements(tmp_path, todo, measured, monkeypatch):
    plan = study_plan.with_evaluation(fakes.make_plan(("none", "cutmix"), 2), ("clean",), 9, 0)
    running.run(todo, tmp_path, train)
    origin = provenance.origin()
    for cell, scipy in zip(todo, ("1.14.0", "1.14.0", "1.15.0", "1.14.0"), strict=True):
        versions = origin["versions"] | {"scipy": scipy}
        monkeypatch.setattr(provenance, "origin", lambda versions=versions: origin | {"versions": versions})
        evaluation.measure_cell(cell, tmp_path, ("clean",), 9)
    made = report.write(tmp_path, plan)
    assert made["robustness"]["changed"] == ["scipy"]
    assert "Between the measurements of robustness, this was changed: scipy." in made["warnings"]
    study_cells.measurement_path(tmp_path, todo[2].name).unlink()
    evaluation.measure_cell(todo[2], tmp_path, ("clean",), 9)
    assert "changed" not in report.write(tmp_path, plan)["robustness"]


def test_a_measurement_waits_for_another_process_until_the_deadline(tmp_path, todo, measured):
    running.run(todo, tmp_path, train)
    records = study_cells.read_records(tmp_path)
    lock = filelock.FileLock(tmp_path / "trainings" / f".{todo[1].name}.lock", is_singleton=False)
    with lock:
        started = time.time()
        assert not evaluation.measure(todo, records, tmp_path, ("clean",), 9, deadline=started + 0.5)
        assert 0.4 < time.time() - started < 30
    assert measured[0] == todo[0].name and todo[1].name not in measured


def test_no_measurement_begins_after_the_deadline(tmp_path, todo, measured, monkeypatch):
    running.run(todo, tmp_path, train)
    records, now = study_cells.read_records(tmp_path), iter([0.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(evaluation, "time", types.SimpleNamespace(time=lambda: next(now)))
    assert not evaluation.measure(todo, records, tmp_path, ("clean",), 9, deadline=1.0)
    assert measured == [todo[0].name]
    monkeypatch.undo()
    monkeypatch.setattr(evaluation, "_measure_model", lambda *_: {"clean": 1.0})
    assert evaluation.measure(todo, records, tmp_path, ("clean",), 9) and len(read(tmp_path)[0]) == 4


def test_differences_are_paired_and_judged_in_each_row():
    plan = fakes.make_plan(("none", "cutmix", "mixup"), 5)
    rng = np.random.default_rng(0)
    gains = {"none": {"a": 0, "b": 0}, "cutmix": {"a": 5, "b": 0}, "mixup": {"a": 0, "b": -5}}
    accuracies = {
        cell.name: {name: 50 + gain + rng.normal() for name, gain in gains[cell.method].items()}
        for cell in study_cells.of_plan(plan)
    }
    found = evaluation.compare(plan, evaluation.Measured(accuracies, 1000))
    assert found["images"] == 1000
    for row in found["settings"][0]["measures"]:
        values = {
            arm: [accuracies[f"{arm}-seed{seed}"][row["measure"]] for seed in range(5)]
            for arm in ("none", "cutmix", "mixup")
        }
        tests = [stats.ttest_rel(values[each["method"]], values["none"]) for each in row["comparisons"]]
        smallest = min(test.pvalue for test in tests)
        assert row["baseline"]["mean"] == pytest.approx(np.mean(values["none"]))
        for comparison, test in zip(row["comparisons"], tests, strict=True):
            interval = test.confidence_interval(0.95)
            assert (comparison["low"], comparison["high"]) == pytest.approx((interval.low, interval.high))
            corrected = 2 * test.pvalue if test.pvalue == smallest else max(2 * smallest, test.pvalue)
            assert comparison["p_adjusted"] == pytest.approx(corrected)
    verdicts = [[each["verdict"] for each in row["comparisons"]] for row in found["settings"][0]["measures"]]
    assert verdicts == [["better", "cannot be told"], ["cannot be told", "worse"]]
    extended = evaluation.compare(plan | {"looks": [3]}, evaluation.Measured(accuracies, 1000))
    before, after = (each["settings"][0]["measures"][0]["comparisons"][0] for each in (found, extended))
    assert after["high"] - after["low"] > before["high"] - before["low"]


def test_models_that_all_diverged_are_not_shown_to_be_equal():
    plan = fakes.make_plan(("none", "cutmix"), 5)
    names = frozenset(cell.name for cell in study_cells.of_plan(plan))
    accuracies = {name: {"a": 10.0} for name in names}
    for diverged, verdict in ((frozenset(), "no difference larger than the margin"), (names, "cannot be told")):
        found = evaluation.compare(plan, evaluation.Measured(accuracies, 1000, diverged))
        assert found["settings"][0]["measures"][0]["comparisons"][0]["verdict"] == verdict


def test_nothing_is_measured_unless_it_is_asked_for(tmp_path):
    assert evaluation.after_training(tmp_path, None) is None
