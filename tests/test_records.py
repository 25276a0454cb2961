"""Commands that put tests on record: random cases, and other versions."""

import json
import shlex
import types

import keras
import pytest

from benchmarks import (
    attribution_operations,
    convolutions,
    end_to_end,
    evaluation,
    fuzz,
    interruptions,
    lowering,
    monitor_cost,
    normalization,
    prefetching,
    version_matrix,
)

STATISTICS = """
============================ Hypothesis Statistics =============================
tests/fuzz/test_batches.py::test_images_and_the_plan:

  - during generate phase (1.21 seconds):
    - Typical runtimes: ~ 9-20 ms, of which ~ 1-3 ms in data generation
    - 40 passing, 0 failing, and 2 invalid test cases
    - Events:
      * 12.50%, CutMix

  - Stopped because settings.max_examples=40


tests/fuzz/test_graphs.py::test_the_loss_is_zero_in_any_network:

  - during reuse phase (0.01 seconds):
    - 1 passing, 0 failing, and 0 invalid test cases
  - during generate phase (1.21 seconds):
    - 30 passing, 1 failing, and 0 invalid test cases
"""


def test_random_cases_are_counted_by_test():
    assert fuzz.counts(STATISTICS) == {
        "tests/fuzz/test_batches.py::test_images_and_the_plan": {"passed": 40, "failed": 0, "invalid": 2},
        "tests/fuzz/test_graphs.py::test_the_loss_is_zero_in_any_network": {"passed": 31, "failed": 1, "invalid": 0},
    }


@pytest.mark.slow
def test_random_cases_are_drawn_and_recorded(tmp_path):
    words = ["--cases", "7", "--seeds", "3", "--workers", "1", "--output", str(tmp_path / "fuzz.json")]
    test = "tests/fuzz/test_batches.py::test_the_same_seed_gives_the_same_plan"
    assert fuzz.main([*words, "--tests", test]) == 0
    (run,) = json.loads((tmp_path / "fuzz.json").read_text())["runs"]
    assert run["seed"] == 3 and run["tests"][test]["passed"] >= 7 and run["tests"][test]["failed"] == 0


def test_the_command_of_random_cases_is_recorded_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "run", lambda seed, options: (0, {}))
    words = ["--cases", "7", "--seeds", "3", "--tests", "tests/fuzz/a.py", "--output", str(tmp_path / "fuzz.json")]
    assert fuzz.main(words) == 0
    command = json.loads((tmp_path / "fuzz.json").read_text())["command"]
    assert command == f"KERAS_BACKEND={keras.backend.backend()} python -m benchmarks.fuzz {shlex.join(words)}"


RATIO = {"median": 1.0, "min": 1.0, "max": 1.0}
#: Benchmarks, arguments, and what takes the place of their measurements.
MEASURED = {
    attribution_operations: ("--side 16", {"measure": lambda *_: ({}, {})}),
    convolutions: ("--sides 2 3 --rounds 1", {"convolution": lambda *_: lambda: None}),
    end_to_end: ("--networks preactresnet18 --cores 1", {"in_process": lambda *_: {"plain": [1.0]}}),
    evaluation: (
        "--dataset digits --networks wideresnet-10-1",
        {
            "train": lambda *_: (None, None),
            "measure_attacks": lambda *_: {"ratio": RATIO, "robust_accuracy": {}},
            "measure_shares": lambda *_: {"shares": {}},
        },
    ),
    interruptions: (
        "--times 2 --jobs training",
        {
            "run": lambda *_: (False, 0, ""),
            "training_results": lambda *_: {},
            "disturb": lambda *_: {"equal": True, "killed": True},
        },
    ),
    lowering: ("", {"measure": list}),
    monitor_cost: (
        "--rounds 2 --steps 3",
        {"trainings": lambda _: dict.fromkeys(monitor_cost.ARMS, lambda: types.SimpleNamespace(seconds=1.0))},
    ),
    normalization: ("--rounds 1 --networks resnet20", {"step": lambda *_: lambda: None}),
    prefetching: ("--images 4 --networks wideresnet-10-1", {"measure": lambda *_: []}),
    version_matrix: ("python3=oldest python3=newest", {"run": lambda *_: {"status": 0}}),
}


@pytest.mark.parametrize("benchmark", MEASURED, ids=lambda benchmark: benchmark.__name__.rpartition(".")[2])
def test_the_recorded_command_has_the_words_that_were_given(benchmark, tmp_path, monkeypatch, needs_tensorflow):
    text, replaced = MEASURED[benchmark]
    for name, function in replaced.items():
        monkeypatch.setattr(benchmark, name, function)
    words = [*text.split(), "--output", str(tmp_path if benchmark is end_to_end else tmp_path / "record.json")]
    benchmark.main(words)
    (path,) = tmp_path.glob("*.json")
    commands = []
    json.loads(path.read_text(), object_hook=lambda part: commands.append(part.get("command", "")))
    assert any(command.endswith(shlex.join(["python", "-m", benchmark.__name__, *words])) for command in commands)


def test_unknown_jobs_are_refused(capsys):
    with pytest.raises(SystemExit):
        interruptions.main(["--jobs", "evaluations"])
    assert "invalid choice: 'evaluations'" in capsys.readouterr().err


def test_unknown_versions_are_refused(capsys):
    with pytest.raises(SystemExit):
        version_matrix.main(["python3=ancient"])
    assert "Received: ancient" in capsys.readouterr().err
