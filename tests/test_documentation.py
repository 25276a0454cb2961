"""Code of the README, the pages and the docstrings runs; links exist; the package needs only Keras and NumPy."""

import doctest
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import callbacks, cli, datasets, robustness, visualization
from keras_mma.robustness.classifier import conventions

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PUBLIC = [
    keras_mma.MixModel,
    keras_mma.mixify,
    *(getattr(keras_mma.layers, name) for name in keras_mma.layers.__all__ if name != "MIXERS"),
    *(getattr(keras_mma.saliency, name) for name in keras_mma.saliency.__all__),
    *(getattr(keras_mma.models, name) for name in keras_mma.models.__all__),
]
PUBLIC += [visualization.plot_mixing, visualization.plot_adaptation, visualization.plot_history]
PUBLIC += [getattr(keras_mma.plans, name) for name in keras_mma.plans.__all__]
PUBLIC += [keras_mma.resampling.resize, keras_mma.sampling.beta]
PUBLIC += [getattr(keras_mma.metrics, name) for name in keras_mma.metrics.__all__]
# Base classes, whose subclasses have examples.
BASES = (keras_mma.layers.Mixer, keras_mma.layers.FeatureMixer)
MEASURING = [
    callbacks.MixingMonitor,
    callbacks.MixingSchedule,
    datasets.load,
    datasets.Dataset,
    datasets.balanced_indices,
    robustness.compare,
    robustness.evaluate,
    robustness.load,
    robustness.corrupt,
    robustness.deform,
    robustness.occlude,
    robustness.Preprocess,
    conventions.decide_outputs,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.stem
)
def test_the_code_of_a_page_runs_from_top_to_bottom(needs_tensorflow, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "__page__"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent.name == "tutorials" and "\nkeras-mma" in page.read_text()],
    ids=lambda page: page.stem,
)
def test_the_commands_of_a_tutorial_run(needs_tensorflow, page, tmp_path, monkeypatch):
    """With fewer seeds, epochs and images."""
    monkeypatch.chdir(tmp_path)
    smaller = {"--epochs": "1", "--seeds": "2", "--fraction": "0.05"}
    text = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)).replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("keras-mma ")]
    assert commands
    for words in commands:
        places = [number for number, word in enumerate(words) if word in smaller]
        for number in places:
            words[number + 1] = smaller[words[number]]
        assert cli.main(words) == 0
        assert (tmp_path / words[words.index("--output") + 1] / "report.html").exists()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_method_begins_with_what_was_measured(page):
    head = " ".join(page.read_text().partition("\n## ")[0].split())
    (study, figures) = re.search(
        r"\]\(\.\./results/(methods-\w+)/README\.md\).*?(\S+ percentage points of accuracy \[.*?\])", head
    ).groups()
    report = json.loads((ROOT / "docs" / "results" / study / "report.json").read_text())
    comparisons = {each["method"]: each for each in report["analysis"]["settings"][0]["comparisons"]}
    own = comparisons[{"randomchoice": "switch", "featuremixadapt": "mma"}.get(page.stem, page.stem)]
    expected = f"{own['mean']:.1f} percentage points of accuracy [{own['low']:.1f}, {own['high']:.1f}]"
    assert figures == expected.replace("-", "−")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_exist(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("obj", PUBLIC + MEASURING, ids=lambda obj: obj.__name__)
def test_examples_in_docstrings_run(needs_tensorflow, obj, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"keras": keras, "keras_mma": keras_mma, "np": np}
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    results = [runner.run(case) for case in finder.find(obj, globs=names)]
    assert not sum(result.failed for result in results)
    assert bool(sum(result.attempted for result in results)) == (">>>" in (obj.__doc__ or ""))


@pytest.mark.parametrize(
    "obj", [t for t in PUBLIC if inspect.isclass(t) and not issubclass(t, tuple)], ids=lambda obj: obj.__name__
)
def test_docstrings_of_classes_are_complete(obj):
    text = inspect.getdoc(obj)
    sections = ["Args:"]
    if issubclass(obj, keras_mma.layers.Mixer) and obj is not keras_mma.layers.Mixer:
        assert "**kwargs: Arguments of `Mixer`:" in text and "See `Mixer` for the call." in " ".join(text.split())
    else:
        sections += ["Call arguments:", "Returns:", "Raises:"]
    sections += [] if obj in BASES else ["Example:"]
    # `Detector` implements no paper.
    sections += [] if obj in (*BASES, keras_mma.saliency.Detector) else ["References:"]
    places = [text.find(section) for section in sections]
    assert -1 not in places and places == sorted(places), dict(zip(sections, places, strict=True))
    described = text.partition("Args:\n")[2].partition("\n\n")[0]
    for name in list(inspect.signature(obj.__init__).parameters)[1:]:
        assert re.search(rf"^    (\*{{0,2}}\w+, )*\*{{0,2}}{name}(, \w+)*: ", described, re.M), name


@pytest.mark.slow
def test_the_package_imports_with_keras_and_numpy_alone():
    script = (
        "import builtins, sys, keras, numpy\n"
        "imported, original = set(), builtins.__import__\n"
        "def record(name, names=None, *others):\n"
        "    if names and names.get('__name__', '').startswith('keras_mma'):\n"
        "        imported.add(name.partition('.')[0])\n"
        "    return original(name, names, *others)\n"
        "builtins.__import__ = record\n"
        "import keras_mma, keras_mma.cli\n"
        "print(*sorted(imported - sys.stdlib_module_names))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["keras", "keras_mma", "numpy"]
