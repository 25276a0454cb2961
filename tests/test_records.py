"""Commands that put tests on record: random cases, and other versions."""

import json
import shlex

import keras
import pytest

from benchmarks import fuzz, interruptions, version_matrix

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


def test_unknown_jobs_are_refused(capsys):
    with pytest.raises(SystemExit):
        interruptions.main(["--jobs", "evaluations"])
    assert "invalid choice: 'evaluations'" in capsys.readouterr().err


def test_unknown_versions_are_refused(capsys):
    with pytest.raises(SystemExit):
        version_matrix.main(["python3=ancient"])
    assert "Received: ancient" in capsys.readouterr().err
