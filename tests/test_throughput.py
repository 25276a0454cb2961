"""The benchmark runs, and what it writes has its form and says what it measured; not that anything is fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import throughput, training_step
from benchmarks.bars import judge
from benchmarks.opencv_loop import opencv_saliency_mix
from benchmarks.report import render
from benchmarks.timing import interleave, ratio
from keras_mma import layers

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_quick_run_writes_every_part_and_the_page(needs_tensorflow, tmp_path):
    pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.throughput", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["throughput.json", "throughput.md"]
    record = json.loads((tmp_path / "throughput.json").read_text())
    assert set(record["parts"]) == {"augmentation", "step", "memory", "growth"} and record["versions"]["keras"]
    augmentation = record["parts"]["augmentation"]
    measured = {(row["method"], row["mode"]) for row in augmentation["rows"]}
    for mode in ("tf.data", "compiled", "XLA"):
        assert {("MixUp", mode), ("CutMix", mode), ("SaliencyMix", mode), ("copy", mode)} <= measured
    assert {("keras.layers.CutMix", "tf.data"), ("OpenCV loop, all threads", "Python")} <= measured
    ours = ("SaliencyMix", "SaliencyGrafting", "GuidedMixup", "MixUp", "CutMix")
    assert not [name for name in augmentation["missing"] if name.startswith(ours)], augmentation["missing"]
    for row in augmentation["rows"]:
        assert 0 < row["to"]["copy"]["min"] <= row["to"]["copy"]["median"] <= row["to"]["copy"]["max"]
    assert {row["method"] for row in record["parts"]["step"]["runs"][0]["rows"]} == {
        "plain",
        "SaliencyMix",
        "SaliencyMix + MMA",
    }
    assert all(row["peak"]["median"] > 0 for row in record["parts"]["memory"]["runs"][0]["rows"])
    assert {row["axis"] for row in record["parts"]["growth"]["rows"]} == {"batch", "side"}
    page = (tmp_path / "throughput.md").read_text()
    assert page == render(record) and "| SaliencyMix | XLA |" in page


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--only", "growth"], "figures of the same machine"),
        (["--only", "growth", "--run", "0"], "--run needs"),
        (["--run", "0"], "--run needs"),
    ],
)
def test_figures_that_do_not_belong_together_are_refused(tmp_path, capsys, arguments, reason):
    written = tmp_path / "throughput.json"
    written.write_text(json.dumps({"machine": "another", "versions": {}, "parts": {}}))
    before = written.read_text()
    with pytest.raises(SystemExit, match="2"):
        throughput.main([*arguments, "--output", str(tmp_path)])
    assert reason in capsys.readouterr().err and written.read_text() == before


def test_one_run_is_put_among_those_that_were_made():
    taken = []

    def take(setting, rounds):
        taken.append((setting["network"], rounds))
        return {"rows": [len(taken)]}

    settings = [{"network": name} for name in "abc"]
    first = list(training_step._each(settings, take, 5, None, ()))[-1]["runs"]
    assert [run["rows"] for run in first] == [[1], [2], [3]]
    again = list(training_step._each(settings, take, 2, 1, first))[-1]["runs"]
    assert [(run["network"], run["rounds"], run["rows"]) for run in again] == [
        ("a", 5, [1]),
        ("b", 2, [4]),
        ("c", 5, [3]),
    ]
    assert len(list(training_step._each(settings, take, 5, 1, first[:1]))[-1]["runs"]) == 2
    for number in (-1, 2, 3):
        with pytest.raises(ValueError, match="`run`"):
            list(training_step._each(settings, take, 5, number, first[:1]))


def test_a_host_in_turn_meets_every_site(needs_tensorflow):
    host = training_step.in_turn(layers.CutMix)(sites=(0, 1, 2))
    images = np.zeros((2, 8, 8, 3), "float32")
    assert [int(host(images, training=True)[1]["site"]) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    order = list(training_step._apart({name: name for name in ("plain", "CutMix", "MixUp", training_step.MMA)}))
    places = [place for place, name in enumerate(order) if name.startswith(training_step.MMA)]
    assert len(places) == 3 and min(np.diff(places)) > 1 and order[0] == "plain"


def test_a_bar_is_met_at_its_limit_and_missed_above():
    rows = [
        {"batch": 64, "side": 224, "dtype": "uint8", "mode": "XLA", "method": method, "to": to}
        for method, to in {
            "MixUp": {"keras.layers.MixUp": {"median": 1.0, "min": 0.9, "max": 1.1}},
            "CutMix": {"keras.layers.CutMix": {"median": 0.51, "min": 0.4, "max": 0.6}},
            "SaliencyMix": {
                "keras.layers.CutMix": {"median": 0.8, "min": 0.7, "max": 0.9},
                "OpenCV loop": {"median": 0.13, "min": 0.1, "max": 0.2},
            },
        }.items()
    ]
    bars = {bar["bar"]: bar for bar in judge({"augmentation": {"rows": rows}})}
    assert [bar["met"] for bar in bars.values()] == [True, False, True, False]
    assert bars["SaliencyMix, fine_grained at full size, to the OpenCV loop"]["limit"] == 1 / 8


def test_functions_are_timed_in_turns():
    calls = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert all(len(taken) == 3 and min(taken) > 0 for taken in seconds.values())
    measured = calls[4:]  # two calls of each come before
    turns = [name for name, before in zip(measured, [None, *measured], strict=False) if name != before]
    assert turns == ["a", "b"] * 3


def test_a_ratio_is_taken_within_each_round():
    found = ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0])
    assert found == {"median": 3.0, "min": 2.0, "max": 4.0}


def test_the_opencv_loop_pastes_what_its_labels_say(rng):
    pytest.importorskip("cv2")
    # The first channel is the image's number, the second has a spot to look at.
    images = np.zeros((6, 24, 32, 3), "uint8")
    images[..., 0] = 20 * np.arange(6)[:, None, None]
    images[:, 5:8, 20:23, 1] = 200
    mixed, labels = opencv_saliency_mix(images, np.eye(6), rng, 1)
    for row in range(6):
        shares = [np.mean(mixed[row, ..., 0] == 20 * number) for number in range(6)]
        np.testing.assert_allclose(labels[row], shares, atol=1e-6)
    assert (mixed != images).any()
