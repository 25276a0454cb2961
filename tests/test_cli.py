"""The command as it is typed: reports, comparisons, and one line for whatever cannot be used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command is tried on SavedModels", allow_module_level=True)

import tensorflow as tf

import keras_mma
from keras_mma import cli, robustness
from keras_mma.robustness import files, occlusion
from tests.robustness import networks
from tests.robustness.conftest import digits  # noqa: F401
from tests.robustness.test_model import channel_means, saved_model
from tests.robustness.test_sources import save_pictures, save_published


def refused(capsys, *arguments):
    """The one line that the command leaves with, and code 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(map(str, arguments)))
    printed = capsys.readouterr()
    assert caught.value.code == 2 and printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith(("usage:", " "))]
    assert len(lines) == 1 and "error: " in lines[0], printed.err
    return lines[0]


def test_evaluate_writes_a_report_and_says_what_matters(digits, tmp_path, capsys):  # noqa: F811
    arguments = ["--limit", "60", "--only", "corruption", "attack", "--output", str(tmp_path / "r")]
    assert cli.main(["evaluate", str(digits[2]), "--dataset", "digits", *arguments]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert f"clean error {report['clean']['error']:.2%}" in printed and "outputs are logits, decided by" in printed
    assert f"mean corruption error {report['corruption']['mean_error']:.2%} (regenerated, CIFAR severities)" in printed
    assert "under PGD-20 at 8/255" in printed and f"wrote {tmp_path / 'r' / 'report.md'}" in printed
    assert set(report) >= {"clean", "corruption", "attack"} and not set(report) & {"deformation", "occlusion"}
    text = (tmp_path / "r" / "report.md").read_text()
    assert "## Deformation\n\nNot measured." in text


def test_all_options_reach_the_evaluation(monkeypatch, tmp_path, capsys):
    seen = {}

    def evaluate(model, dataset, **arguments):
        seen.update(arguments, model=model, dataset=dataset)
        return {
            "warnings": ["careful"],
            "clean": {"error": 0.5, "ece": 0.1},
            "model": dict.fromkeys(["outputs", "outputs_decided"]),
        }

    monkeypatch.setattr(cli, "evaluate", evaluate)
    words = (
        "evaluate m.keras --dataset cifar10 --only clean attack --limit 9 --batch-size 8 --seed 7 --outputs logits "
        "--preprocess scale=1/255 mean=1 --signature s --corruptions tfds --baseline b --restarts 6 "
        "--saliency spectral_residual --data-dir d --image-size 5 --output o"
    )
    cli.main(words.split())
    assert seen.pop("progress") and str(seen.pop("output")) == "o"
    assert seen == {
        "model": "m.keras",
        "dataset": "cifar10",
        "only": ["clean", "attack"],
        "limit": 9,
        "batch_size": 8,
        "seed": 7,
        "preprocess": ["scale=1/255", "mean=1"],
        "outputs": "logits",
        "signature": "s",
        "corruptions": "tfds",
        "baseline": "b",
        "restarts": 6,
        "saliency": "spectral_residual",
        "data_dir": "d",
        "image_size": 5,
    }
    assert "keras-mma: warning: careful" in capsys.readouterr().err


def test_help_and_version(capsys):
    for words, text in (
        (["--help"], "evaluate"),
        (["evaluate", "--help"], "--compare"),
        (["--version"], keras_mma.__version__),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 0 and text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("evaluate", "give either MODEL or --compare"),
        ("evaluate model --compare a", "give either MODEL or --compare"),
        ("evaluate model", "--dataset is needed: digits"),
        ("evaluate model --dataset digits --limit many", "--limit: invalid int value"),
        ("", "required: COMMAND"),
    ],
)
def test_words_that_do_not_do(capsys, words, match):
    assert match in refused(capsys, *words.split())


def test_bad_input_is_refused_in_one_line(digits, tmp_path, capsys):  # noqa: F811
    good, output = digits[2], tmp_path / "report"
    module, spec = tf.Module(), tf.TensorSpec((None, 16, 16, 3))
    tf.saved_model.save(module, tmp_path / "unsigned")
    module.two = tf.function(lambda a, b: channel_means(a + b), input_signature=[spec, spec])
    tf.saved_model.save(module, tmp_path / "two", signatures=module.two)
    sigmoid = saved_model(tmp_path / "sigmoid", lambda x: tf.sigmoid(channel_means(x) / 100))
    np.save(tmp_path / "images.npy", networks.pictures(4))
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 0]))
    arrays = f"arrays:{tmp_path}"
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "images.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:-9])
    np.save(damaged / "labels.npy", np.array([0, 1, 2, 0]))
    broken = save_published(tmp_path / "broken")
    (broken / "snow.npy").write_bytes(b"\x93NUMPY")
    other = save_published(tmp_path / "other", count=4, side=8)
    (tmp_path / "hollow.json").write_text(json.dumps({"schema": files.SCHEMA}))
    save_pictures(tmp_path / "sizes", [(16, 16), (16, 18)], "abc")
    three = saved_model(tmp_path / "three", channel_means)
    for model, dataset, more, match in [
        (tmp_path / "nowhere", "digits", [], "must be a SavedModel's folder or a .keras file"),
        (tmp_path / "empty", "digits", [], "a folder without saved_model.pb"),
        (tmp_path / "unsigned", "digits", [], "has no serving signature"),
        (tmp_path / "two", arrays, [], "must take one batch of images"),
        (sigmoid, arrays, [], "neither logits nor probabilities"),
        (good, "digits", ["--outputs", "probabilities"], "--outputs probabilities must not be negative"),
        (three, f"folder:{tmp_path / 'sizes'}", [], "pictures must be of one size"),
        (three, "digits", [], "takes images of 16 x 16 x 3"),
        (saved_model(tmp_path / "few", lambda x: channel_means(x)[:, :2]), arrays, [], "has 3 classes, the model 2"),
        (three, f"folder:{tmp_path / 'empty'}", [], "must hold pictures in one folder for each class"),
        (three, f"arrays:{tmp_path / 'empty'}", [], "images.npy is missing"),
        (three, f"arrays:{damaged}", [], "images.npy is damaged or no .npy file"),
        (three, arrays, ["--corruptions", tmp_path / "empty"], "must hold the published .npy files"),
        (three, arrays, ["--corruptions", broken], "snow.npy is damaged or no .npy file"),
        (three, arrays, ["--corruptions", other], "must hold five severities of the images of arrays:"),
        (three, arrays, ["--baseline", tmp_path / "hollow.json"], "hollow.json is a damaged report: lacks model"),
        (three, f"folder:{tmp_path / 'sizes'}", ["--image-size", "-1"], "--image-size must be at least 1"),
        (three, arrays, ["--corruptions", "tfds"], "is CIFAR-10-C and needs --dataset cifar10"),
        (three, arrays, ["--baseline", tmp_path / "none.json"], "none.json cannot be read as a report"),
        (three, arrays, ["--preprocess", "scale=x"], "must have numbers such as"),
        (three, arrays, ["--output", tmp_path / "images.npy"], "--output must be a folder"),
        (good, "mnist", [], "--dataset must be digits, cifar10"),
        (good, "digits", ["--saliency", "edges", "--only", "occlusion"], "--saliency: `detector` must be one of"),
    ]:
        line = refused(capsys, "evaluate", model, "--dataset", dataset, "--output", output, *more)
        assert match in line, line
        assert not (output / "report.json").exists() and not (output / "report.md").exists()


def test_a_model_that_is_not_repeatable_leaves_with_2(tmp_path, capsys):
    noisy = saved_model(tmp_path / "m", lambda x: channel_means(x) * tf.random.uniform(()))
    np.save(tmp_path / "images.npy", networks.pictures(4))
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 0]))
    line = refused(capsys, "evaluate", noisy, "--dataset", f"arrays:{tmp_path}", "--output", tmp_path / "r")
    assert "two identical calls of the model on 4 images disagree" in line and not (tmp_path / "r").exists()


@pytest.mark.parametrize("package", ["cv2", "sklearn"])
def test_missing_packages_are_named(monkeypatch, capsys, package):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == package else "there")
    line = refused(capsys, "evaluate", "m", "--dataset", "digits")
    assert line.endswith(f"error: {package} must be installed: pip install 'keras-mma[robustness]'")
    if package == "sklearn":  # which only the digits need
        assert "sklearn" not in refused(capsys, "evaluate", "m", "--dataset", "cifar10", "--limit", "0")


def test_compare_puts_reports_side_by_side(digits, tmp_path, capsys):  # noqa: F811
    networks.untrained((16, 16, 1), 10).save(tmp_path / "other.keras")
    arguments = {"limit": 40, "restarts": 1}
    first = robustness.evaluate(digits[2], "digits", output=tmp_path / "a", **arguments)
    second = robustness.evaluate(
        tmp_path / "other.keras", "digits", only=["corruption"], output=tmp_path / "b", **arguments
    )
    a, b, output = tmp_path / "a", tmp_path / "b" / "report.json", tmp_path / "both"
    assert cli.main(["evaluate", "--compare", str(a), str(b), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert printed in (output / "comparison.md").read_text() and f"| `{a}` | `{b}` |" in printed
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in printed.splitlines() if row[:1] == "|"}
    means = [f"{100 * one['corruption']['mean_error']:.1f} %" for one in (first, second)]
    found = rows["**corruption, mean error** (regenerated, CIFAR severities)"]
    assert [cell.strip(" |") for cell in found] == means
    assert rows["rotation ±20°, error"][1].strip(" |") == "-" == rows["PGD-20 8/255, robust accuracy"][1].strip(" |")
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")
    robustness.evaluate(digits[2], "digits", limit=41, only=["clean"], output=tmp_path / "c")
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "hollow.json").write_text(json.dumps({"schema": files.SCHEMA}))
    for other, match in [
        (tmp_path / "c", "are not of the same images: n 40 and 41"),
        (tmp_path / "text.json", "is no report of this version"),
        (tmp_path / "hollow.json", "hollow.json is a damaged report: lacks model"),
        (tmp_path / "none", "cannot be read as a report"),
    ]:
        assert match in refused(capsys, "evaluate", "--compare", a, other, "--output", tmp_path / "not")
        assert not (tmp_path / "not").exists()


@pytest.mark.slow
def test_interrupted_by_the_keyboard_it_resumes(digits, tmp_path):  # noqa: F811
    output = tmp_path / "report"
    words = ["evaluate", str(digits[2]), "--dataset", "digits", "--only", "corruption", "--limit", "150"]
    words += ["--output", str(output)]
    command = [sys.executable, "-m", "keras_mma.cli", *words]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # Shells start what runs in the background with interruptions ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while len(list(output.rglob("*.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130 and "interrupted; the same command goes on" in errors, errors
    assert "Traceback" not in errors and not (output / "report.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads((output / "report.json").read_text())
    assert report["run"]["parts_resumed"] >= 3 and len(report["corruption"]["results"]) == 14


@pytest.mark.slow
def test_a_stock_application(tmp_path, capsys):
    """MobileNetV2 of keras.applications, which takes inputs from -1 to 1 and gives probabilities."""
    application = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=3, alpha=0.35)
    application.export(tmp_path / "application", verbose=False)
    np.save(tmp_path / "images.npy", networks.pictures(12, 32, 32))
    np.save(tmp_path / "labels.npy", np.arange(12) % 3)
    words = f"evaluate {tmp_path / 'application'} --dataset arrays:{tmp_path} --only deformation attack --restarts 1"
    words += f" --preprocess scale=1/127.5 mean=1 --output {tmp_path / 'report'}"
    assert cli.main(words.split()) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["outputs"] == "probabilities" and report["model"]["preprocess"].startswith(
        "scale=0.0078431373"
    )
    assert len(report["deformation"]) == 8 and len(report["attack"]["results"]) == 5
    assert "outputs are probabilities" in capsys.readouterr().out


EXAMPLE = Path(__file__).parents[1] / "examples" / "train_cifar.py"
JAX = (
    "import sys; from tests.robustness import networks;"
    "networks.untrained((16, 16, 1), 10).export(sys.argv[1] + '/saved_model', verbose=False)"
)


@pytest.mark.slow
@pytest.mark.parametrize("made_by", ["the example", "the jax backend"])
def test_exports_from_the_command_line(tmp_path, made_by, capsys):
    small = ["--network", "wideresnet-10-1", "--fraction", "0.2", "--epochs", "1", "--batch-size", "32"]
    command = ["-c", JAX, str(tmp_path)] if "jax" in made_by else [str(EXAMPLE), *small, "--output", str(tmp_path)]
    environment = os.environ | {"KERAS_BACKEND": "jax" if "jax" in made_by else "tensorflow"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = f"evaluate {tmp_path / 'saved_model'} --dataset digits --limit 30 --restarts 1 --output {tmp_path / 'r'}"
    assert cli.main(words.split()) == 0
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["attack"]["left_out"] is None and len(report["corruption"]["results"]) == 14
    assert len(report["deformation"]) == 8 and set(report["occlusion"]["accuracy"]) == set(occlusion.ORDERS)
    assert "wrote" in capsys.readouterr().out
