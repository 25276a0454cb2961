"""The benchmarks of training from a pipeline and of evaluation: what they measure and write. No test is about speed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import convolutions, end_to_end, normalization, prefetching, timing
from keras_mma.robustness import run

ROOT = Path(__file__).parents[1]


def test_ratios_are_those_of_each_round():
    plain, *others = end_to_end.METHODS
    seconds = {plain: [1.0, 2.0, 4.0]} | {method: [2.0, 2.5, 4.0] for method in others}
    rows = end_to_end.summarize(seconds, 100)
    assert [row["method"] for row in rows] == list(end_to_end.METHODS)
    assert rows[0]["images_per_second"] == 50 and rows[1]["images_per_second"] == 40
    assert rows[1]["ratio"] == pytest.approx({"median": 0.8, "min": 0.5, "max": 1.0})


@pytest.mark.parametrize("mixer", [None, "CutMix", "keras.layers.CutMix"])
def test_a_pipeline_augments_and_mixes(needs_tensorflow, mixer):
    # Each image is constant, so that it shows which labels it has.
    labels = np.arange(1, 9)
    images = np.broadcast_to(20 * labels[:, None, None, None], (8, 8, 8, 3)).astype("uint8")
    ((batch, weights),) = end_to_end.pipeline(images, labels, 8, mixer)
    batch, weights = batch.numpy(), weights.numpy()
    assert batch.dtype == np.float32 and batch.shape == (8, 8, 8, 3) and weights.shape == (8, 10)
    shown = [set(np.unique(image // 20).astype(int)) - {0} for image in batch]
    named = [set(np.flatnonzero(label)) for label in weights]
    assert weights.sum(1) == pytest.approx(1) and (batch == 0).any()  # borders of crops
    assert all(seen <= known for seen, known in zip(shown, named, strict=True))
    assert (max(map(len, named)) > 1) == (mixer is not None)


@pytest.mark.exhaustive
def test_a_quick_run_trains_on_one_and_on_two_cores(needs_tensorflow, tmp_path):
    cores = sorted(os.sched_getaffinity(0))[:2]
    words = ["--quick", "--output", str(tmp_path), "--cores", *map(str, range(1, len(cores) + 1))]
    subprocess.run([sys.executable, "-m", "benchmarks.end_to_end", *words], cwd=ROOT, check=True, capture_output=True)
    record = json.loads((tmp_path / "end-to-end.json").read_text())
    assert [measured["cores"] for measured in record["runs"]] == list(range(1, len(cores) + 1))
    for measured in record["runs"]:
        assert {row["method"] for row in measured["rows"]} == set(end_to_end.METHODS)
        assert all(len(durations) == 1 and durations[0] > 0 for durations in measured["rounds_in_seconds"].values())
    page = (tmp_path / "end-to-end.md").read_text()
    assert page == end_to_end.render(record) and "| CutMix in the model |" in page


def test_a_process_may_use_the_given_cores_only(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()  # a package without it is found after those of PYTHONPATH
    script = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    (tmp_path / "benchmarks" / "end_to_end.py").write_text(script)
    core = sorted(os.sched_getaffinity(0))[-1]
    assert end_to_end.in_process({}, [core]) == [core]


def test_a_process_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="The run of `python -m benchmarks.missing --quick` failed.*exit status 1"):
        timing.in_process("missing", "--quick", env={})


@pytest.mark.slow
def test_a_quick_run_of_the_evaluation_writes_its_record(needs_tensorflow, tmp_path):
    words = ["--quick", "--output", str(tmp_path / "evaluation.json")]
    command = [sys.executable, "-m", "benchmarks.evaluation", *words]
    process = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["attack"]["ratio"]["median"] > 0 and record["attack"]["images"] == 12
    accuracies = record["attack"]["robust_accuracy"]
    assert accuracies["now"] == pytest.approx(accuracies["earlier"], abs=1 / 12)
    (shares,) = (part["shares"] for part in record["evaluation"].values())
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == {"forward", "gradient", "perturbation", "rest"}
    assert re.search(r"attacks: \d+\.\d\d \(.* of the earlier time", process.stdout)


def test_prefetching_is_measured_with_and_without_the_thread(tmp_path, monkeypatch):
    ways = []

    def measure(parts):
        ways.append(run.prefetch)
        assert all(part.name.startswith("deformation/") and part.count == 4 for part in parts)

    monkeypatch.setattr(run, "run", measure)
    prefetching.main(["--quick", "--output", str(tmp_path / "folder" / "record.json")])
    thread, none = run.prefetch, prefetching.without_thread
    assert ways == [thread, none, none, thread]  # the first pair is not measured
    (row,) = json.loads((tmp_path / "folder" / "record.json").read_text())["networks"]["wideresnet-10-1"]
    assert row["section"] == "deformation" and [len(each) for each in row["rounds_in_seconds"].values()] == [1, 1]


def test_items_are_computed_when_they_are_needed_without_the_thread():
    computed = []
    with prefetching.without_thread(computed.append(item) or item for item in range(3)) as items:
        assert next(items) == 0 and computed == [0]
        assert list(items) == [1, 2]


def test_a_convolution_is_timed_in_both_ways(needs_tensorflow, tmp_path):
    words = ["--rounds", "1", "--sides", "2", "--batch-size", "1", "--channels", "1"]
    convolutions.main([*words, "--output", str(tmp_path / "record.json")])
    (maps,) = json.loads((tmp_path / "record.json").read_text())["maps"]
    assert maps["side"] == 2 and set(maps["milliseconds"]) == {"TensorFlow", "XLA"} and maps["ratio"]["median"] > 0


def test_both_normalizations_train_the_same_network(needs_tensorflow, monkeypatch):
    fuse, networks = normalization.fused_normalization.fuse, []
    monkeypatch.setattr(
        normalization.fused_normalization, "fuse", lambda network: fuse(network) or networks.append(network)
    )
    plain, fused = (normalization.step("wideresnet-10-1", 8, 4, fused=fused) for fused in (False, True))
    assert len(networks) == 1
    for _ in range(3):
        assert fused() == pytest.approx(plain(), rel=1e-3)
