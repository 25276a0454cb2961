"""Training in an output folder: one run at a time, resumed without a trace, nothing half-written."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_mma import datasets
from keras_mma.datasets import Dataset, Parts
from keras_mma.errors import InputError
from keras_mma.study import batches, cell_training, training
from keras_mma.study.recipe import Recipe, add_mixing, compile_model

RECIPE = Recipe(method="cutmix", epochs=3, batch_size=16, learning_rate=0.02)


def make_parts(changed=None):
    rng = np.random.default_rng(5)
    arrays = {}
    for part, count in (("train", 48), ("test", 12)):
        labels = np.arange(count) % 3
        images = rng.integers(0, 120, (count, 8, 8, 1), "uint8") + 60 * labels[:, None, None, None].astype("uint8")
        arrays[part] = images, labels
    if changed:
        arrays[changed][0][0, 0, 0, 0] ^= 1
    return Parts("squares", {part: (lambda a=a: Dataset.of_arrays(*a, "squares")) for part, a in arrays.items()})


@pytest.fixture(scope="module")
def data():
    return make_parts()


def make_model(recipe, train):
    """A network that is smaller than those of the recipe, mixed and compiled by it."""
    keras.utils.set_random_seed(recipe.seed)
    network = keras.Sequential(
        [
            keras.Input(train.shape),
            keras.layers.Rescaling(1 / 128, offset=-1),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(train.classes),
        ]
    )
    model = add_mixing(recipe, network)
    compile_model(recipe, model, batches.steps_per_epoch(recipe, len(train)))
    return model


def read_history(path):
    """The columns of a `history.csv`, as `train` returns them."""
    return training._columns(training.read_rows(path))


def fit(recipe, data, output, **arguments):
    model = make_model(recipe, data.train)
    return training.train(recipe, model, data.train, data.validation, output, verbose=0, **arguments), model


def test_the_time_of_an_epoch_is_without_its_files(data, tmp_path, monkeypatch):
    save, watch = training.EpochLog._save_state, cell_training._Watch(lambda *_: None)

    def slow(self, epochs):
        time.sleep(0.5)
        save(self, epochs)

    monkeypatch.setattr(training.EpochLog, "_save_state", slow)
    fit(RECIPE, data, tmp_path, callbacks=[watch])
    assert 0 < watch.seconds_per_epoch < 0.5
    assert cell_training._Watch(lambda *_: None).seconds_per_epoch is None


class StopAfter(keras.callbacks.Callback):
    """Ends the process, as it were, when an epoch is half done."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt


def weights(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    history, model = fit(RECIPE, data, output)
    return output, history, weights(model)


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        fit(RECIPE, data, output, callbacks=[StopAfter(2)])
    return output


def test_a_seed_repeats_a_training(undisturbed, data):
    history, model = fit(RECIPE, data, None)
    assert history == undisturbed[1] and (weights(model) == undisturbed[2]).all()
    assert list(history) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"] and history["epoch"] == [0, 1, 2]
    assert read_history(undisturbed[0] / "history.csv") == history


def test_a_resumed_training_is_an_undisturbed_one(undisturbed, interrupted, data, tmp_path):
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    assert read_history(tmp_path / "history.csv")["epoch"] == [0, 1]
    history, model = fit(RECIPE, data, tmp_path)
    assert history == undisturbed[1] and (weights(model) == undisturbed[2]).all()
    assert (tmp_path / "history.csv").read_bytes() == (undisturbed[0] / "history.csv").read_bytes()
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == ["00002.weights.h5", "00003.weights.h5"]
    again, model = fit(RECIPE, data, tmp_path)
    assert again == history and (weights(model) == undisturbed[2]).all()


@pytest.mark.parametrize("damage", ["cut line", "cut state", "cut line and state", "lost history"])
def test_what_an_interruption_cut_is_dropped_and_repeated(undisturbed, interrupted, data, tmp_path, damage):
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    path, state = tmp_path / "history.csv", tmp_path / "states" / "00002.weights.h5"
    if "line" in damage:
        path.write_bytes(path.read_bytes()[:-3])
    if "state" in damage:
        state.write_bytes(state.read_bytes()[:3000])
    if damage == "lost history":
        path.unlink()
    (tmp_path / "states" / "unfinished-1.weights.h5").write_bytes(b"\x89HDF")
    history, model = fit(RECIPE, data, tmp_path)
    assert sorted(file.name[:5] for file in state.parent.iterdir()) == ["00002", "00003"]
    assert history == undisturbed[1] and (weights(model) == undisturbed[2]).all()
    assert path.read_bytes() == (undisturbed[0] / "history.csv").read_bytes()


def test_damaged_states_are_refused(interrupted, data, tmp_path):
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    for state in (tmp_path / "states").iterdir():
        state.write_bytes(b"nothing")
    with pytest.raises(InputError, match="states is damaged: choose another `output` folder"):
        fit(RECIPE, data, tmp_path)


def test_a_training_is_finished_when_it_has_all_epochs(tmp_path):
    log = training.EpochLog(tmp_path, keep_states=False)
    assert not training.is_finished(tmp_path, Recipe(epochs=1))
    for epoch in range(2):
        log.on_epoch_end(epoch, {"loss": 1.5})
    assert training.is_finished(tmp_path, Recipe(epochs=2)) and not training.is_finished(tmp_path, Recipe(epochs=3))


def test_a_row_that_cannot_be_written_leaves_the_rows_before_it(data, tmp_path, monkeypatch):
    """A full disk."""
    log = training.EpochLog(tmp_path, keep_states=False)
    log.on_epoch_end(0, {"loss": 1.5})

    def write(path, content):
        path.open("wb").write(content[:3])
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_bytes", write)
        with pytest.raises(OSError, match="No space"):
            log.on_epoch_end(1, {"loss": 0.5})
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n0,1.5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epoch,loss\n0,3.0\n1,2.0\n1,1.5\n2,1.0\n", {"epoch": [0, 1, 2], "loss": [3.0, 1.5, 1.0]}),
        ("epoch,loss\n0,3.0\n1,2.", {"epoch": [0], "loss": [3.0]}),
        ("epoch,loss\n0,3.0\n1,21,2.0\n2,1.0\n", {"epoch": [0, 2], "loss": [3.0, 1.0]}),
        ("epoch,loss\n0,3.0\n1\n2,\n3,x\n4.0,1\n", {"epoch": [0], "loss": [3.0]}),
        ("", {"epoch": []}),
        ("epoch,lo", {"epoch": []}),
        ("loss\n1\n", {"epoch": []}),
    ],
)
def test_complete_rows_of_a_history(tmp_path, text, expected):
    (tmp_path / "h.csv").write_text(text)
    assert read_history(tmp_path / "h.csv") == expected
    assert read_history(tmp_path / "nowhere.csv") == {"epoch": []}


def test_a_folder_belongs_to_one_recipe_on_one_dataset(data, tmp_path):
    with training.claim(tmp_path / "run", RECIPE, data, {"devices": 2}) as output:
        assert output == tmp_path / "run"
    with training.claim(output, RECIPE, data, {"devices": 2}):
        pass
    with (
        pytest.raises(InputError, match="holds another run, with epochs=3: choose another folder"),
        training.claim(output, dataclasses.replace(RECIPE, epochs=4), data, {"devices": 2}),
    ):
        pass
    with (
        pytest.raises(InputError, match="holds another run, with devices=2"),
        training.claim(output, RECIPE, data, {"devices": 3}),
    ):
        pass
    config = output / "config.json"
    text = config.read_text()
    config.write_text(json.dumps(json.loads(text) | {"backend": "another"}))
    with (
        pytest.raises(InputError, match="holds another run, with backend='another'"),
        training.claim(output, RECIPE, data, {"devices": 2}),
    ):
        pass
    config.write_text(text)
    # The images may be elsewhere, and where they are is not written.
    moved = dataclasses.replace(RECIPE, data_dir="/elsewhere")
    with training.claim(output, moved, data, {"devices": 2}):
        pass
    with training.claim(tmp_path / "moved", moved, data) as other:
        assert "elsewhere" not in (other / "config.json").read_text()
    for part in ("train", "test"):
        match = f"holds a run on other data: the {part} images of digits have changed; choose another folder"
        with pytest.raises(InputError, match=match), training.claim(output, RECIPE, make_parts(part), {"devices": 2}):
            pass
    for text in ("{", "[]", "null", '{"sha256": null}', "[" * 100_000):
        (output / "config.json").write_text(text)
        with pytest.raises(InputError, match="config.json is damaged"), training.claim(output, RECIPE, data):
            pass


def test_a_line_of_the_history_that_is_too_long_is_skipped(tmp_path):
    (tmp_path / "history.csv").write_text(f'epoch,loss\n0,1.5\n1,"{"9" * 200_000}"\n2,"1\n3,2.5\n')
    assert training.read_rows(tmp_path / "history.csv") == {0: {"loss": 1.5}, 3: {"loss": 2.5}}


def test_a_changed_folder_of_images_is_refused_when_a_run_resumes(tmp_path):
    from tests.datasets.files import save_classes

    save_classes(tmp_path / "pictures", [("a", 10), ("b", 10)])
    name = f"folder:{tmp_path / 'pictures'}"
    recipe = dataclasses.replace(RECIPE, dataset=name)
    with training.claim(tmp_path / "run", recipe, recipe.load_data()):
        pass
    (tmp_path / "pictures" / "a" / "3.png").unlink()
    with (
        pytest.raises(InputError, match=f"other data: the train images of {name} have changed"),
        training.claim(tmp_path / "run", recipe, recipe.load_data()),
    ):
        pass


@pytest.mark.parametrize("part", ["train", "test"])
def test_damaged_images_of_every_part_are_refused_before_the_first_epoch(tmp_path, part):
    from tests.datasets.files import save_classes

    for folder in ("train", "test"):
        save_classes(tmp_path / "pictures" / folder, [("a", 4), ("b", 4)])
    damaged = tmp_path / "pictures" / part / "b" / "3.png"
    damaged.unlink()
    os.mkfifo(damaged)
    recipe = dataclasses.replace(RECIPE, dataset=f"folder:{tmp_path / 'pictures'}")
    with (
        pytest.raises(InputError, match=f"{part}/b/3.png must be a regular file. Received: a FIFO"),
        training.claim(tmp_path / "run", recipe, recipe.load_data()),
    ):
        pytest.fail("claimed")


def test_folders_of_other_things_are_left_alone(data, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "history.csv").write_text("a file of the user")
    with (
        pytest.raises(InputError, match="/mine must be empty or hold a training. Received: history.csv"),
        training.claim(tmp_path / "mine", RECIPE, data),
    ):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["history.csv"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder"), training.claim(tmp_path / "file", RECIPE, data):
        pass


def test_a_training_that_cannot_start_leaves_no_folder(data, tmp_path, monkeypatch):
    def fail(*arguments):
        raise InputError("`dataset` is damaged")

    monkeypatch.setattr(training, "_digests", fail)
    with pytest.raises(InputError, match="is damaged"), training.claim(tmp_path / "a" / "b", RECIPE, data):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_second_training_in_the_same_folder_is_refused(data, tmp_path):
    claim = (
        "import sys; from keras_mma.study import training; from keras_mma.study.recipe import Recipe\n"
        "recipe = Recipe(); data = recipe.load_data()\n"
        "with training.claim(sys.argv[1], recipe, data): print('claimed', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", claim, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "claimed\n"
    recipe = Recipe()
    digits = recipe.load_data()
    with (
        pytest.raises(
            InputError, match=r"`output` must not be in use by another training: wait for it. Received: .*/run$"
        ),
        training.claim(tmp_path / "run", recipe, digits),
    ):
        pass
    process.communicate("")
    with training.claim(tmp_path / "run", recipe, digits):
        pass


def test_files_are_written_whole_or_not_at_all(undisturbed, data, tmp_path, monkeypatch):
    model = fit(dataclasses.replace(RECIPE, epochs=1), data, None)[1]
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished.keras").write_text("of the user, too")
    names = ["model.keras", "saved_model", "unfinished", "unfinished.keras"]
    training.save(model, tmp_path)
    training.save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    before = (tmp_path / "model.keras").read_bytes(), sorted((tmp_path / "saved_model").rglob("*"))

    def export(folder, **arguments):
        folder.mkdir()
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    monkeypatch.setattr(model, "export", export)
    with pytest.raises(OSError, match="No space"):
        training.save(model, tmp_path)
    assert before[1] == sorted((tmp_path / "saved_model").rglob("*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.predict(np.zeros((2, 8, 8, 1)), verbose=0).shape == (2, 3)


def test_it_learns(data):
    history, model = fit(dataclasses.replace(RECIPE, epochs=8, augmentation=False), data, None)
    assert history["val_loss"][-1] < history["val_loss"][0]
    test = batches.evaluation_batches(data.test, 5)
    assert model.evaluate(test, verbose=0, return_dict=True)["accuracy"] > 0.6
    assert datasets.PARTS == ("train", "validation", "test")
