"""A study from its arguments to its report, and the command: with made-up training runs, and a few real ones."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import keras
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

if keras.backend.backend() != "tensorflow":
    pytest.skip("the recipe feeds its networks by tf.data", allow_module_level=True)

import keras_mma  # noqa: E402
from keras_mma.errors import InputError  # noqa: E402
from keras_mma.study import (  # noqa: E402
    cell_training,
    checking,
    command,
    planning,
    power,
    running,
    sequential,
    study,
    study_cells,
    study_plan,
    tuning,
)
from keras_mma.study.__main__ import main  # noqa: E402
from keras_mma.study.arms import Arm  # noqa: E402
from tests.study import fakes  # noqa: E402

ROOT = Path(__file__).parents[2]
SMALL = {"dataset": "digits", "network": "wideresnet-10-1", "epochs": 2}
SMALL_WORDS = ["--dataset", "digits", "--network", "wideresnet-10-1", "--epochs", "2", "--methods", "none", "cutmix"]


def run(output, methods=("none", "cutmix"), seeds=2, **arguments):
    return study.study(output, methods, seeds=seeds, **SMALL | {"train": fakes.train} | arguments)


@pytest.fixture
def fake_trainings(monkeypatch):
    """Make-believe training runs behind the command."""
    monkeypatch.setitem(study.study.__kwdefaults__, "train", fakes.train)
    monkeypatch.setattr(cell_training, "train_cell", fakes.train)


def test_the_plan_is_written_before_the_first_training(tmp_path):
    seen = []

    def train(cell, output, on_epoch):
        seen.append(json.loads((tmp_path / "s" / "plan.json").read_text()))
        return fakes.train(cell, output, on_epoch)

    done = run(tmp_path / "s", train=train)
    written = seen[0]
    assert all(plan_ == written for plan_ in seen) and done.report["plan"] == written
    assert written["seeds"] == 2 and written["baseline"] == "none" and written["recipe"]["dataset"] == "digits"
    assert written["images"]["n"] == 450 and 1200 < written["images"]["training_images"] < 1220
    assert len(written["images"]["sha256"]) == 64
    assert not done.stopped and not done.failures and len(done.report["cells"]) == 4
    assert (tmp_path / "s" / "report.html").exists()


def test_the_recipe_is_the_default_changed_by_the_regime_changed_by_single_settings(tmp_path):
    settings, dimensions = planning._settings("visible", {"batch_size": 50, "epochs": [5, 10]})
    assert (settings["dataset"], settings["batch_size"], settings["augmentation"]) == ("cifar10", 50, False)
    assert dimensions == {"fraction": [0.1], "network": ["wideresnet-10-2"], "image_size": [16], "epochs": [5, 10]}
    settings, dimensions = planning._settings(None, {"dataset": "folder:x"})
    assert dimensions["image_size"] == [32] and settings["learning_rate"] == 0.1
    assert planning._settings("recognised", {})[1]["network"] == ["resnet20"]
    with pytest.raises(
        InputError, match="`regime` must be one of visible, recognised, realistic. Received: regime='x'"
    ):
        planning._settings("x", {})
    with pytest.raises(InputError, match="`seed` must be a setting of the recipe"):
        planning._settings(None, {"seed": 3})


def test_settings_of_numpy_are_those_of_python(tmp_path):
    settings = SMALL | {"epochs": np.int64(2), "learning_rate": np.float32(0.5)}
    plan = planning.make(["none", "cutmix"], settings=settings, seeds=2, margin=0.5)
    assert plan["dimensions"]["epochs"] == [2] and plan["recipe"]["learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("arm", "settings", "match"),
    [
        (Arm("x", "cutmix"), {"epochs": []}, r"`epochs` must have at least one value. Received: epochs=\[\]"),
        (Arm("x", "cutmix"), {"image_size": ()}, "`image_size` must have at least one value"),
        (
            Arm("x", "cutmix", mixing_points=("stage3",)),
            {},
            "must not have mixing points for cutmix, .* Received: x",
        ),
        (Arm("x", "saliencymix", {"detector": abs}), {}, "Arguments of `methods` must be numbers, strings, lists"),
    ],
)
def test_what_a_plan_cannot_hold_is_refused(arm, settings, match):
    with pytest.raises(InputError, match=match):
        planning.make(["none", arm], settings=SMALL | settings, seeds=2, margin=0.5)


@pytest.mark.parametrize(
    ("shape", "classes", "match"),
    [
        (
            (8, 8, 1),
            4,
            "the same shape, or `image_size` must be given. Received: .*8, 8, 3.*8, 8, 1.* in the test",
        ),
        ((8, 8, 3), 5, "no class without training images. Received: 4 classes for training, 5 in the test part"),
    ],
)
def test_parts_on_which_the_model_cannot_be_measured_are_refused(tmp_path, shape, classes, match):
    for part, image, count in (("train", (8, 8, 3), 4), ("test", shape, classes)):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "images.npy", np.zeros((40, *image), "uint8"))
        np.save(tmp_path / part / "labels.npy", np.arange(40) % count)
    with pytest.raises(InputError, match=match):
        planning.make(["none", "cutmix"], settings=SMALL | {"dataset": f"arrays:{tmp_path}"}, seeds=2, margin=0.5)


def test_for_one_seed_all_methods_have_the_same_recipe(tmp_path):
    run(tmp_path, ("none", "x=cutmix+mma(temperature=1,sites=0-1,at=stage1)"))
    recipes = {name: record["recipe"] for name, record in study_cells.read_records(tmp_path).items()}
    of_arms = {"method", "mixer_arguments", "adapt_arguments", "mixing_points"}
    for seed in (0, 1):
        differing = {
            name for name, value in recipes[f"none-seed{seed}"].items() if recipes[f"x-seed{seed}"][name] != value
        }
        assert differing <= of_arms
    assert recipes["x-seed1"]["mixing_points"] == ["stage1"] and recipes["x-seed1"]["seed"] == 1


def test_more_seeds_extend_a_study(tmp_path):
    run(tmp_path, seeds=2)
    before = study_cells.read_records(tmp_path)
    done = run(tmp_path, seeds=3)
    assert done.report["plan"]["looks"] == [2] and done.report["analysis"]["extended"]
    after = study_cells.read_records(tmp_path)
    assert len(after) == 6 and all(after[name] == record for name, record in before.items())


def test_a_margin_that_no_study_can_see_is_described(tmp_path, capsys):
    run(tmp_path, margin=0.0001, on_plan=command.describe)
    assert "0.0001 points need more than 1,000,000 seeds" in capsys.readouterr().out


def test_an_extended_study_detects_less_than_a_new_one_of_its_size(tmp_path, capsys):
    described = []
    for folder, first in (("new", 5), ("extended", 2)):
        run(tmp_path / folder, seeds=first)
        run(tmp_path / folder, seeds=5, on_plan=command.describe)
        described.append(capsys.readouterr().out)
    # 5 seeds at 95 %, and the level of a plan with looks after 2 and 5.
    level = sequential.sequential_level((2, 5))
    for text, alpha in zip(described, (0.05, level), strict=True):
        assert f"detect a difference of {power.detectable_difference(5, 0.5, level=alpha):.1f} points" in text
        assert f"0.5 points need {power.seeds_for_power(0.5, 0.5, level=alpha)} seeds" in text
    assert "note: the seeds were raised" not in described[0]
    assert "note: the seeds were raised from 2 to 5 on " in described[1]


def test_a_budget_leaves_an_unfinished_report(tmp_path):
    done = run(tmp_path, budget_minutes=-1)
    assert done.stopped and done.report["analysis"]["finished"] == 0
    assert not run(tmp_path).stopped


def test_the_budget_is_shared_by_the_tuning_the_trainings_and_the_measurements(tmp_path, monkeypatch):
    budgets, now = [], [0.0]
    monkeypatch.setattr(study.time, "time", lambda: now[0])
    runs = running.run

    def spend(todo, folder, train, after=None, budget_minutes=None, **resources):
        budgets.append(budget_minutes)
        now[0] += 60 * 6
        return runs(todo, folder, train, **resources)

    monkeypatch.setattr(running, "run", spend)
    done = run(tmp_path, tune=True, tune_weight_decay=[0.0], evaluate=["clean"], budget_minutes=10)
    assert budgets == [10, 4] and done.stopped and done.report["analysis"]["complete"]
    assert done.report["robustness"] is None


def test_a_study_whose_models_cannot_be_measured_has_a_report(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise InputError("no model")

    monkeypatch.setattr(study.evaluation, "after_training", lambda *_: None)
    monkeypatch.setattr(study.evaluation, "measure", fail)
    with pytest.raises(InputError, match="no model"):
        run(tmp_path, evaluate=["clean"])
    assert json.loads((tmp_path / "report.json").read_text())["analysis"]["complete"]
    # What fails after a training is told, and the report is written all the same.
    monkeypatch.setattr(study.evaluation, "after_training", lambda *_: fail)
    done = run(tmp_path / "other", evaluate=["clean"])
    assert done.failures["none-seed0"] == "InputError: no model" and done.report["analysis"]["complete"]


def test_failures_are_returned_and_the_report_is_unfinished(tmp_path, monkeypatch):
    def train(cell, output, on_epoch):
        if cell.name == "cutmix-seed1":
            raise ValueError("out of luck")
        return fakes.train(cell, output, on_epoch)

    done = run(tmp_path, train=train)
    assert done.failures == {"cutmix-seed1": "ValueError: out of luck"} and not done.report["analysis"]["complete"]


def test_tuning_comes_first_and_uses_the_validation_part_and_other_seeds(tmp_path):
    trained = []

    def train(cell, output, on_epoch):
        trained.append(cell)
        result = fakes.train(cell, output, on_epoch)
        if cell.part == "validation":
            best = {"none": 0.3, "cutmix": 0.1}[cell.method]
            result |= {"accuracy": 0.9 if cell.recipe["learning_rate"] == best else 0.5, "correct": None}
        return result

    done = run(tmp_path, tune=True, tune_weight_decay=[0.0, 5e-4], tune_seeds=2, train=train)
    grid = [cell for cell in trained if cell.part == "validation"]
    assert len(grid) == 2 * 3 * 2 * 2 and trained[: len(grid)] == grid and len(trained) == len(grid) + 4
    assert not {cell.seed for cell in grid} & {0, 1}
    assert {cell.recipe["learning_rate"] for cell in grid} == {0.0333, 0.1, 0.3}
    chosen = {cell.method: cell.recipe["learning_rate"] for cell in trained if cell.part == "test"}
    assert chosen == {"none": 0.3, "cutmix": 0.1}
    # Of equal points the one of the recipe is chosen.
    assert {cell.recipe["weight_decay"] for cell in trained if cell.part == "test"} == {5e-4}
    text = (tmp_path / "report.md").read_text()
    assert "were tuned for each method on the validation part" in text and "| `cutmix` | 0.1 | 0.0005 |" in text
    assert "The tuned learning rate and weight decay of `none` is the largest or the smallest of the grid" in text
    assert json.loads((tmp_path / "tuned.json").read_text()) == done.report["tuned"]
    assert "`--tune` tunes all of them" in (run(tmp_path / "b"), (tmp_path / "b" / "report.md").read_text())[1]


def test_an_interrupted_tuning_chooses_nothing(tmp_path):
    done = run(tmp_path, tune=True, budget_minutes=-1)
    assert done.stopped and done.report["tuned"] is None and not (tmp_path / "tuned.json").exists()


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        ({"learning_rate": [-0.1]}, "`tune_learning_rate` must be finite numbers, not negative"),
        ({"weight_decay": [float("inf")]}, "`tune_weight_decay`"),
        ({"seeds": 0}, "`tune_seeds` must be a positive integer"),
        ({"seeds": 10_001}, "`tune_seeds` must be 1 to 10,000"),
        ({"seeds": 20_000}, "Received: tune_seeds=20000"),
        ({"learning_rate": []}, "`tune_learning_rate` must have at least one number"),
    ],
)
def test_grids_that_are_refused(grid, match):
    with pytest.raises(InputError, match=match):
        tuning.make_grid(fakes.RECIPE, **grid)


def test_only_the_edges_of_a_grid_are_warned_about():
    grid = {"learning_rate": [0.1, 0.2, 0.3], "weight_decay": [0.0], "seeds": 1}
    chosen = {name: {"learning_rate": rate, "weight_decay": 0.0} for name, rate in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    assert tuning.at_the_edge({"tuning": grid}, chosen) == {"a": ["learning_rate"], "c": ["learning_rate"]}


def test_the_grid():
    assert 0.12345 in tuning.make_grid({"learning_rate": 0.12345, "weight_decay": 0.0})["learning_rate"]
    assert tuning.make_grid({"learning_rate": 0.1, "weight_decay": 0.0}) == {
        "learning_rate": [0.0333, 0.1, 0.3],
        "weight_decay": [0.0],
        "seeds": 1,
    }


def test_the_command_prints_the_plan_and_the_verdicts(tmp_path, capsys, fake_trainings):
    arms = tmp_path / "arms.toml"
    arms.write_text('soft = "cutmix+mma(temperature=1)"')
    main([*SMALL_WORDS, "--seeds", "3", "--arms", str(arms), "--output", str(tmp_path / "s")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: 3 methods x 3 seeds = 9 training runs, baseline none"
    assert lines[1] == "each trains wideresnet-10-1 for 2 epochs"
    assert "3 seeds detect a difference of" in lines[2] and "0.5 points need 13 seeds" in lines[2]
    assert lines[-4].startswith("digits: none ") and lines[-3].split()[0] == "cutmix" and lines[-2].split()[0] == "soft"
    assert lines[-1] == f"wrote {tmp_path / 's'}/report.html"


def test_the_command_passes_all_options_on(monkeypatch, tmp_path):
    passed = {}

    def stand_in(output, methods, **options):
        passed.update(options, output=output, methods=[arm.name for arm in methods])
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "study", stand_in)
    words = (
        "--methods none cutmix --baseline cutmix --seeds 7 --first-seed 2 --margin 1 --part validation "
        "--evaluate clean --limit 9 --regime visible --dataset digits --data-dir d --fraction 0.5 1 "
        "--network a b --image-size 8 16 "
        "--epochs 1 2 --resize area --skip-damaged --validation-fraction 0.2 --mixing-points x y --batch-size 3 "
        "--optimizer adam --learning-rate 0.5 --schedule constant --weight-decay 0 --no-augmentation --flip "
        "--mixed-precision mixed_bfloat16 --jit --tune --tune-learning-rate 1 2 --tune-weight-decay 3 --tune-seeds 4 "
        "--jobs 2 --scheduler s --budget-minutes 5 --output o"
    )
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 130
    assert passed.pop("on_plan") is command.describe and passed.pop("progress")
    assert passed.pop("command").startswith("keras-mma study --methods none cutmix --baseline cutmix")
    assert passed == {
        "output": "o",
        "methods": ["none", "cutmix"],
        "baseline": "cutmix",
        "seeds": 7,
        "first_seed": 2,
        "margin": 1.0,
        "part": "validation",
        "evaluate": ["clean"],
        "limit": 9,
        "regime": "visible",
        "dataset": "digits",
        "data_dir": "d",
        "fraction": [0.5, 1.0],
        "network": ["a", "b"],
        "image_size": [8, 16],
        "epochs": [1, 2],
        "resize": "area",
        "skip_damaged": True,
        "validation_fraction": 0.2,
        "mixing_points": ["x", "y"],
        "batch_size": 3,
        "optimizer": "adam",
        "learning_rate": 0.5,
        "schedule": "constant",
        "weight_decay": 0.0,
        "augmentation": False,
        "flip": True,
        "mixed_precision": "mixed_bfloat16",
        "jit": True,
        "tune": True,
        "tune_learning_rate": [1.0, 2.0],
        "tune_weight_decay": [3.0],
        "tune_seeds": 4,
        "jobs": 2,
        "scheduler": "s",
        "budget_minutes": 5.0,
    }


def make_pictures(folder, counts):
    from PIL import Image

    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (20 * number,) * 3).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--methods", "none", "cutmx"], "--methods has the unknown method cutmx; did you mean cutmix?"),
        (["--methods", "none", "cutmix("], "--methods must be written as"),
        (["--methods", "none"], "--methods must name at least two"),
        (["--methods", "none", "cutmix(alpha=0)"], "`alpha` must be a positive"),
        (["--methods", "none", "cutmix(foo=1)"], "--methods cutmix has no argument `foo`"),
        (["--methods", "none", "cutmix+mma(foo=1)"], "--methods cutmix+mma(foo=1) cannot be built"),
        (["--methods", "none", "x=cutmix+mma(at=stage9)"], "--methods x cannot be built: ValueError: `at` must name"),
        (["--network", "wideresnet-11-1"], "--network wideresnet-11-1 cannot be built: ValueError: `depth` must be"),
        (
            ["--mixing-points", "stage9", "--methods", "none", "cutmix+mma"],
            "--methods cutmix+mma cannot be built: ValueError: --mixing-points must name",
        ),
        (["--budget-minutes", "nan"], "--budget-minutes must be a number of minutes. Received: budget_minutes=nan"),
        (["--arms", "x.txt"], "--arms must be a .toml or a .json file"),
        (["--baseline", "mixup"], "--baseline must be one of none, cutmix"),
        (["--seeds", "1"], "--seeds must be 2 to 10,000: the spread of the results, and so an interval, needs two"),
        (["--margin", "0"], "--margin must be a number of points"),
        (["--part", "train"], "--part must be one of test, validation"),
        (["--part", "validation", "--validation-fraction", "0"], "--validation-fraction must be positive"),
        (["--evaluate", "foo"], "--evaluate must name some of clean, corruption"),
        (["--limit", "9"], "--limit applies to --evaluate only"),
        (["--tune-weight-decay", "1"], "apply to --tune only"),
        (["--tune-seeds", "3"], "apply to --tune only"),
        (["--cell", "none-seed0"], "--cell applies to --check only. Received: cell=none-seed0"),
        (
            ["--check", "x"],
            "--check must not be combined with --methods, --network, --epochs, --output. Rec",
        ),
        (["--report", "x", "--jobs", "2"], "--report must not be combined with --methods, --dataset, --network, --epo"),
        (["--scheduler", "x", "--jobs", "2"], "--jobs must be 1 with a --scheduler, whose workers train"),
        (["--jobs", "0"], "--jobs must be a positive integer"),
        (["--dataset", "mnist"], "--dataset must be digits, cifar10"),
        (["--network", "vgg"], "--network must be preactresnet18, resnet20"),
        (["--regime", "x"], "--regime must be one of visible"),
        (["--fraction", "0"], "--fraction must be in (0, 1]"),
        (["--fraction", "1", "1"], "--fraction must not have the same value twice"),
        (["--epochs", "0"], "--epochs must be a positive integer"),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, words, match):
    with pytest.raises(SystemExit) as caught:
        main([*SMALL_WORDS, *words, "--output", str(tmp_path / "s")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-mma: error: ") and match in line
    assert not (tmp_path / "s").exists()


def test_datasets_that_are_too_small_to_split(tmp_path, capsys):
    folder = make_pictures(tmp_path / "pictures", {"a": 2, "b": 9})
    with pytest.raises(SystemExit) as caught:
        main([*SMALL_WORDS, "--dataset", f"folder:{folder}", "--image-size", "8", "--output", str(tmp_path / "s")])
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and "must have more training images of class a" in line


def test_folders_that_are_refused(tmp_path, capsys, fake_trainings):
    output = tmp_path / "s"
    main([*SMALL_WORDS, "--seeds", "2", "--output", str(output)])
    capsys.readouterr()

    def refused(*words):
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        assert caught.value.code == 2
        return capsys.readouterr().err

    other = refused(*SMALL_WORDS, "--seeds", "2", "--margin", "1", "--output", str(output))
    assert f"--output {output} holds another study, with margin 0.5: choose another folder" in other
    with filelock.FileLock(output / ".lock"):
        assert "must not be in use by another study" in refused(*SMALL_WORDS, "--seeds", "2", "--output", str(output))
    assert "--output must name the folder of the study" in refused(*SMALL_WORDS)
    (tmp_path / "file").write_text("")
    assert "must be a folder" in refused(*SMALL_WORDS, "--output", str(tmp_path / "file"))
    assert "must be the folder of a study" in refused("--check", str(tmp_path))


def test_the_lock_of_the_next_process_is_not_removed(tmp_path, monkeypatch):
    path, release, following = tmp_path / "study" / ".lock", filelock.FileLock.release, []

    def release_to_another(lock, force=False):
        release(lock, force)
        if not following:
            path.parent.mkdir(exist_ok=True)
            following.append(filelock.FileLock(path, timeout=0))
            following[0].acquire()

    monkeypatch.setattr(filelock.FileLock, "release", release_to_another)
    with study._locked(path.parent):
        pass
    assert path.exists()
    release(following[0])
    monkeypatch.undo()
    path.unlink()
    path.parent.rmdir()
    with study._locked(path.parent / "inner"):
        pass
    assert not path.parent.exists()


def test_the_folder_of_the_data_is_not_written_and_may_change(tmp_path, fake_trainings, monkeypatch):
    seen = []

    def train(cell, output, on_epoch):
        seen.append(cell.recipe["data_dir"])
        return fakes.train(cell, output, on_epoch)

    monkeypatch.setitem(study.study.__kwdefaults__, "train", train)
    words = [*SMALL_WORDS, "--output", str(tmp_path / "study")]
    main([*words, "--seeds", "2", "--data-dir", "/somewhere"])
    assert set(seen) == {"/somewhere"}
    texts = [path.read_text() for path in (tmp_path / "study").rglob("*.*") if path.suffix in (".json", ".md", ".html")]
    assert len(texts) > 4 and not any("somewhere" in text for text in texts)
    seen.clear()
    main([*words, "--seeds", "3", "--data-dir", "/elsewhere"])
    assert set(seen) == {"/elsewhere"}
    checking.rerun(tmp_path / "study", train, data_dir="/third")
    assert seen[-1] == "/third"


def test_the_plan_and_the_report_have_the_command(tmp_path, fake_trainings):
    (tmp_path / "arms.toml").write_text('soft = "cutmix+mma(temperature=1)"\n')
    words = [*SMALL_WORDS, "--seeds", "2", "--arms", str(tmp_path / "arms.toml"), "--data-dir", "/somewhere", "--tune"]
    main([*words, "--tune-learning-rate", "0.1", "0.3", "--output", str(tmp_path / "s")])
    command = study_plan.read(tmp_path / "s")["command"]
    assert command.startswith("keras-mma study --methods ")
    assert "--arms arms.toml" in command and "--tune --tune-learning-rate 0.1 0.3" in command
    assert "--seeds 2" in command and "--output" not in command and "somewhere" not in command
    assert f"| command | `{command}` |" in (tmp_path / "s" / "report.md").read_text()
    main([*words, "--tune-learning-rate", "0.1", "0.3", "--margin", "0.5", "--output", str(tmp_path / "s")])
    assert study_plan.read(tmp_path / "s")["command"] == command


def test_a_failed_training_exits_with_one(tmp_path, capsys, monkeypatch):
    def train(cell, output, on_epoch):
        raise ValueError("out of luck")

    monkeypatch.setitem(study.study.__kwdefaults__, "train", train)
    with pytest.raises(SystemExit) as caught:
        main([*SMALL_WORDS, "--seeds", "2", "--output", str(tmp_path)])
    assert caught.value.code == 1
    assert "keras-mma: error: none-seed0 failed: ValueError: out of luck" in capsys.readouterr().err


def test_the_report_is_written_again_from_the_plan_and_the_records(tmp_path, capsys):
    before = run(tmp_path / "s").report
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "s" / "records", copy / "records")
    shutil.copy(tmp_path / "s" / "plan.json", copy)
    main(["--report", str(copy)])
    printed = capsys.readouterr().out
    assert "\ndigits: none" in f"\n{printed}" and printed.endswith(f"wrote {copy}/report.html\n")
    assert json.loads((copy / "report.json").read_text()) == json.loads(json.dumps(before))
    for name in ("differences.png", "seeds.png", "report.html", "report.md"):
        assert (copy / name).read_bytes() == (tmp_path / "s" / name).read_bytes()
    with pytest.raises(SystemExit):
        main(["--report", str(tmp_path)])
    assert "must be the folder of a study" in capsys.readouterr().err


def test_what_was_measured_of_all_models_is_in_every_report(tmp_path):
    done = run(tmp_path)
    names = [cell.name for cell in study_cells.of_plan(done.report["plan"])]
    for number, name in enumerate(names):
        path = study_cells.measurement_path(tmp_path, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps({"sections": ["clean"], "limit": 100, "loss": None, "accuracies": {"clean": 70.0 + number}})
        )
    (measure,) = run(tmp_path).report["robustness"]["settings"][0]["measures"]
    assert measure["comparisons"][0]["mean"] == 1.0
    (tmp_path / "report.json").unlink()
    main(["--report", str(tmp_path)])
    assert json.loads((tmp_path / "report.json").read_text())["robustness"]["images"] == 100
    assert run(tmp_path, seeds=3).report["robustness"] is None


def test_a_check_runs_a_cell_again(tmp_path, capsys, fake_trainings):
    run(tmp_path)
    main(["--check", str(tmp_path)])
    assert "none-seed0: " in (shown := capsys.readouterr().out) and shown.endswith("agrees\n")
    check = checking.rerun(tmp_path, fakes.train, "cutmix-seed1")
    assert check.name == "cutmix-seed1" and check.before == check.now and check.agrees
    path = tmp_path / "records" / "none-seed0.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"test_accuracy": record["test_accuracy"] - 0.006}))
    with pytest.raises(SystemExit) as caught:
        main(["--check", str(tmp_path)])
    assert caught.value.code == 1 and "differs by more than 0.5 points" in capsys.readouterr().out
    with pytest.raises(InputError, match="`cell` must be one of none-seed0.*Received: cell=x"):
        checking.rerun(tmp_path, fakes.train, "x")


def test_a_check_finds_a_folder_of_images_that_was_moved(tmp_path, rng):
    PIL = pytest.importorskip("PIL.Image")
    for number in range(20):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.fromarray(rng.integers(0, 256, (16, 16, 3), "uint8")).save(path)
    run(tmp_path / "study", dataset=f"folder:{tmp_path / 'pictures'}", image_size=16)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    cell_training._load.cache_clear()
    with pytest.raises(InputError, match="`dataset` folder:PATH must name a folder"):
        checking.rerun(tmp_path / "study", fakes.train)
    moved = f"folder:{tmp_path / 'moved'}"
    assert checking.rerun(tmp_path / "study", fakes.train, dataset=moved).agrees
    PIL.fromarray(np.zeros((16, 16, 3), "uint8")).save(tmp_path / "moved" / "a" / "0.png")
    cell_training._load.cache_clear()
    with pytest.raises(InputError, match="the images of .* must be those of the first training"):
        checking.rerun(tmp_path / "study", fakes.train, dataset=moved)


def test_a_default_that_has_changed_since_the_plan_is_refused(tmp_path, capsys, fake_trainings):
    run(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["layers"]["none"] == {} and plan["layers"]["cutmix"]["mixer"]["probability"] == 0.5
    plan["layers"]["cutmix"]["mixer"] |= {"border": "inside", "removed": 3}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    match = "the mixer of cutmix must be that of the plan, which has border='inside'.* Received: border='clip'"
    for again in (run, lambda folder: checking.rerun(folder, fakes.train, "none-seed0")):
        with pytest.raises(InputError, match=match):
            again(tmp_path)
    del plan["layers"]  # of an earlier version
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert not checking.rerun(tmp_path, fakes.train).changes
    capsys.readouterr()
    assert run(tmp_path, on_plan=command.describe).report["analysis"]["complete"]
    text = "the plan does not hold the defaults of its layers, which may have changed since"
    assert f"note: {text}" in capsys.readouterr().out
    path = tmp_path / "records" / "none-seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "0123abc"}))
    assert text in checking.rerun(tmp_path, fakes.train).changes


def test_the_names_of_the_layers_in_a_switch_are_no_part_of_the_plan(tmp_path):
    run(tmp_path, methods=["none", "switch"])
    plan = json.loads((tmp_path / "plan.json").read_text())
    keras_mma.layers.MixUp()  # the next one has another name
    assert run(tmp_path, methods=["none", "switch"]).report["analysis"]["complete"]
    plan["layers"]["switch"]["mixer"]["mixers"][1]["config"]["alpha"] = 3.0
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=r"which has mixers\[1\].config.alpha=3.0: .* Received: .*alpha=1.0"):
        run(tmp_path, methods=["none", "switch"])


def test_a_check_has_the_threads_of_the_training(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    run(tmp_path)
    path, cores = tmp_path / "records" / "none-seed0.json", os.cpu_count()
    record = json.loads(path.read_text())
    assert record["threads"] == cores
    used = []

    def train(cell, output, on_epoch):
        used.append(running.count_threads())
        return fakes.train(cell, output, on_epoch)

    checking.rerun(tmp_path, train)
    del record["threads"]  # of an earlier version
    path.write_text(json.dumps(record))
    checking.rerun(tmp_path, train)
    assert used == [cores, cores]
    get_reusable_executor().shutdown(wait=True)  # workers of an earlier study keep their number
    for threads, jobs in ((cores + 1, None), (None, cores)):
        path.write_text(json.dumps(record | {"threads": threads}))
        checking.rerun(tmp_path, functools.partial(fakes.note_threads, tmp_path / "threads"), jobs=jobs)
        assert int((tmp_path / "threads").read_text()) == (threads or 1)
        get_reusable_executor().shutdown(wait=True)
    with pytest.raises(InputError, match="`jobs` must be a positive integer. Received: jobs=0"):
        checking.rerun(tmp_path, fakes.train, jobs=0)


@pytest.mark.parametrize(("part", "name"), [("test", "sha256"), ("train", "training_sha256")])
def test_a_check_with_other_images_is_refused(tmp_path, fake_trainings, part, name):
    run(tmp_path)
    plan, path = json.loads((tmp_path / "plan.json").read_text()), tmp_path / "records" / "none-seed0.json"
    digests = {"train": plan["images"]["training_sha256"], "test": plan["images"]["sha256"]}
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"sha256": digests}))
    assert checking.rerun(tmp_path, fakes.train).agrees
    path.write_text(json.dumps(record | {"sha256": digests | {part: "0" * 64}}))
    match = f"must be those of the first training, whose {part} part has the digest 000.* Received: [0-9a-f]"
    with pytest.raises(InputError, match=match):
        checking.rerun(tmp_path, fakes.train)
    other_size = plan | {"dimensions": plan["dimensions"] | {"image_size": [16, None]}}  # not the one of the plan
    cell = study_cells.of_plan(plan)[0]
    checking._check_images(other_size, cell, record | {"sha256": digests})
    with pytest.raises(InputError, match=match):
        checking._check_images(other_size, cell, record | {"sha256": digests | {part: "0" * 64}})
    path.write_text(json.dumps(record))  # of an early version
    plan["images"][name] = "0" * 64
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=match):
        checking.rerun(tmp_path, fakes.train)


def test_a_check_says_which_versions_have_changed(tmp_path, capsys, fake_trainings):
    run(tmp_path)
    path = tmp_path / "records" / "none-seed0.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"versions": record["versions"] | {"keras": "2.0"}}))
    main(["--check", str(tmp_path)])
    assert f"note: keras 2.0 then, {keras.__version__} now" in capsys.readouterr().out


def test_a_real_cell_whose_last_step_overflows_has_diverged(tmp_path, monkeypatch):
    (cell, *_) = study_cells.of_plan(
        fakes.make_plan(("none", "cutmix"), 2, dimensions=fakes.DIMENSIONS | {"epochs": [1]})
    )
    cell = study_cells.Cell(**vars(cell) | {"recipe": cell.recipe | {"fraction": 0.1}})
    measure = cell_training.measure
    monkeypatch.setattr(cell_training, "measure", lambda *words: measure(*words) | {"loss": float("nan")})
    result = cell_training.train_cell(cell, tmp_path / "x", lambda *_: None)
    assert result["diverged"] == 1 and result["loss"] is None and not (tmp_path / "x" / "saved_model").exists()


def test_a_real_cell_that_diverges_has_the_accuracy_of_chance(tmp_path):
    (made,) = [
        cell
        for cell in study_cells.of_plan(
            fakes.make_plan(("none", "cutmix"), 2, recipe={"learning_rate": 1e38, "batch_size": 64})
        )
        if cell.name == "none-seed0"
    ]
    recipe = made.recipe | {"fraction": 0.1, "schedule": "constant"}
    cell = study_cells.Cell(made.name, made.method, made.seed, made.setting, recipe, made.part)
    result = cell_training.train_cell(cell, tmp_path / "x", lambda *_: None)
    assert result["diverged"] == 1 and result["accuracy"] == 0.1 and "correct" not in result
    assert not (tmp_path / "x" / "saved_model").exists()
    # What a process that was killed right after this epoch leaves behind.
    history = (tmp_path / "x" / "history.csv").read_text().splitlines()
    assert len(history) == 2 and "inf" in history[1]


@pytest.mark.slow
def test_a_real_cell_that_runs_out_of_time_resumes_with_the_numbers_of_an_undisturbed_one(tmp_path):
    recipe = {"batch_size": 64, "fraction": 0.1}
    (cell,) = study_cells.of_plan(fakes.make_plan(("none", "switch"), 2, recipe=recipe))[1:2]
    assert cell.recipe["method"] == "switch" and cell.recipe["epochs"] == 3
    seen = []

    def stop_after_two(epochs, seconds):
        seen.append(epochs)
        if epochs == 2:
            raise running.OutOfTime

    with pytest.raises(running.OutOfTime):
        cell_training.train_cell(cell, tmp_path / "stopped", stop_after_two)
    resumed = cell_training.train_cell(cell, tmp_path / "stopped", lambda epochs, _: seen.append(epochs))
    undisturbed = cell_training.train_cell(cell, tmp_path / "undisturbed", lambda *_: None)
    assert seen == [1, 2, 3]
    assert (resumed["correct"] == undisturbed["correct"]).all() and resumed["loss"] == undisturbed["loss"]


@pytest.mark.slow
def test_a_real_study_with_everything(tmp_path, capsys):
    words = [*SMALL_WORDS, "--seeds", "2", "--batch-size", "32", "--fraction", "0.3", "--jobs", "2"]
    words += ["--tune", "--tune-learning-rate", "0.1", "--tune-weight-decay", "0", "5e-4", "--limit", "40"]
    words += ["--evaluate", "clean", "corruption", "deformation", "occlusion", "attack"]
    main([*words, "--output", str(tmp_path)])
    made = json.loads((tmp_path / "report.json").read_text())
    assert [cell["name"] for cell in made["cells"]] == ["none-seed0", "cutmix-seed0", "none-seed1", "cutmix-seed1"]
    for cell in made["cells"]:
        assert (tmp_path / "trainings" / cell["name"] / "saved_model").is_dir()
        assert cell["test_accuracy"] == pytest.approx(cell["accuracy"] / 100) and 355 < cell["train_images"] < 375
        assert cell["seconds_per_epoch"] > 0 and cell["loss"] > 0
    (setting,) = made["robustness"]["settings"]
    measures = {measure["measure"]: measure for measure in setting["measures"]}
    starts = ("clean", "corruptions, mean", "rotation", "occlusion", "pgd")
    assert all(any(name.lower().startswith(start) for name in measures) for start in starts), sorted(measures)
    reports = {
        name: json.loads((tmp_path / "trainings" / name / "robustness" / "report.json").read_text())
        for name in ("none-seed0", "none-seed1", "cutmix-seed0", "cutmix-seed1")
    }
    clean = {name: 100 * (1 - one["clean"]["error"]) for name, one in reports.items()}
    (comparison,) = measures["clean"]["comparisons"]
    expected = (clean["cutmix-seed0"] - clean["none-seed0"] + clean["cutmix-seed1"] - clean["none-seed1"]) / 2
    assert comparison["mean"] == pytest.approx(expected)
    assert "## Robustness" in (tmp_path / "report.md").read_text()
    # The records are enough for the report.
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path, kept, ignore=shutil.ignore_patterns("trainings", "report.*", "kept"))
    main([*words, "--output", str(kept)])
    assert json.loads((kept / "report.json").read_text())["robustness"] == made["robustness"]
    shutil.rmtree(kept)
    main(["--check", str(tmp_path), "--jobs", "2"])
    assert capsys.readouterr().out.endswith("agrees\n")


@pytest.mark.slow
def test_a_real_study_that_is_killed_and_resumed_has_the_numbers_of_an_undisturbed_one(tmp_path):
    words = [
        "--dataset",
        "digits",
        "--network",
        "wideresnet-10-1",
        "--epochs",
        "4",
        "--seeds",
        "2",
        "--fraction",
        "0.3",
    ]
    words += ["--batch-size", "32", "--methods", "none", "saliencymix+mma"]
    command = [sys.executable, "-m", "keras_mma.study", *words, "--output"]
    settings = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ}
    process = subprocess.Popen([*command, str(tmp_path / "killed")], **settings)
    progress = tmp_path / "killed" / "trainings" / "saliencymix+mma-seed0" / "progress.json"
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if progress.exists() and json.loads(progress.read_text())["epochs"] >= 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(study_cells.read_records(tmp_path / "killed")) == ["none-seed0"]
    assert not (tmp_path / "killed" / "report.json").exists()
    for name in ("killed", "undisturbed"):
        assert subprocess.run([*command, str(tmp_path / name)], **settings).returncode == 0
    killed, undisturbed = (study_cells.read_records(tmp_path / name) for name in ("killed", "undisturbed"))
    assert len(killed) == 4
    for name, record in undisturbed.items():
        assert killed[name]["test_accuracy"] == record["test_accuracy"] and killed[name]["loss"] == record["loss"]
    assert study_plan.read(tmp_path / "killed")["images"] == study_plan.read(tmp_path / "undisturbed")["images"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_real_study_on_another_backend(tmp_path, backend):
    pytest.importorskip(backend)
    words = "--dataset digits --network wideresnet-10-1 --epochs 1 --fraction 0.2 --methods none cutmix --seeds 2"
    words += " --batch-size 32 --evaluate clean --limit 20"
    command = [sys.executable, "-m", "keras_mma.study", *words.split(), "--output", str(tmp_path / "s")]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"KERAS_BACKEND": backend})
    kept = study_cells.read_records(tmp_path / "s")
    assert len(kept) == 4 and all(record["backend"] == backend for record in kept.values())
    training = tmp_path / "s" / "trainings" / "cutmix-seed1"
    assert (training / "model.keras").exists() and (training / "saved_model").exists() == (backend != "torch")
    assert json.loads((tmp_path / "s" / "report.json").read_text())["robustness"]["images"] == 20
    if backend == "torch":
        words = "examples/train_cifar.py --dataset digits --network wideresnet-10-1 --epochs 1 --fraction 0.2 --output"
        command = [sys.executable, *words.split(), str(tmp_path / "example")]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"KERAS_BACKEND": backend})
        assert json.loads((tmp_path / "example" / "result.json").read_text())["saved_model_difference"] is None
