"""The example from the command line: what it leaves behind, what it refuses, and that it resumes."""

import csv
import json
import os
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

import tensorflow as tf  # noqa: E402

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
    assert json.loads((tmp_path / "result.json").read_text())["epochs"] == 6
    other = run(*SMALL, "--epochs", 7, "--method", "cutmix", "--output", tmp_path)
    assert other.returncode == 1 and "holds another run, with epochs=6: choose another folder" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "cutmix+mma", "manifold", "grafting", "guided+mma"])
def test_every_kind_of_method_takes_a_step(tmp_path, method):
    extra = {"cutmix+mma": ["--mixed-precision"], "guided+mma": ["--attribution", "gradient"]}.get(method, [])
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
    done = run("--dataset", folder, *options, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout


TWO_DEVICES = [*SMALL, "--epochs", 1, "--devices", 2]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "backend"), [("mirrored", "tensorflow"), ("jax", "jax")])
def test_the_devices_of_a_machine(tmp_path, kind, backend):
    done = run(*TWO_DEVICES, "--distribute", kind, "--output", tmp_path, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the reloaded SavedModel gives the same predictions" in done.stdout
    assert json.loads((tmp_path / "config.json").read_text())["distribute"] == kind


@pytest.mark.slow
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
            "--dataset must be digits, cifar10, cifar100 or folder:PATH. Received: 'mnist'",
        ),
        (["--dataset", "folder:/nowhere"], "must name a folder. Received: /nowhere"),
        (
            ["--network", "resnet50"],
            "--network must be preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH. Received: 'resnet50'",
        ),
        (["--network", "wideresnet-11-1"], "`depth` must be 6 n"),
        (["--fraction", "0"], r"--fraction must be in \(0, 1\]. Received: 0.0"),
        (["--alpha", "0"], "`alpha` must be a positive"),
        (["--detector", "edges"], "`detector` must be one of"),
        (["--detector", "fine_grained", "--attribution", "gradient"], "exclude each other"),
        (["--method", "guided", "--alpha", "1"], "--alpha has no meaning for --method guided"),
        (["--method", "cutmix", "--detector", "fine_grained"], "has no meaning for --method cutmix"),
        (["--method", "none", "--alpha", "1"], "have no meaning for --method none"),
        (["--mixing-points", "stage9"], "`at` must name layers"),
        (["--distribute", "jax"], "needs the environment's KERAS_BACKEND=jax. Received: tensorflow"),
        (["--devices", "2"], "--devices has no meaning without --distribute mirrored or jax"),
        (["--distribute", "multiworker"], "needs the environment's TF_CONFIG"),
        (["--distribute", "multiworker", "--method", "none"], "--method none cannot be trained by"),
        (["--distribute", "multiworker", "--devices", "2"], "--devices has no meaning without --distribute"),
    ],
)
def test_bad_options_are_refused(example, tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        example.main(["--network", "wideresnet-10-1", *arguments, "--output", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_the_recipe(example, tmp_path):
    options = example.parse(["--epochs", "10", "--output", str(tmp_path)])
    rng = np.random.default_rng(0)
    images = example.datasets.Images(
        (rng.integers(1, 256, (40, 32, 32, 3), dtype="uint8"), np.arange(40) % 4), None, list("abcd"), flip=True
    )
    (x, y) = next(iter(example.training_batches(images, options)))
    shifts, flips = set(), 0
    for picture in x.numpy():
        # Black rows and columns tell the crop, what is left tells the picture and whether it was mirrored.
        rows, columns = np.flatnonzero(picture.any((1, 2))), np.flatnonzero(picture.any((0, 2)))
        inside = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shifts.add((rows[0], 31 - rows[-1], columns[0], 31 - columns[-1]))
        flips += not any(inside.tobytes() in _windows(original, inside.shape) for original in images.train[0])
    assert len(shifts) > 15 and max(map(max, shifts)) == 4  # padded by 4
    assert 8 < flips < 32
    network = example.make_network(example.parse(["--network", "wideresnet-10-1", "--output", str(tmp_path)]), images)
    example.compile_model(network, options, steps=7)
    config = network.optimizer.get_config()
    assert config["momentum"] == 0.9 and config["nesterov"] and config["weight_decay"] == pytest.approx(5e-3)
    schedule = config["learning_rate"]["config"]
    assert schedule["initial_learning_rate"] == 0.1 and schedule["decay_steps"] == 70
    assert float(network.optimizer.learning_rate) == pytest.approx(0.1)


def _windows(image, shape):
    height, width = shape[:2]
    return {image[y : y + height, x : x + width].tobytes() for y in range(33 - height) for x in range(33 - width)}


def test_a_folder_with_train_and_test(example, tmp_path):
    from PIL import Image

    for part, count in (("train", 3), ("test", 2)):
        for value, name in ((50, "a"), (200, "b")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (10, 12), (value,) * 3).save(tmp_path / part / name / f"{number}.png")
    data = example.datasets.load(f"folder:{tmp_path}", image_size=8)
    assert data.train[0].shape == (6, 8, 8, 3) and data.test[0].shape == (4, 8, 8, 3) and data.class_names == ["a", "b"]
    assert (data.train[0][:, 0, 0, 0] == np.where(data.train[1] == 0, 50, 200)).all()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_comes_from_tensorflow_datasets(example, tmp_path, monkeypatch, name):
    tfds = pytest.importorskip("tensorflow_datasets")
    asked = []

    class Builder:
        info = types.SimpleNamespace(features={"label": types.SimpleNamespace(names=["a", "b"])})

        def __init__(self, name, data_dir):
            asked.append((name, data_dir))

        def download_and_prepare(self):
            asked.append("download")

        def as_dataset(self, split, batch_size):
            assert batch_size == -1
            count = {"train": 5, "test": 3}[split]
            return {"image": tf.zeros((count, 32, 32, 3), tf.uint8), "label": tf.ones((count,), tf.int64)}

    monkeypatch.setattr(tfds, "builder", Builder)
    data = example.datasets.load(name, data_dir=tmp_path)
    assert asked == [(name, tmp_path), "download"]
    assert (
        data.train[0].shape == (5, 32, 32, 3) and data.test[1].tolist() == [1, 1, 1] and data.class_names == ["a", "b"]
    )


def test_a_subset_keeps_the_share_of_every_class(example):
    labels = np.repeat([0, 1, 2], [50, 100, 4])
    images, kept = example.datasets.balanced_subset(np.arange(154), labels, 0.1, seed=1)
    assert np.bincount(kept).tolist() == [5, 10, 1] and len(set(images)) == 16
    assert (labels[images] == kept).all()


def test_the_history_keeps_the_last_row_of_an_epoch_that_ran_twice(example, tmp_path):
    (tmp_path / "h.csv").write_text("epoch,loss\n0,3.0\n1,2.0\n1,1.5\n2,1.0\n")
    assert example.read_history(tmp_path / "h.csv") == {"epoch": [0, 1, 2], "loss": [3.0, 1.5, 1.0]}
