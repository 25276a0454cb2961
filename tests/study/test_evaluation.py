"""The robustness of the models of a study, which is kept beside their records."""

import types

import pytest

from keras_mma import files, robustness
from keras_mma.errors import InputError
from keras_mma.study import cell_training, cells, evaluation, running
from tests.study import fakes


@pytest.fixture
def todo():
    return cells.of_plan(fakes.make_plan(("none", "cutmix"), 2, recipe=fakes.RECIPE))


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


def test_a_model_is_measured_once_when_it_is_trained(tmp_path, todo, measured):
    after = evaluation.after_training(tmp_path, {"only": ("clean",), "limit": 9})
    assert running.run(todo, tmp_path, train, after) == running.Outcome(4, False, {})
    assert measured == [cell.name for cell in todo]
    results = evaluation.measure(todo, cells.read_records(tmp_path), tmp_path, ("clean",), 9)
    assert results == {cell.name: {"clean": 1.0 + number} for number, cell in enumerate(todo)} and len(measured) == 4


def test_another_training_or_question_is_measured_again(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, train)
    measure = evaluation.measure_cell
    assert [measure(todo[0], tmp_path, ("clean",), limit)["clean"] for limit in (9, 9, 8)] == [1, 1, 2]
    assert measure(todo[0], tmp_path, ("clean", "attack"), 8)["clean"] == 3
    path = cells.record_path(tmp_path, todo[0])
    files.write_json(path, files.read_json(path) | {"loss": 0.25})
    assert measure(todo[0], tmp_path, ("clean", "attack"), 8)["clean"] == 4


def test_the_report_of_another_question_is_replaced(tmp_path, todo, monkeypatch):
    """`robustness.evaluate` would refuse to replace one of more images or of another training."""
    place = cells.training_folder(tmp_path, todo[0]) / "robustness"
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
    cells.measurement_path(tmp_path, todo[0]).write_text('{"sections": ')
    with pytest.raises(InputError, match="delete the file to measure the model again"):
        evaluation.measure_cell(todo[0], tmp_path, ("clean",), 9)


def test_a_cell_that_diverged_is_not_measured(tmp_path, todo, measured):
    running.run(todo[:1], tmp_path, lambda *arguments: train(*arguments) | {"diverged": 1})
    assert evaluation.measure_cell(todo[0], tmp_path, ("clean",), 9) is None and not measured


def test_nothing_is_measured_unless_it_is_asked_for(tmp_path):
    assert evaluation.after_training(tmp_path, None) is None
