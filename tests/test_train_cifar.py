"""The examples from the command line: what they leave behind, what they refuse, and that a training resumes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the example feeds its network by tf.data", allow_module_level=True)

from keras_mma.study.batches import steps_per_epoch  # noqa: E402
from keras_mma.study.recipe import Recipe, add_mixing  # noqa: E402
from tests.datasets.files import save_classes  # noqa: E402
from tests.distribution.test_distribution import free_ports  # noqa: E402

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "train_cifar.py"
SMALL = ["--dataset", "digits", "--network", "wideresnet-10-1", "--fraction", "0.3", "--batch-size", "64"]


def command(*arguments):
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments, **environment):
    settings = {"capture_output": True, "text": True, "timeout": 500, "env": {**os.environ, **environment}}
    return subprocess.run(command(*arguments), **settings)


def epochs(output):
    path = output / "history.csv"
    return [int(row["epoch"]) for row in csv.DictReader(path.open())] if path.exists() else []


@pytest.mark.slow
def test_the_default_method_trains_saves_and_serves(tmp_path):
    done = run(*SMALL, "--epochs", 2, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    last, before = done.stdout.strip().splitlines()[-1], done.stdout.strip().splitlines()[-2]
    assert before.startswith("test accuracy: 0.") and last.startswith(
        "the reloaded SavedModel gives the same predictions"
    )
    assert "\x1b" not in done.stdout and "\b" not in done.stdout  # not a terminal
    assert json.loads((tmp_path / "config.json").read_text())["method"] == "saliencymix+mma"
    assert json.loads((tmp_path / "result.json").read_text())["saved_model_difference"] <= 1e-4
    assert epochs(tmp_path) == [0, 1]
    for picture in ("history.png", "mixing.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*unfinished*"))
    model = keras.models.load_model(tmp_path / "model.keras")
    assert model.predict(np.zeros((2, 16, 16, 1)), verbose=0).shape == (2, 10)


@pytest.mark.slow
def test_a_killed_run_resumes_and_finishes_with_all_epochs(tmp_path):
    arguments = [*SMALL, "--epochs", 6, "--method", "cutmix", "--output", tmp_path]
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 300
    while len(epochs(tmp_path)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(epochs(tmp_path)) < 6 and not (tmp_path / "result.json").exists()
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Epoch 1/6" not in done.stdout and "Epoch 6/6" in done.stdout
    assert epochs(tmp_path) == list(range(6))
    undisturbed = tmp_path.with_name(f"{tmp_path.name}-undisturbed")
    assert run(*arguments[:-1], undisturbed).returncode == 0
    assert (undisturbed / "history.csv").read_bytes() == (tmp_path / "history.csv").read_bytes()
    assert json.loads((tmp_path / "result.json").read_text())["epochs"] == 6
    other = run(*SMALL, "--epochs", 7, "--method", "cutmix", "--output", tmp_path)
    assert other.returncode == 1 and "holds another run, with epochs=6: choose another folder" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["none", "cutmix+mma", "guidedmixup+mma", pytest.param("manifold", marks=pytest.mark.exhaustive)]
)
def test_every_kind_of_method_takes_a_step(tmp_path, method):
    extra = {"cutmix+mma": ["--mixed-precision"], "guidedmixup+mma": ["--attribution", "gradient"]}.get(method, [])
    done = run(*SMALL, "--fraction", 0.1, "--epochs", 1, "--method", method, *extra, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mixing.png").exists() == (method != "none")


@pytest.mark.slow
def test_a_folder_of_pictures(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cats", "dogs", "eels"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    folder = f"folder:{tmp_path / 'pictures'}"
    options = ["--network", "wideresnet-10-1", "--epochs", 1, "--batch-size", 8, "--image-size", 16, "--jit"]
    done = run("--dataset", folder, "--method", "cutmix", *options, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout


@pytest.mark.slow
def test_the_quickstart(tmp_path):
    """It runs as it stands, on one epoch of it, and its last line is an accuracy."""
    text = (ROOT / "examples" / "quickstart.py").read_text()
    assert len(text.splitlines()) <= 45
    short, replaced = re.subn(r"epochs=\d+", "epochs=1", text)
    assert replaced == 1
    done = subprocess.run([sys.executable, "-c", short], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"test accuracy: 0\.\d{4}", done.stdout.strip().splitlines()[-1])


TWO_DEVICES = [*SMALL, "--epochs", 1, "--devices", 2]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "backend"), [("mirrored", "tensorflow"), ("jax", "jax")])
def test_the_devices_of_a_machine(tmp_path, kind, backend):
    done = run(*TWO_DEVICES, "--distribute", kind, "--output", tmp_path, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the reloaded SavedModel gives the same predictions" in done.stdout
    assert json.loads((tmp_path / "config.json").read_text())["distribute"] == kind


@pytest.mark.exhaustive
def test_two_workers(tmp_path):
    workers = [f"localhost:{port}" for port in free_ports(2)]
    arguments = [*SMALL, "--epochs", 1, "--distribute", "multiworker", "--output", tmp_path]
    processes = []
    for index in range(2):
        task = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "TF_CONFIG": task}
        processes.append(subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors[-3000:]
    accuracies = [
        json.loads((folder / "result.json").read_text())["test_accuracy"]
        for folder in (tmp_path, tmp_path / "worker-1")
    ]
    assert accuracies[0] == accuracies[1]


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import train_cifar

    return train_cifar


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            ["--dataset", "mnist"],
            "`dataset` must be digits, cifar10, cifar100, tfds:NAME, folder:PATH or arrays:FOLDER. "
            "Received: dataset='mnist'",
        ),
        (["--dataset", "folder:/nowhere"], "must name a folder. Received: /nowhere"),
        (
            ["--network", "resnet50"],
            "`network` must be preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH. Received: network='resnet50'",
        ),
        (["--network", "wideresnet-11-1"], "`depth` must be 6 n"),
        (["--fraction", "0"], r"`fraction` must be in \(0, 1\]. Received: fraction=0.0"),
        (["--epochs", "0"], "`epochs` must be a positive integer. Received: epochs=0"),
        (["--learning-rate", "-1"], "`learning_rate` must be a finite number, not negative. Received: .*-1.0"),
        (["--validation-fraction", "1"], r"`validation_fraction` must be in \[0, 1\)"),
        (["--image-size", "0"], "`image_size` must be a positive integer. Received: image_size=0"),
        (["--alpha", "0"], "`alpha` must be a positive"),
        (["--detector", "edges"], "`detector` must be"),
        (["--detector", "fine_grained", "--attribution", "gradient"], "exclude each other"),
        (["--method", "guidedmixup", "--alpha", "1"], "`method` guidedmixup has no argument `alpha`"),
        (["--method", "cutmix", "--detector", "fine_grained"], "`detector` has no effect without"),
        (["--method", "cutmix", "--label", "saliency"], "`detector` is required in CutMix"),
        (["--method", "none", "--alpha", "1"], "`method` none has no argument `alpha`"),
        (["--mixing-points", "stage9"], "`at` must name layers"),
        (["--distribute", "jax"], "needs the environment's KERAS_BACKEND=jax. Received: tensorflow"),
        (["--devices", "2"], "--devices has no meaning without --distribute mirrored or jax"),
        (["--distribute", "multiworker"], "needs the environment's TF_CONFIG"),
        (["--distribute", "multiworker", "--method", "none"], "`method` none cannot be trained by"),
        (["--distribute", "multiworker", "--devices", "2"], "--devices has no meaning without --distribute"),
    ],
)
def test_bad_options_are_refused(example, tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        example.main(["--network", "wideresnet-10-1", *arguments, "--output", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_names_the_flags_in_one_line(tmp_path):
    done = run("--dataset", "digits", "--fraction", "2", "--output", tmp_path / "run")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last == "train_cifar.py: error: --fraction must be in (0, 1]. Received: fraction=2.0"


def test_a_training_that_diverges_ends_after_that_epoch(example, tmp_path, monkeypatch):
    """Also when the same command is repeated."""
    epochs = []

    def train(recipe, model, data, validation, output, devices, resumable, verbose, callbacks=()):
        for epoch, loss in enumerate([2.3, float("nan")][len(epochs) :], len(epochs)):
            epochs.append(loss)
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"loss": loss})
        return {"epoch": list(range(len(epochs))), "loss": epochs}

    monkeypatch.setattr(example, "build", lambda *_: types.SimpleNamespace(network=keras.Sequential(), model=None))
    monkeypatch.setattr(example.training, "train", train)
    monkeypatch.setattr(example, "describe", lambda *_: None)
    match = "the loss is not finite after epoch 2: lower `learning_rate`, .* Received: loss=nan"
    for _ in range(2):
        with pytest.raises(ValueError, match=match) as raised:
            example.main([*SMALL, "--epochs", "2", "--output", str(tmp_path)])
        assert len(epochs) == 2 and not (tmp_path / "result.json").exists()
    assert "lower --learning-rate" in example.in_words_of_the_options(raised.value)


def test_predictions_that_are_not_finite_are_not_called_the_same(example, tmp_path, monkeypatch):
    served = types.SimpleNamespace(serve=lambda images: images[:, 0, 0] * float("nan"))
    monkeypatch.setattr(example.tf.saved_model, "load", lambda path: served)
    with pytest.raises(RuntimeError, match="the reloaded SavedModel are not finite"):
        example.difference_of_saved_model(lambda images: images[:, 0, 0], tmp_path, np.ones((3, 2, 2, 1)))


def test_an_error_of_mixify_names_the_flag(example):
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="stage1")])
    with pytest.raises(ValueError, match="`at` must name layers") as raised:
        add_mixing(Recipe(mixing_points=("stage9",)), network)
    assert example.in_words_of_the_options(raised.value).startswith("--mixing-points must name layers of ")


def test_the_options_are_the_recipe(example, tmp_path):
    def recipe(*arguments):
        return example.make_recipe(example.parser().parse_args([*arguments, "--output", str(tmp_path)]))

    assert recipe() == Recipe()
    changed = recipe("--method", "saliencymix", "--alpha", "0.5", "--attribution", "gradient", "--no-augmentation")
    assert changed.mixer_arguments == {"alpha": 0.5, "detector": "gradient"} and not changed.augmentation
    assert recipe("--label", "sumix").mixer_arguments == {"label": "sumix"}
    assert recipe("--dataset", "folder:x").image_size == 32 and recipe("--dataset", "cifar10").image_size is None
    assert recipe("--dataset", "folder:x", "--image-size", "64").image_size == 64


def test_what_may_surprise_is_said(example, tmp_path, capsys):
    """150 images: few steps, a smaller last batch, images that are resized, files left out."""
    save_classes(tmp_path, [(name, 50) for name in "abc"], height=20, width=24)
    (tmp_path / "a" / "07.png").write_bytes(b"")
    recipe = Recipe(dataset=f"folder:{tmp_path}", image_size=32, batch_size=32, epochs=3, skip_damaged=True)
    data = recipe.load_data()
    network = keras.Sequential([keras.Input(data.train.shape), keras.layers.Flatten(), keras.layers.Dense(3)])
    example.describe(recipe, data, data.train, steps_per_epoch(recipe, len(data.train)), network)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f": {len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test")
    assert "resized to 32 x 32 by bilinear interpolation with antialiasing" in lines[1]
    assert lines[1].endswith("test images: every fifth of 150 images, because there is no test part")
    assert "damaged files left out: 1, a/07.png" in lines[2:4]
    steps = -(-len(data.train) // 32)
    assert f"{steps} steps an epoch, the last with {len(data.train) % 32} images; 9,219 weights" in lines
    assert lines[-1].startswith(f"an epoch has only {steps} steps, {3 * steps} in all")
