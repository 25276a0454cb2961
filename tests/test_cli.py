"""The command as it is typed: reports, comparisons, and one line for whatever cannot be used."""

import argparse
import dataclasses
import json
import os
import re
import shlex
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
from keras_mma.robustness import report as report_files
from keras_mma.robustness.perturbations.occlusion import ORDERS
from tests.datasets.files import save_classes
from tests.robustness import networks
from tests.robustness.conftest import digits  # noqa: F401
from tests.robustness.test_model import channel_means, saved_model
from tests.robustness.test_published import save_published

ROOT = Path(__file__).parents[1]


def save_arrays(path, images=None, labels=(0, 1, 2, 0)):
    """The name of a dataset whose test part has these images."""
    (path / "test").mkdir(parents=True)
    np.save(path / "test" / "images.npy", networks.pictures(4) if images is None else images)
    np.save(path / "test" / "labels.npy", np.array(labels))
    return f"arrays:{path}"


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
    assert (
        f"clean error {100 * report['clean']['error']:.1f} %" in printed
        and "outputs are logits, inferred from the values" in printed
    )
    assert (
        f"mean corruption error {100 * report['corruption']['mean_error']:.1f} % (regenerated, CIFAR severities)"
        in printed
    )
    assert "under PGD-20 8/255" in printed and f"wrote {tmp_path / 'r' / 'report.html'}" in printed
    assert set(report) >= {"clean", "corruption", "attack"} and not set(report) & {"deformation", "occlusion"}
    text = (tmp_path / "r" / "report.md").read_text()
    assert "## Deformation\n\nNot measured." in text


def test_all_options_reach_the_evaluation(monkeypatch, capsys):
    seen = {}

    def evaluate(model, dataset, **options):
        seen.update(options, model=model, dataset=dataset)
        return {"warnings": ["careful with `batch_size` and `plan`"]}

    monkeypatch.setattr(robustness, "evaluate", evaluate)
    monkeypatch.setattr(robustness, "headlines", lambda report: ["clean error 1 %"])
    words = (
        "evaluate m.keras --dataset cifar10 --only clean attack --limit 9 --batch-size 8 --seed 7 --outputs logits "
        "--preprocess scale=1/255 mean=1 --signature s --output-name n --corruptions tfds --frost-textures f "
        "--extra-corruptions --baseline b --epsilons 1 2.5 --steps 7 --restarts 6 --detector spectral_residual "
        "--data-dir d --image-size 5 --resize area --skip-damaged --output o"
    )
    assert cli.main(words.split()) == 0
    expected = {
        "model": "m.keras",
        "dataset": "cifar10",
        "only": ["clean", "attack"],
        "limit": 9,
        "batch_size": 8,
        "seed": 7,
        "preprocess": ["scale=1/255", "mean=1"],
        "outputs": "logits",
        "signature": "s",
        "output_name": "n",
        "corruptions": "tfds",
        "frost_textures": "f",
        "extra_corruptions": True,
        "baseline": "b",
        "epsilons": [1.0, 2.5],
        "steps": 7,
        "restarts": 6,
        "detector": "spectral_residual",
        "data_dir": "d",
        "image_size": 5,
        "resize": "area",
        "skip_damaged": True,
        "output": "o",
        "progress": True,
    }
    assert seen == expected
    assert {field.name for field in dataclasses.fields(robustness.Options)} | {"model", "dataset"} == set(expected)
    printed = capsys.readouterr()
    assert "keras-mma: warning: careful with --batch-size and `plan`" in printed.err
    assert printed.out == "clean error 1 %\nwrote o/report.html\n"


def test_the_defaults_of_the_command_line_are_those_of_python():
    words = vars(cli.parse(["evaluate", "m", "--dataset", "digits"]))
    for field in dataclasses.fields(robustness.Options):
        if field.name not in ("output", "progress"):
            assert words[field.name] == field.default, field.name
    assert words["output"] == "robustness-report"


def test_help_and_version(capsys):
    for words, text in (
        (["--help"], "evaluate"),
        (["evaluate", "--help"], "--frost-textures DIR"),
        (["compare", "--help"], "-o DIR"),
        (["study", "--help"], "--seeds N"),
        (["--version"], keras_mma.__version__),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 0 and text in capsys.readouterr().out


HEAVY = {"keras", "tensorflow", "jax", "torch", "scipy", "cv2", "PIL", "matplotlib", "sklearn", "pandas", "tqdm"}


@pytest.mark.parametrize(
    ("words", "expected", "heavy"),
    [
        ("--help", "usage: keras-mma", HEAVY | {"numpy"}),
        ("--version", f"keras-mma {keras_mma.__version__}\n", HEAVY | {"numpy"}),
        ("evaluate --help", "usage: keras-mma evaluate", HEAVY),
        ("compare --help", "usage: keras-mma compare", HEAVY | {"numpy"}),
        ("study --help", "usage: keras-mma study", HEAVY),
    ],
)
def test_help_imports_nothing_heavy(words, expected, heavy):
    code = (
        f"import sys, keras_mma_command; sys.argv[1:] = {words.split()}\n"
        "try: keras_mma_command.main()\n"
        "finally: print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(expected), done.stderr
    assert not heavy & set(done.stderr.split())


@pytest.mark.slow
def test_the_entry_point_loads_the_package_before_it_runs_a_command(tmp_path):
    """Models of this package can be read only after its classes are registered."""
    code = (
        "import sys, keras_mma_command; sys.argv[1:] = ['compare', 'nowhere']\n"
        "try: keras_mma_command.main()\n"
        "finally:\n"
        "    import keras, keras_mma\n"
        "    assert keras.saving.get_registered_object('keras_mma>MixModel') is keras_mma.MixModel\n"
        "    assert keras_mma.cli is sys.modules['keras_mma.cli']\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("keras-mma: error: nowhere cannot be read"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_examples_and_defaults(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    printed = capsys.readouterr().out
    assert cli.COMMANDS[name][0] and f"examples:\n  keras-mma {name} " in printed
    example = re.search(r"examples:\n((?:  .*\n)+)", printed)[1]
    for line in example.splitlines():
        assert cli.parse(shlex.split(line)[1:]).command
    for option in re.findall(r"^  (?:-\w DIR, )?(--.*(?:\n {8,}.*)*)", printed, re.M):
        is_switch = re.match(r"--[\w-]+ [A-Z]", option) is None  # off by default
        assert is_switch or re.search("[Dd]efault|" + "|".join(NO_DEFAULT), option), option


#: Options without a default: nothing is done or read unless they are given.
NO_DEFAULT = (
    "--dataset NAME",
    "--frost-textures",
    "--baseline REPORT",
    "--data-dir",
    "--arms",
    "--regime",
    "--output DIR",
)
NO_DEFAULT += ("--scheduler", "--check DIR", "--report DIR", "--output-name", "--methods")


def test_the_defaults_in_the_help_of_study_are_those_of_the_recipe():
    from keras_mma.study import command, recipe

    parser, defaults = argparse.ArgumentParser(), recipe.Recipe()
    command.add_arguments(parser)
    described = {action.dest: action.help for action in parser._actions}
    for name in ("dataset", "resize", "network", "epochs", "batch_size", "optimizer", "learning_rate", "schedule"):
        assert f"Default: {getattr(defaults, name)}." in described[name] + ".", name
    for name in ("validation_fraction", "weight_decay", "fraction"):
        assert f"Default: {getattr(defaults, name):g}." in described[name], name
    assert f"Default: {' '.join(defaults.mixing_points)}." in described["mixing_points"]
    assert sorted(command.MIXER_NAMES) == sorted(recipe.MIXERS)


def test_an_interruption_while_the_package_loads_prints_one_line():
    """Ctrl+C in the seconds in which Keras is imported, also where an import turns it into another error."""
    for error in ("raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGINT)", "disguised()"):
        code = (
            "import os, signal, sys, keras_mma_command; sys.argv[1:] = ['compare', 'nowhere']\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "def disguised():\n"
            "    try: os.kill(os.getpid(), signal.SIGINT)\n"
            "    except KeyboardInterrupt: raise ImportError('broken')\n"
            "class Finder:\n"
            "    def find_spec(self, name, *arguments):\n"
            f"        if name == 'keras': {error}\n"
            "sys.meta_path.insert(0, Finder())\n"
            "sys.exit(keras_mma_command.main())"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 130 and done.stderr.strip() == "keras-mma: interrupted", done.stderr


@pytest.mark.parametrize(("module", "code"), [("tensorflow.python", 2), ("another", 1)])
def test_a_backend_that_is_not_installed_is_named(module, code):
    program = (
        "import sys, keras_mma_command; sys.argv[1:] = ['compare', 'nowhere']\n"
        "class Finder:\n"
        "    def find_spec(self, name, *arguments):\n"
        f"        if name == 'keras': raise ModuleNotFoundError('No module', name='{module}')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.exit(keras_mma_command.main())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if code == 2:
        assert re.fullmatch(
            r"keras-mma: error: Keras' backend tensorflow is not installed: (set the environment variable "
            r"KERAS_BACKEND to [a-z ]+, or )?pip install 'keras-mma\[tensorflow\]'\n",
            done.stderr,
        ), done.stderr
    else:
        assert "Traceback" in done.stderr


def test_an_unknown_backend_is_one_line():
    words = [sys.executable, "-c", "import sys, keras_mma_command; sys.exit(keras_mma_command.main())", "compare", "x"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "foo"})
    (line,) = done.stderr.splitlines()
    assert (
        done.returncode == 2 and "KERAS_BACKEND must be tensorflow, jax or torch. Received: KERAS_BACKEND='foo'" in line
    )


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("evaluate", "required: MODEL, --dataset"),
        ("evaluate model", "required: --dataset"),
        ("evaluate model --dataset digits --limit many", "--limit: invalid int value"),
        ("evaluate model --dataset digits --limit 0", "error: --limit must be a positive integer. Received: limit=0"),
        ("compare", "required: REPORT"),
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
    arrays = save_arrays(tmp_path / "arrays")
    (tmp_path / "empty").mkdir()
    damaged = save_arrays(tmp_path / "damaged").removeprefix("arrays:")
    images = Path(damaged) / "test" / "images.npy"
    images.write_bytes(images.read_bytes()[:-9])
    broken = save_published(tmp_path / "broken", count=4)
    (broken / "snow.npy").write_bytes(b"\x93NUMPY")
    other = save_published(tmp_path / "other", count=4, side=8)
    (tmp_path / "hollow.json").write_text(json.dumps({"schema": report_files.SCHEMA}))
    save_classes(tmp_path / "sizes" / "test", (("a", 1), ("b", 1)))
    save_classes(tmp_path / "sizes" / "test", (("c", 1),), width=18)
    save_classes(tmp_path / "pipes" / "test", [("a", 2), ("b", 2), ("c", 2)])
    for pipe in (tmp_path / "pipe", tmp_path / "pipes" / "test" / "b" / "9.png"):
        os.mkfifo(pipe)
    three = saved_model(tmp_path / "three", channel_means)
    for model, dataset, more, match in [
        (tmp_path / "nowhere", "digits", [], "MODEL must be the folder of a SavedModel or a .keras file"),
        (tmp_path / "empty", "digits", [], "a folder without saved_model.pb"),
        (tmp_path / "pipe", "digits", [], "pipe, another kind of file"),
        (three, f"folder:{tmp_path / 'pipes'}", [], "b/9.png must be a regular file. Received: a FIFO"),
        (tmp_path / "unsigned", "digits", [], "must have a serving signature"),
        (tmp_path / "two", arrays, [], "must take one batch of images"),
        (sigmoid, arrays, [], "must be logits or probabilities, because"),
        (good, "digits", ["--outputs", "probabilities"], "--outputs probabilities must not be negative"),
        (
            three,
            f"folder:{tmp_path / 'sizes'}",
            ["--batch-size", "3"],
            "must be of one size, or --image-size must be given",
        ),
        (three, f"folder:{tmp_path / 'sizes'}", ["--image-size", "8"], "takes images of 16 x 16 x 3"),
        (
            saved_model(tmp_path / "few", lambda x: channel_means(x)[:, :2]),
            arrays,
            [],
            "must have the 3 classes of the dataset. Received: 2 classes",
        ),
        (three, f"folder:{tmp_path / 'empty'}", [], "must hold images in one folder for each class, at least two"),
        (three, f"arrays:{tmp_path / 'empty'}", [], "images.npy must be a .npy file. Received: no such file"),
        (three, f"arrays:{damaged}", [], "images.npy is damaged or not a .npy file"),
        (three, arrays, ["--corruptions", tmp_path / "empty"], "must hold the published .npy files"),
        (three, arrays, ["--corruptions", broken], "snow.npy is damaged or not a .npy file"),
        (three, arrays, ["--corruptions", other], "must hold five severities of the images of arrays:"),
        (three, arrays, ["--baseline", tmp_path / "hollow.json"], "hollow.json is a damaged report: lacks model"),
        (three, f"folder:{tmp_path / 'sizes'}", ["--image-size", "-1"], "--image-size must be a positive integer"),
        (three, arrays, ["--corruptions", "tfds"], "--corruptions tfds is CIFAR-10-C and needs --dataset cifar10"),
        (three, arrays, ["--baseline", tmp_path / "none.json"], "none.json cannot be read"),
        (three, arrays, ["--preprocess", "scale=x"], "must have numbers such as"),
        (three, arrays, ["--output", images], "--output must be a folder"),
        (good, "mnist", [], "--dataset must be digits, cifar10"),
        (good, "digits", ["--detector", "edges", "--only", "occlusion"], "--detector must be one of"),
    ]:
        line = refused(capsys, "evaluate", model, "--dataset", dataset, "--output", output, *more)
        assert match in line, line
        assert not (output / "report.json").exists() and not (output / "report.md").exists()


def test_a_model_that_is_not_repeatable_leaves_with_2(tmp_path, capsys):
    noisy = saved_model(tmp_path / "m", lambda x: channel_means(x) * tf.random.uniform(()))
    arrays = save_arrays(tmp_path / "arrays")
    line = refused(capsys, "evaluate", noisy, "--dataset", arrays, "--output", tmp_path / "r")
    assert "two identical calls of the model on 4 images disagree" in line and not (tmp_path / "r").exists()


@pytest.mark.parametrize("package", ["cv2", "sklearn"])
def test_missing_packages_are_named(monkeypatch, capsys, package):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == package else "there")
    line = refused(capsys, "evaluate", "m", "--dataset", "digits")
    assert line.endswith(f"error: {package} must be installed: pip install 'keras-mma[robustness]'")
    if package == "sklearn":  # which only the digits need
        assert "sklearn" not in refused(capsys, "evaluate", "m", "--dataset", "cifar10", "--limit", "0")


def test_the_gallery_is_a_png_file(capsys):
    line = refused(capsys, "gallery", "--dataset", "digits", "-o", "gallery.svg")
    assert line.endswith("--output must be the name of a PNG file. Received: gallery.svg")


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--samples", "1", "--samples must be 2 to 100. Received: samples=1"),
        ("--samples", "400", "--samples must be 2 to 100. Received: samples=400"),
        ("--seed", "-1", "--seed must not be negative. Received: seed=-1"),
    ],
)
def test_the_gallery_names_the_option_that_is_out_of_range(capsys, tmp_path, option, value, match):
    assert refused(capsys, "gallery", option, value, "-o", tmp_path / "gallery.png").endswith(match)


@pytest.mark.slow
def test_the_gallery_draws_every_mixer(tmp_path, capsys):
    path = tmp_path / "new" / "gallery.png"
    assert cli.main(["gallery", "--dataset", "digits", "--samples", "2", "--seed", "3", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}\n" and path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_compare_puts_reports_side_by_side(digits, tmp_path, capsys):  # noqa: F811
    networks.untrained((16, 16, 1), 10).save(tmp_path / "other.keras")
    first = robustness.evaluate(digits[2], "digits", limit=40, restarts=1, output=tmp_path / "a")
    second = robustness.evaluate(
        tmp_path / "other.keras", "digits", limit=40, only=["corruption"], output=tmp_path / "b"
    )
    a, b, output = tmp_path / "a", tmp_path / "b" / "report.json", tmp_path / "both"
    assert cli.main(["compare", str(a), str(b), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert printed in (output / "comparison.md").read_text() and f"| `{a}` | `{b}` |" in printed
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in printed.splitlines() if row[:1] == "|"}
    means = [f"{100 * report['corruption']['mean_error']:.1f} %" for report in (first, second)]
    cells = rows["**corruption, mean error** (regenerated, CIFAR severities)"]
    assert [cell.strip(" |") for cell in cells] == means
    assert rows["rotation ±20°, error"][1].strip(" |") == "-" == rows["PGD-20×1 8/255, robust accuracy"][1].strip(" |")
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")
    robustness.evaluate(digits[2], "digits", limit=41, only=["clean"], output=tmp_path / "c")
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "hollow.json").write_text(json.dumps({"schema": report_files.SCHEMA}))
    for other, match in [
        (tmp_path / "c", "are not comparable: n 40 and 41"),
        (tmp_path / "text.json", "must be a report of this version"),
        (tmp_path / "hollow.json", "hollow.json is a damaged report: lacks model"),
        (tmp_path / "none", "cannot be read"),
    ]:
        assert match in refused(capsys, "compare", a, other, "--output", tmp_path / "not")
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
    while (
        len(list(output.rglob("unfinished/**/*.json"))) < 3 and process.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130 and "interrupted; the same command resumes" in errors, errors
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
    arrays = save_arrays(tmp_path / "arrays", networks.pictures(12, 32, 32), np.arange(12) % 3)
    words = f"evaluate {tmp_path / 'application'} --dataset {arrays} --only deformation attack --restarts 1"
    words += f" --preprocess scale=1/127.5 mean=1 --output {tmp_path / 'report'}"
    assert cli.main(words.split()) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["outputs"] == "probabilities" and report["model"]["preprocess"].startswith("scale=1/127.5")
    assert len(report["deformation"]) == 8 and len(report["attack"]["results"]) == 5
    assert "outputs are probabilities" in capsys.readouterr().out


EXAMPLE = ROOT / "examples" / "train_cifar.py"
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
    assert len(report["deformation"]) == 8 and set(report["occlusion"]["accuracy"]) == set(ORDERS)
    assert "wrote" in capsys.readouterr().out
