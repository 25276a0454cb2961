"""The wheel and the source distribution, and the files of the project that name its version."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import keras_mma

ROOT = Path(__file__).parents[1]
# One training step of the installed package, in a folder without the sources.
STEP = """\
import keras
import numpy as np

import keras_mma

assert "site-packages" in keras_mma.__file__ and "wheel" in keras_mma.__file__, keras_mma.__file__
network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=3)
model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(), at=["stage1"])
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
history = model.fit(np.random.uniform(0, 1, (8, 16, 16, 3)), np.eye(3)[np.arange(8) % 3], verbose=0)
assert np.isfinite(history.history["loss"]).all()
"""


def run(*words, **settings):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that is built from the source distribution."""
    pytest.importorskip("build")
    tmp_path = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path]
    run(*build, "--sdist", ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    run(*build, "--wheel", tmp_path / archive.name.removesuffix(".tar.gz"))
    return next(tmp_path.glob("*.whl"))


def outside():
    """The environment variables, without the path to the sources."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_wheel_and_the_extra_of_a_backend_take_a_training_step(wheel, backend, tmp_path):
    """In a new environment, in which nothing else is installed."""
    environment, empty = tmp_path / "wheel", tmp_path / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=True, symlinks=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-compile"]
    run(*install, f"{wheel}[{backend}]", "-c", ROOT / "constraints.txt", env=outside())
    run(python, "-c", STEP, cwd=empty, env=outside() | {"KERAS_BACKEND": backend})


@pytest.mark.slow
def test_the_wheel_has_all_files_and_takes_a_training_step(wheel, tmp_path):
    """With the dependencies of this environment."""
    assert keras_mma.__version__ in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "keras_mma").rglob("*.py")}
    assert sources | {"keras_mma_command.py", "keras_mma/py.typed"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        "keras_mma",
        "keras_mma_command.py",
        f"keras_mma-{keras_mma.__version__}.dist-info",
    }
    environment = tmp_path / "wheel"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python, empty = environment / "bin" / "python", tmp_path / "empty"
    empty.mkdir()
    variables = outside()
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    run(*install, env=variables)
    run(python, "-c", STEP, cwd=empty, env=variables)
    version = run(environment / "bin" / "keras-mma", "--version", cwd=empty, env=variables)
    assert version == f"keras-mma {keras_mma.__version__}\n"


def test_the_citation_names_the_version():
    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == keras_mma.__version__


def test_the_citation_has_the_paper_of_every_method():
    """With the title by which its card names it."""
    text = (ROOT / "CITATION.cff").read_text()
    titles = {}
    for title, methods in re.findall(r'^  - type: .*\n    title: "?(.*?)"?\n    notes: (.*)$', text, re.M):
        titles |= dict.fromkeys(methods.split(", "), title)
    features = {keras_mma.layers.FeatureMixAdapt, keras_mma.layers.CatchUpMix}
    assert titles.keys() == {method.__name__ for method in {*keras_mma.layers.MIXERS.values(), *features}}
    for method, title in titles.items():
        card = " ".join((ROOT / "docs" / "methods" / f"{method.lower()}.md").read_text().split())
        assert f"*{title}*" in card, method


def test_the_changelog_names_every_layer_and_callback():
    text = (ROOT / "CHANGELOG.md").read_text()
    names = {*keras_mma.layers.__all__, *keras_mma.callbacks.__all__} - {"MIXERS", "Mixer"}
    assert not {name for name in names if not re.search(rf"\b{name}`", text)}
