"""The examples on digits on photographs: scenes, scores, and that the scripts run."""

import argparse
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import digit_scenes  # noqa: E402
import distribution  # noqa: E402
import finetune_detection  # noqa: E402
import paired_runs  # noqa: E402
import script  # noqa: E402
import segment_digits  # noqa: E402
import small_fcos  # noqa: E402
import train_cifar  # noqa: E402

from keras_mma.errors import InputError  # noqa: E402


def test_scenes_are_repeatable_and_their_boxes_hold_the_ink():
    scenes, again = (digit_scenes.compose("train", 20, 3) for _ in range(2))
    for a, b in zip(scenes, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for image in range(20):
        inside = np.zeros((32, 32), bool)
        for (top, left, bottom, right), digit in zip(
            scenes.boxes[image].astype(int), scenes.digits[image], strict=True
        ):
            pixels = scenes.maps[image, top:bottom, left:right]
            assert set(np.unique(pixels)) <= {0, digit_scenes.IGNORED, 1 + digit}
            assert all((pixels[edge] == 1 + digit).any() for edge in (0, -1, np.s_[:, 0], np.s_[:, -1]))
            inside[top:bottom, left:right] = True
        assert np.isin(scenes.maps[image][~inside], [0, digit_scenes.IGNORED]).all()
    other = digit_scenes.compose("test", 20, 3)
    assert not np.array_equal(other.images, scenes.images)


def test_mean_iou_equals_the_metric_of_keras(rng):
    maps = rng.choice([0, 1, 2, 3, 10, 255], (4, 8, 8))
    predicted = rng.integers(0, 11, maps.shape)
    metric = keras.metrics.MeanIoU(11, ignore_class=255)
    metric.update_state(maps, predicted)
    # Keras leaves out classes that do not occur; here all of them are predicted.
    np.testing.assert_allclose(segment_digits.mean_iou(predicted, maps), float(metric.result()), rtol=1e-5)


def test_targets_are_detected_and_scored():
    scenes = digit_scenes.compose("test", 12, 0, 40)
    targets = small_fcos.targets(scenes.boxes, scenes.digits, 40, 10)
    assert targets[..., :10].sum(-1).max() == 1 and (targets[..., :10].sum((1, 2, 3)) >= 4).all()
    exact = np.concatenate([20 * targets[..., :10] - 10, targets[..., 10:]], -1)
    found = [small_fcos.detections(each, 10) for each in exact]
    assert small_fcos.average_precision(found, scenes.boxes, scenes.digits, 10) > 0.99
    assert float(small_fcos.loss(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(exact))) < 1e-2
    wrong = [[((label + 1) % 10, score, box) for label, score, box in each] for each in found]
    assert small_fcos.average_precision(wrong, scenes.boxes, scenes.digits, 10) < 0.1
    # Two detections of one object: one of them is wrong.
    boxes, digits = np.array([[[0, 0, 10, 10], [20, 20, 30, 30]]]), np.array([[1, 1]])
    found = [[(1, 0.9, boxes[0, 0]), (1, 0.8, boxes[0, 0]), (1, 0.7, boxes[0, 1])]]
    np.testing.assert_allclose(small_fcos.average_precision(found, boxes, digits, 10), (1 + 2 / 3) / 2)


def test_runs_are_recorded_and_not_repeated(tmp_path, capsys):
    trained, output = [], tmp_path / "folder" / "scores.json"

    def train(arm, seed):
        trained.append((arm, seed))
        return 50.0 + seed + (arm == "mixed")

    paired_runs.run(train, 2, output, {"epochs": 1})
    assert "note:" not in capsys.readouterr().out
    scores = paired_runs.run(train, 3, output, {"epochs": 1})
    assert "has 2 seeds already. If their difference was looked at" in capsys.readouterr().out
    assert len(trained) == 6 and scores == {"none": [50, 51, 52], "mixed": [51, 52, 53]}
    text = paired_runs.report(scores, 0.5)
    assert "| mean | 51.00 | 52.00 | +1.00 |" in text and "Verdict at a margin of 0.5 points: better" in text
    with pytest.raises(InputError, match="`output` must be of the same settings. Received"):
        paired_runs.run(train, 1, output, {"epochs": 2})
    for seeds in (0, -1):
        with pytest.raises(InputError, match=f"`seeds` must be at least 1. Received: seeds={seeds}"):
            paired_runs.run(train, seeds, output, {"epochs": 1})
    output.write_text("{")
    with pytest.raises(InputError, match="scores.json cannot be read"):
        paired_runs.run(train, 1, output, {"epochs": 1})


def test_each_score_has_the_commit_and_the_versions_of_its_run(tmp_path, capsys, monkeypatch):
    output = tmp_path / "scores.json"

    def at_commit(name, seeds):
        monkeypatch.setattr(paired_runs.provenance, "commit", lambda: name)
        paired_runs.run(lambda arm, seed: 50.0, seeds, output, {"epochs": 1})
        return [(origin["commit"], origin["runs"]) for origin in json.loads(output.read_text())["origins"]]

    assert at_commit("old", 1) == [("old", ["none 0", "mixed 0"])]
    capsys.readouterr()
    assert at_commit("new", 2) == [("old", ["none 0", "mixed 0"]), ("new", ["none 1", "mixed 1"])]
    assert capsys.readouterr().out.startswith(f"note: other runs in {output} differ in commit\n")
    _, origin = json.loads(output.read_text())["origins"]
    assert origin["versions"]["keras"] == keras.__version__ and origin["backend"] == keras.backend.backend()
    # Earlier versions kept the origin of the first run.
    earlier = {"settings": {"epochs": 1}, "scores": {"none 0": 50.0}, "commit": "first", "versions": {}}
    output.write_text(json.dumps(earlier))
    assert at_commit("new", 1) == [("first", ["none 0"]), ("new", ["mixed 0"])]
    output.write_text(json.dumps(earlier | {"backend": "another"}))
    with pytest.raises(InputError, match="`output` must be of the same backend. Received: .* of another"):
        at_commit("new", 1)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "\nexample.py: interrupted\n"),
        (InputError("`x` is wrong"), 1, "example.py: error: `x` is wrong\n"),
        (OSError(13, "Permission denied"), 1, "example.py: error: [Errno 13] Permission denied\n"),
    ],
)
def test_the_examples_leave_with_one_line(capsys, monkeypatch, error, status, line):
    def fail():
        raise error

    monkeypatch.setattr(sys, "argv", ["examples/example.py"])
    with pytest.raises(SystemExit) as left:
        script.run(fail)
    assert (left.value.code, capsys.readouterr().err) == (status, line)
    for example in (segment_digits, finetune_detection, train_cifar):
        assert "\n    script.run(main" in Path(example.__file__).read_text()


def test_scores_of_other_settings_and_no_seeds_are_refused(tmp_path):
    output = tmp_path / "scores.json"
    output.write_text('{"settings": {}, "scores": {}}')
    for main, path in ((segment_digits.main, output), (finetune_detection.main, tmp_path)):
        for words, match in (([], "`output` must be of the same"), (["--seeds", "0"], "`seeds` must be at least 1")):
            with pytest.raises(InputError, match=match):
                main(["--scenes", "2", *words, "--output", str(path)])


def test_a_classifier_of_other_settings_is_not_used(tmp_path, monkeypatch):
    """The training knows the settings of the classifier that is in its folder; the detector's script does not."""
    (tmp_path / "classifier-none-3").mkdir()
    (tmp_path / "classifier-none-3" / "result.json").write_text("{}")
    options = argparse.Namespace(output=tmp_path, classifier_epochs=7)

    def refuse(words):
        assert words[words.index("--epochs") + 1] == "7" and words[words.index("--seed") + 1] == "3"
        raise InputError("holds another run")

    monkeypatch.setattr(finetune_detection.train_cifar, "main", refuse)
    with pytest.raises(InputError, match="holds another run"):
        finetune_detection.classifier("none", 3, options)


@pytest.mark.parametrize("devices", [0, -2])
def test_a_number_of_devices_is_positive(devices):
    with pytest.raises(ValueError, match=f"--devices must be at least 1. Received: {devices}"):
        distribution.start("mirrored", devices)


@pytest.mark.slow
def test_the_segmentation_example_runs(needs_tensorflow, tmp_path, capsys):
    output = tmp_path / "scores.json"
    segment_digits.main(["--scenes", "20", "--epochs", "1", "--filters", "2", "--seeds", "1", "--output", str(output)])
    assert set(json.loads(output.read_text())["scores"]) == {"none 0", "mixed 0"}
    assert "| mean |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_detection_example_runs(needs_tensorflow, tmp_path, capsys):
    small = {"--classifier-epochs": 1, "--scenes": 10, "--test-scenes": 5, "--epochs": 1, "--seeds": 1}
    arguments = [str(value) for pair in small.items() for value in pair]
    finetune_detection.main([*arguments, "--output", str(tmp_path)])
    assert (tmp_path / "classifier-mixed-0" / "model.keras").exists()
    printed = capsys.readouterr().out
    assert "| mean |" in printed and "finished training" not in printed
    first = json.loads((tmp_path / "scores.json").read_text())["scores"]
    (tmp_path / "scores.json").unlink()
    finetune_detection.main([*arguments, "--output", str(tmp_path)])
    assert capsys.readouterr().out.count("holds the finished training, which is evaluated") == 2
    assert json.loads((tmp_path / "scores.json").read_text())["scores"] == pytest.approx(first)
    (tmp_path / "scores.json").unlink()
    with pytest.raises(InputError, match="holds another run, with epochs=1: choose another folder"):
        finetune_detection.main([*arguments, "--classifier-epochs", "2", "--output", str(tmp_path)])
