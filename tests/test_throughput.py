"""The throughput benchmark: it runs, its record and page are complete, and its targets are judged as stated.

No test checks that anything is fast.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import growth, throughput, training_step
from benchmarks.augmentation import resampled
from benchmarks.bars import judge
from benchmarks.opencv_loop import opencv_saliency_mix
from benchmarks.report import render
from benchmarks.timing import interleave, ratio
from keras_mma import layers

ROOT = Path(__file__).parents[1]


@pytest.mark.exhaustive
def test_a_quick_run_writes_every_part_and_the_page(needs_tensorflow, tmp_path):
    pytest.importorskip("cv2")
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.throughput", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["throughput.json", "throughput.md"]
    record = json.loads((tmp_path / "throughput.json").read_text())
    assert set(record["parts"]) == {"augmentation", "step", "memory", "growth"} and record["versions"]["keras"]
    augmentation = record["parts"]["augmentation"]
    measured = {(row["method"], row["mode"]) for row in augmentation["rows"]}
    for mode in ("tf.data", "compiled", "XLA"):
        assert {(mixer.__name__, mode) for mixer in layers.MIXERS.values()} | {("copy", mode)} <= measured
    assert {("keras.layers.CutMix", "tf.data"), ("OpenCV loop, all threads", "Python")} <= measured
    own = tuple(mixer.__name__ for mixer in layers.MIXERS.values())
    assert not [name for name in augmentation["missing"] if name.startswith(own)], augmentation["missing"]
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
    "arguments, changes, reason",
    [
        (["--only", "growth"], {"versions": {"keras": "2"}}, "record of the same versions"),
        (["--only", "growth", "--quick"], {}, "sizes"),
        (["--only", "growth", "--run", "0"], {}, "--run requires --only"),
        (["--run", "0"], {}, "--run requires --only"),
        (["--only", "step", "--run", "2"], {}, "--run must be below 16"),
        (["--only", "step", "--run", "-1"], {}, "--run must be below 16"),
        (["--only", "step", "--run", "1"], {"network": "resnet50"}, "whose run 0 differs"),
        (["--rounds", "0"], {}, "--rounds must be a positive integer"),
    ],
)
def test_a_record_of_another_setting_is_refused(needs_tensorflow, tmp_path, capsys, arguments, changes, reason):
    pytest.importorskip("cv2")
    record = throughput._record(tmp_path / "throughput.json", quick=False, is_needed=True)
    first = {name: training_step.settings()[0][0][name] for name in training_step.SETTING}
    first |= {name: value for name, value in changes.items() if name in first}
    record |= {name: value for name, value in changes.items() if name in record}
    record["parts"] = {"step": {"runs": [first]}}
    written = tmp_path / "throughput.json"
    written.write_text(json.dumps(record))
    with pytest.raises(SystemExit, match="2"):
        throughput.main([*arguments, "--output", str(tmp_path)])
    assert reason in capsys.readouterr().err and json.loads(written.read_text()) == record


def test_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(SystemExit, match="2"):
        throughput.main(["--quick"])
    assert "KERAS_BACKEND must be tensorflow" in capsys.readouterr().err


def test_a_single_run_replaces_or_follows_those_that_are_kept():
    measured = []

    def measure_run(setting, rounds):
        measured.append((setting["network"], rounds))
        return {"rows": [len(measured)]}

    settings = [{"network": name} for name in "abc"]
    first = list(training_step._each(settings, measure_run, 5, None, ()))[-1]["runs"]
    assert [run["rows"] for run in first] == [[1], [2], [3]]
    second = list(training_step._each(settings, measure_run, 2, 1, first))[-1]["runs"]
    assert [(run["network"], run["rounds"], run["rows"]) for run in second] == [
        ("a", 5, [1]),
        ("b", 2, [4]),
        ("c", 5, [3]),
    ]
    assert len(list(training_step._each(settings, measure_run, 5, 1, first[:1]))[-1]["runs"]) == 2


def test_the_sites_of_a_mixer_fire_in_turn(needs_tensorflow):
    mixer = training_step.in_turn(layers.CutMix)(sites=(0, 1, 2))
    images = np.zeros((2, 8, 8, 3), "float32")
    assert [int(mixer(images, training=True)[1]["site"]) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_steps_of_all_sites_are_not_adjacent():
    for run in training_step.settings()[0]:
        order = list(training_step._apart({name: name for name in run["methods"]}))
        places = [place for place, name in enumerate(order) if name.startswith(training_step.MMA)]
        gaps = np.diff([*places, places[0] + len(order)]) if places else [2]
        assert len(places) in (0, 3) and min(gaps) > 1 and order[0] == "plain"


@pytest.mark.parametrize(
    "name, mixer, settings, points",
    [
        ("MixUp", "MixUp", {"sites": (0,)}, 0),
        ("CutMix", "CutMix", {"sites": (0,)}, 0),
        ("SaliencyMix", "SaliencyMix", {"sites": (0,), "detector": "fine_grained"}, 0),
        ("SaliencyMix, site 1", "SaliencyMix", {"sites": (1,), "detector": "fine_grained"}, ["stage1"]),
        ("SaliencyMix, site 2", "SaliencyMix", {"sites": (1,), "detector": "fine_grained"}, ["stage2"]),
        ("SaliencyMix + MMA", "SaliencyMix", {"detector": "fine_grained"}, ["stage1", "stage2"]),
        ("SaliencyMix, spectral_residual", "SaliencyMix", {"detector": "spectral_residual"}, 0),
        ("SaliencyMix, frequency_tuned", "SaliencyMix", {"detector": "frequency_tuned"}, 0),
        ("GuidedMixup", "GuidedMixup", {"detector": "smooth_spectral_residual"}, 0),
        ("GuidedMixup, spectral_residual", "GuidedMixup", {"detector": "spectral_residual"}, 0),
        ("SaliencyGrafting", "SaliencyGrafting", {"detector": "fine_grained"}, 0),
        ("SaliencyGrafting, activation", "SaliencyGrafting", {"detector": "activation", "attribution_layer": None}, 0),
        ("SaliencyGrafting, activation at stage2", "SaliencyGrafting", {"attribution_layer": "stage2"}, 0),
        ("SaliencyGrafting, gradient", "SaliencyGrafting", {"detector": "gradient", "detector_size": None}, 0),
        ("SaliencyGrafting, gradient at 18 pixels", "SaliencyGrafting", {"detector_size": 18}, 0),
        (
            "SaliencyGrafting, activation at stage2 at 18 pixels",
            "SaliencyGrafting",
            {"detector_size": 18, "attribution_layer": "stage2"},
            0,
        ),
        ("AttentiveMix, gradient", "AttentiveMix", {"detector": "gradient"}, 0),
        ("CutMix, label by sumix", "CutMix", {"label": "sumix"}, 0),
    ],
)
def test_a_method_has_the_mixer_of_its_name(name, mixer, settings, points):
    layer, at = training_step.mixer_of(name, "preactresnet18")
    assert isinstance(layer, getattr(layers, mixer)) and list(at) == list(points or ())
    assert {key: getattr(layer, key) for key in settings} == settings
    assert layer.probability == 1.0  # every sample of every batch is mixed


def test_every_method_has_a_mixer_and_sites_are_averaged():
    for run in sum(training_step.settings(), []) + sum(training_step.settings(quick=True), []):
        assert run["methods"][0] == "plain"
        for name in run["methods"]:
            training_step.mixer_of(name, run["network"])
    sites = dict(zip(training_step.SITES, ([1.0, 2.0], [2.0, 3.0], [6.0, 7.0]), strict=True))
    parts = {f"{training_step.MMA} {site}": [3.0 + site, 9.0] for site in range(3)}
    joined = training_step._joined({"plain": [1.0, 1.0], **sites, **parts})
    np.testing.assert_allclose(joined[training_step.MMA], [4.0, 9.0])
    np.testing.assert_allclose(joined[training_step.MEAN], [3.0, 4.0])
    assert len(joined) == 6


# The limits that the project has set.
STEP_LIMITS = {
    "SaliencyMix": 1.05,
    "SaliencyMix + MMA": 1.08,
    "SaliencyGrafting, activation": 1.4,
    "SaliencyGrafting, gradient": 2.1,
    "SaliencyGrafting, activation at 18 pixels": 1.15,
    "SaliencyGrafting, gradient at 18 pixels": 1.3,
    "AttentiveMix, gradient": 2.1,
    "PuzzleMix, gradient": 2.1,
    "CutMix, label by sumix": 1.4,
    "CatchUpMix, site 1": 1.05,
    **dict.fromkeys(["MixUp", "CutMix", "GMix", "HMix", "SmoothMix", "FMix", "GridMix", "ResizeMix"], 1.05),
}


def _run(network, backend, xla, rows):
    return {"network": network, "batch": 128, "backend": backend, "xla": xla, "rows": rows}


def test_steps_are_judged_by_their_limits():
    def ratio(limit):
        return {"median": limit, "min": 0.9 * limit, "max": 2.0 * limit}

    rows = [{"method": name, **ratio(limit)} for name, limit in STEP_LIMITS.items()] + [
        {"method": "GuidedMixup", **ratio(9.0)}
    ]
    settings = [("tensorflow", False), ("tensorflow", True), ("jax", True)]
    runs = [_run("preactresnet18", *setting, rows) for setting in settings]
    runs.append(_run("resnet50", "tensorflow", False, rows))
    bars = judge({"step": {"runs": runs}})
    assert len(bars) == len(settings) * len(STEP_LIMITS) == len({(bar["bar"], bar["where"]) for bar in bars})
    assert all(bar["met"] and bar["median"] == bar["limit"] for bar in bars)
    assert sorted(bar["limit"] for bar in bars) == sorted(len(settings) * list(STEP_LIMITS.values()))
    for row in rows:
        row["median"] *= 1.001
    assert not any(bar["met"] for bar in judge({"step": {"runs": runs}}))


def test_memory_is_judged_by_its_peak():
    def row(method, peak):
        rest = {"min": 0.5, "max": 9.0}
        return {"method": method, "peak": {"median": peak, **rest}, "growth": {"median": 5.0, **rest}}

    rows = [row("plain", 1.0), row("SaliencyMix", 8.0), row("SaliencyMix + MMA", 1.1)]
    (bar,) = judge({"memory": {"runs": [_run("preactresnet18", "jax", True, rows)]}})
    assert bar["met"] and bar["limit"] == bar["median"] == 1.1 and "jax with XLA" in bar["where"]


def test_the_committed_record_has_every_bar():
    record = json.loads((ROOT / "docs" / "results" / "throughput.json").read_text())
    counts = {}
    for bar in judge(record["parts"]):
        counts[bar["bar"].split(",")[0]] = counts.get(bar["bar"].split(",")[0], 0) + 1
    mixers = {mixer.__name__ for mixer in layers.MIXERS.values()}
    expected = {"CutMix": 12, "MixUp": 12, "SaliencyMix with defaults": 6, "SaliencyMix": 2, "peak memory with MMA": 6}
    expected |= {f"step with {name}": 1 for name in training_step.MASK_ONLY} | {
        "step with MixUp": 5,
        "step with CutMix": 8,
    }
    expected |= {f"step with {name}": 3 for name in ("SaliencyMix", "SaliencyMix + MMA", "CatchUpMix")}
    expected |= {"step with SaliencyGrafting": 12, "step with AttentiveMix": 3, "step with PuzzleMix": 3}
    # Time and memory by batch size and by image size; those of pairing by distance by image size only.
    expected |= {f"growth of {name}": 4 for name in mixers} | {"growth of GuidedMixup": 6}
    assert counts == expected
    assert (ROOT / "docs" / "results" / "throughput.md").read_text() == render(record)


def test_a_target_is_met_at_its_limit_and_missed_above():
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


def test_float_images_are_not_whole_numbers_and_keep_their_range():
    images = resampled(np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3)).astype("uint8"))
    assert images.dtype == "float32" and images.min() >= 0 and 1 < images.max() <= 255
    assert (images != np.round(images)).mean() > 0.8


def test_growth_is_judged_at_its_worst_size():
    rows = [
        {"method": method, "axis": axis, "value": value, "to_best": {"median": cost, "min": 0.9, "max": 2.0}}
        for method in ("CutMix", "GuidedMixup", growth.PAIRING)
        for axis in ("batch", "side")
        for value, cost in ((32, 1.0), (64, 1.2 if method == "CutMix" else 1.3), (128, 1.1))
    ]
    memory = growth.memory_rows("batch", [("CutMix", 2, 4), ("CutMix", 4, 4), ("CutMix", 8, 4)], [320, 320, 960])
    assert [row["bytes"] for row in memory] == [10.0, 5.0, 7.5] and [row["to_best"] for row in memory] == [1, 1, 1.5]
    bars = judge({"growth": {"rows": rows, "memory": memory}})
    # Pairing by distance compares all images of a batch with each other.
    assert [(bar["bar"].split()[2].strip(","), bar["where"], bar["met"]) for bar in bars] == [
        ("CutMix", "worst batch, 64", True),
        ("CutMix", "worst side, 64", True),
        ("GuidedMixup", "worst side, 64", False),
        ("distance", "worst side, 64", False),
        ("CutMix", "worst batch, 8", False),
    ]


def test_pairing_stops_being_worth_it_where_it_exceeds_the_limit():
    costs = {"GuidedMixup": (1.0, 1.19, 1.3, 2.0), "GuidedMixup, shuffled": (1.0, 1.0, 1.0, 1.0)}
    rows = [
        {"method": method, "axis": "batch", "value": 32 * 2**index, "nanoseconds": cost}
        for method, values in costs.items()
        for index, cost in enumerate(values)
    ]
    assert growth.crossing(rows) == 128
    assert growth.crossing([row for row in rows if row["value"] < 128]) is None


def test_every_mixer_grows():
    assert {type(mixer()) for mixer in growth.METHODS.values()} == set(layers.MIXERS.values())
    assert {"CutMix", "GuidedMixup, shuffled"} == {
        name for name in growth.QUICK_METHODS if growth.is_linear(name, "batch")
    }


@pytest.mark.slow
def test_memory_is_that_of_intermediate_and_final_results():
    """Labels and images of a mixed batch, and what is needed for them."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", json.dumps([["CutMix", 8, 16], ["GuidedMixup", 8, 16]])],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    cutmix, guided = json.loads(process.stdout.splitlines()[-1])
    assert 8 * (16 * 16 * 3 + 10 * 4) <= cutmix < 3 * 8 * (16 * 16 * 3 + 10 * 4) < guided


def test_functions_are_timed_alternately():
    calls = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert all(len(durations) == 3 and min(durations) > 0 for durations in seconds.values())
    measured = calls[4:]  # after two warm-up calls of each
    turns = [name for name, before in zip(measured, [None, *measured], strict=False) if name != before]
    assert turns == ["a", "b"] * 3


def test_a_ratio_is_taken_within_each_round():
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == {"median": 3.0, "min": 2.0, "max": 4.0}


def test_the_opencv_loop_weights_labels_by_area(rng):
    pytest.importorskip("cv2")
    # The first channel is the index of the image, the second has a salient spot.
    images = np.zeros((6, 24, 32, 3), "uint8")
    images[..., 0] = 20 * np.arange(6)[:, None, None]
    images[:, 5:8, 20:23, 1] = 200
    mixed, labels = opencv_saliency_mix(images, np.eye(6), rng, 1)
    for sample in range(6):
        shares = [np.mean(mixed[sample, ..., 0] == 20 * number) for number in range(6)]
        np.testing.assert_allclose(labels[sample], shares, atol=1e-6)
    assert (mixed != images).any()
