"""The whole evaluation: what is in the report, that it does not depend on chance, and that it resumes."""

import json
import re
import threading
import tracemalloc
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the trained network is a TensorFlow SavedModel", allow_module_level=True)

import tensorflow as tf

from keras_mma import datasets, robustness, saliency
from keras_mma.packing import unpack
from keras_mma.robustness import (
    InputError,
    NotRepeatable,
    Preprocess,
    corrupt,
    deform,
    evaluation,
    metrics,
    occlude,
    run,
    sheets,
    wording,
)
from keras_mma.robustness.classifier import from_keras
from keras_mma.robustness.output import MARKER, OutputFolder
from keras_mma.robustness.perturbations.corruptions import CORRUPTIONS
from keras_mma.robustness.sections import SECTIONS
from keras_mma.robustness.sections.clean import Clean
from tests.datasets.files import save_classes
from tests.robustness import networks
from tests.robustness.test_corruptions import save_textures
from tests.robustness.test_model import saved_model
from tests.robustness.test_published import save_published

REGENERATED = [name for name, entry in CORRUPTIONS.items() if not entry.needs and entry.group != "extra"]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """A report with every section, and its folder."""
    folder = tmp_path_factory.mktemp("report")
    return robustness.evaluate(str(digits[2]), "digits", limit=100, output=folder, restarts=1), folder


def figures(report):
    """What must not depend on how the report was made."""
    return {section.name: report[section.name] for section in SECTIONS if section.name in report}


def test_the_clean_section_is_that_of_keras(whole, digits):
    model, dataset, _ = digits
    rows = dataset.indices(100, 0)
    images, labels = dataset.read(rows), dataset.labels[rows]
    logits = model.predict(images, verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    clean = whole[0]["clean"]
    assert clean["error"] == pytest.approx((logits.argmax(1) != labels).mean())
    assert clean["nll"] == pytest.approx(float(keras.ops.mean(losses)), rel=1e-4)
    assert clean["error_interval"] == metrics.binomial_interval(round(100 * clean["error"]), 100)


def test_corruption_and_deformation_are_those_of_the_images(whole, digits):
    model, dataset, _ = digits
    rows = dataset.indices(100, 0)
    images, labels = dataset.read(rows), dataset.labels[rows]

    def error(images):
        return (model.predict(images, verbose=0).argmax(1) != labels).mean()

    report = whole[0]
    for name, severity in (("fog", 3), ("impulse_noise", 5), ("glass_blur", 4)):
        measured = report["corruption"]["results"][name]["severities"][severity - 1]["error"]
        assert measured == pytest.approx(error(corrupt(images, name, severity, 0, rows)), abs=0.011)
    assert report["deformation"]["shear_57.3"]["error"] == pytest.approx(error(deform(images, "shear_57.3", 0, rows)))


def test_occlusion_is_that_of_the_images(whole, digits):
    model, dataset, _ = digits
    rows = dataset.indices(100, 0)
    images, labels = dataset.read(rows), dataset.labels[rows]
    section = whole[0]["occlusion"]
    assert section["detector"] == "fine_grained"
    maps = keras.ops.convert_to_numpy(saliency.fine_grained(images))
    for order, curve in section["accuracy"].items():
        for number in (1, 3):
            occluded = occlude(images, order, section["shares"][number], maps, 0, rows)
            assert not np.array_equal(occluded, images)
            assert curve[number] == pytest.approx((model.predict(occluded, verbose=0).argmax(1) == labels).mean())
    other = robustness.evaluate(model, "digits", limit=100, only=["occlusion"], detector="frequency_tuned")["occlusion"]
    assert other["accuracy"]["random"] == section["accuracy"]["random"]
    assert other["accuracy"]["salient_first"] != section["accuracy"]["salient_first"]


def test_the_means_are_means(whole):
    section, clean = whole[0]["corruption"], whole[0]["clean"]["error"]
    assert set(section["results"]) == set(REGENERATED) and list(section["left_out"]) == ["frost"]
    means = {name: np.mean([s["error"] for s in result["severities"]]) for name, result in section["results"].items()}
    assert {name: result["mean_error"] for name, result in section["results"].items()} == pytest.approx(means)
    assert section["mean_error"] == pytest.approx(np.mean(list(means.values())))
    assert section["relative_mean_error"] == pytest.approx(section["mean_error"] - clean)
    assert list(section["group_mean_errors"]) == ["noise", "blur", "weather", "digital"]
    for group, error in section["group_mean_errors"].items():
        assert error == pytest.approx(np.mean([means[name] for name in means if CORRUPTIONS[name].group == group]))


def test_the_sections_are_plausible(whole):
    report, _ = whole
    assert report["clean"]["error"] < 0.1 < report["corruption"]["results"]["contrast"]["severities"][4]["error"]
    accuracy = report["occlusion"]["accuracy"]
    assert all(curve[0] > curve[-1] for curve in accuracy.values())
    assert np.mean(accuracy["nonsalient_first"]) > np.mean(accuracy["salient_first"])
    attack = {
        (entry["attack"], entry["epsilon_255"]): entry["robust_accuracy"] for entry in report["attack"]["results"]
    }
    assert 1 - report["clean"]["error"] >= attack["fgsm", 2] >= attack["fgsm", 4] >= attack["fgsm", 8]
    assert attack["fgsm", 4] >= attack["pgd", 4] and report["warnings"] == []


def test_the_report_is_written_whole_and_labeled(whole):
    report, folder = whole
    assert json.loads((folder / "report.json").read_text()) == report
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{name}.png" for name in ("clean", "corruption", "deformation", "occlusion", "attack")}
    sheets = {f"{name}-images.png" for name in ("corruption", "deformation", "occlusion")} | {"clean-worst.png"}
    assert names == {"report.json", "report.md", "report.html", MARKER, ".lock"} | pictures | sheets
    for name in pictures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG") and (folder / name).stat().st_size < 300_000
    text = (folder / "report.md").read_text()
    assert "**regenerated**" in text and "error (regenerated)" in text and "CIFAR-10-C" not in text
    assert "Left out: frost, because it needs `frost_textures`." in text
    assert "CIFAR-10-C" not in json.dumps(report)
    for name in REGENERATED:
        assert f"| {name.replace('_', ' ')} |" in text.lower()
    for name in pictures:
        assert f"({name})" in text


def test_the_report_keeps_which_images_are_correct(whole, digits):
    report, (model, dataset, _) = whole[0], digits
    rows = dataset.indices(100, 0)
    images, labels = dataset.read(rows), dataset.labels[rows]
    predicted = model.predict(images, verbose=0).argmax(1)
    assert (unpack(report["clean"]["correct"], 100) == (predicted == labels)).all()
    blurred = model.predict(corrupt(images, "motion_blur", 4, 0, rows), verbose=0).argmax(1)
    measured = report["corruption"]["results"]["motion_blur"]["severities"][3]
    assert (unpack(measured["correct"], 100) != (blurred == labels)).sum() <= 1
    for section in SECTIONS:
        measures, outcomes = section.measures(report), section.outcomes(report)
        assert list(measures) == list(outcomes)
        for label, errors in outcomes.items():
            assert errors.mean() == pytest.approx(measures[label]), label


def test_errors_by_class_and_the_worst_images_are_those_of_a_loop(digits):
    model, dataset, _ = digits
    classifier = from_keras(model)
    report = robustness.evaluate(classifier, dataset, only=["clean"], seed=3, limit=300)
    rows = dataset.indices(300, 3)
    probabilities, _ = classifier.probabilities(dataset.read(rows))
    wrong, counts = {label: [] for label in range(10)}, [0] * 10
    errors = []
    for row, values in zip(rows, probabilities, strict=True):
        label = dataset.labels[row]
        counts[label] += 1
        if values.argmax() != label:
            wrong[label].append(values.argmax())
            errors.append((values.max(), row, label, values.argmax()))
    by_class = report["clean"]["by_class"]
    assert by_class["count"] == counts and by_class["errors"] == [len(wrong[label]) for label in range(10)]
    for label, other in enumerate(by_class["taken_for"]):
        assert (other is None) == (not wrong[label])
        assert other is None or wrong[label].count(other) == max(map(wrong[label].count, wrong[label]))
    worst = [(entry["row"], entry["label"], entry["predicted"]) for entry in report["clean"]["worst"]]
    assert len(errors) > 3 and worst == [entry[1:] for entry in sorted(errors, reverse=True)[:12]]
    assert report["dataset"]["class_names"] == [str(label) for label in range(10)]


def test_the_sheets_show_what_the_model_saw(digits):
    dataset = digits[1]
    setting = evaluation._setting(digits[2], "digits", robustness.Options(limit=40, seed=2))
    report = robustness.evaluate(digits[2], "digits", limit=40, seed=2, only=["corruption", "deformation"])
    examples = sheets.example_indices(setting, report, 4)
    assert len({dataset.labels[row] for row in examples}) == 4
    by_name = {section.name: section.sheet(setting, report) for section in SECTIONS if section.name in report}
    rows = dict(by_name["corruption"].rows)
    assert len(rows) == 14
    image = dataset.read(np.array([examples[7 % 4]]))
    assert (rows["snow"][0][0] == image[0]).all()
    assert (rows["snow"][3][0] == corrupt(image, "snow", 3, 2, [examples[7 % 4]])[0]).all()
    error = report["corruption"]["results"]["snow"]["severities"][2]["error"]
    assert rows["snow"][3][1] == wording.percent(error)
    (_, cells), *_ = by_name["deformation"].rows
    image = dataset.read(np.array(examples[:1]))
    assert (cells[1][0] == deform(image, "rotation_20", 2, examples[:1])[0]).all()


def test_the_report_says_how_it_was_made(whole, digits):
    report, _ = whole
    assert report["model"]["path"] == str(digits[2]) and report["model"]["signature"] == "serving_default"
    assert report["model"]["outputs"] == "logits" and "inferred from the values" in report["model"]["outputs_decided"]
    expected = {"name": "digits", "n": 100, "total": 450, "classes": 10, "image_shape": [16, 16, 1]}
    expected |= {"decoding": "8 x 8 digits enlarged to 16 x 16", "selection": "the test part", "skipped": []}
    expected |= {"class_names": [str(label) for label in range(10)]}
    assert report["dataset"] == expected | {"sha256": digits[1].digest(digits[1].indices(100, 0), 100)}
    run = report["run"]
    assert run["seed"] == 0 and run["repeatable"] == {"images": 100, "identical": True} and run["seconds"] > 0
    assert list(run["time"]) == ["forward", "gradient", "perturbation", "rest"] and min(run["time"].values()) > 0
    assert sum(run["time"].values()) == pytest.approx(run["seconds"])
    for name in ("python", "keras", "tensorflow", "numpy", "scipy", "opencv", "Pillow", "keras_mma"):
        assert run["versions"][name]


@pytest.mark.slow
def test_batches_and_another_run_give_the_same_report(whole, digits):
    again = robustness.evaluate(digits[2], "digits", limit=100, restarts=1, batch_size=23)
    first, second = (json.loads(json.dumps(figures(report))) for report in (whole[0], again))
    different = list(compare(first, second))
    # Rounding in another batch may turn an image whose classes are level; nothing else.
    assert len(different) <= 3, different


def compare(first, second, path=""):
    """The places where two reports differ by more than rounding."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first.keys() - {"correct", "worst"}:  # follow from the images that turned
            yield from compare(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, list):
        for i, pair in enumerate(zip(first, second, strict=True)):
            yield from compare(*pair, f"{path}/{i}")
    elif first != second and not (isinstance(first, float) and first == pytest.approx(second, rel=1e-4, abs=1e-6)):
        yield path


def test_another_seed_draws_other_images_and_numbers(whole, digits):
    other = robustness.evaluate(digits[2], "digits", limit=100, seed=1, only=["deformation"])
    assert other["deformation"] != whole[0]["deformation"]


def test_an_interrupted_run_resumes_from_the_finished_parts(digits, tmp_path, monkeypatch):
    arguments = {"limit": 40, "only": ["corruption", "deformation"], "output": tmp_path / "report"}
    expected = robustness.evaluate(digits[2], "digits", **{**arguments, "output": None})
    measured = []
    real = robustness.Classifier.probabilities

    def counted(self, pixels):
        measured.append(len(pixels))
        if len(measured) == 30:
            raise KeyboardInterrupt
        return real(self, pixels)

    monkeypatch.setattr(robustness.Classifier, "probabilities", counted)
    with pytest.raises(KeyboardInterrupt):
        robustness.evaluate(digits[2], "digits", **arguments)
    assert "prefetch" not in [thread.name for thread in threading.enumerate()]
    assert {path.name for path in (tmp_path / "report").iterdir()} == {MARKER, ".lock", "unfinished"}
    kept = list((tmp_path / "report" / "unfinished").rglob("*.json"))
    assert len(kept) == 29
    robustness.evaluate(digits[2], "digits", **{**arguments, "limit": 9, "only": ["clean"]})
    assert sorted((tmp_path / "report" / "unfinished").rglob("*.json")) == sorted(kept)
    clean = robustness.evaluate(digits[2], "digits", **{**arguments, "only": ["clean"]})
    assert clean["run"]["parts_resumed"] == 1  # the only finished part that is not needed any more
    assert {path.name for path in kept} - {path.name for path in tmp_path.rglob("unfinished/*/*")} == {"clean.json"}
    del measured[30:]
    report = robustness.evaluate(digits[2], "digits", **arguments)
    assert len(measured) == 30 + 1 + 70 + 8 - 28 and report["run"]["parts_resumed"] == 28
    assert list(compare(figures(expected), figures(report))) == []
    assert not (tmp_path / "report" / "unfinished").exists() and (tmp_path / "report" / "report.json").exists()


def test_a_damaged_part_is_measured_again_and_the_report_says_so(digits, tmp_path, monkeypatch):
    real, calls = robustness.Classifier.probabilities, []

    def interrupted(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, pixels)

    arguments = {"limit": 20, "only": ["deformation"], "output": tmp_path / "report"}
    monkeypatch.setattr(robustness.Classifier, "probabilities", interrupted)
    with pytest.raises(KeyboardInterrupt):
        robustness.evaluate(digits[2], "digits", **arguments)
    (path,) = (tmp_path / "report").rglob("deformation-rotation_20.json")
    path.write_text("")
    report = robustness.evaluate(digits[2], "digits", **arguments)
    assert report["run"]["parts_resumed"] == 2
    assert report["warnings"] == ["a damaged part of the interrupted run was measured again: deformation/rotation_20"]
    assert "**Warning: a damaged part" in (tmp_path / "report" / "report.md").read_text()


def test_other_settings_have_other_parts(digits, monkeypatch):
    keys = set()
    for options in ({}, {"seed": 1}, {"limit": 30}, {"preprocess": ["scale=1/2"]}, {"restarts": 3}, {"batch_size": 9}):
        setting = evaluation._setting(digits[2], "digits", robustness.Options(**{"limit": 20} | options))
        keys.add(evaluation._key(evaluation._header(setting), setting))
    assert len(keys) == 6
    setting = evaluation._setting(str(digits[2]), "digits", robustness.Options(limit=20, only=["clean"], output="x"))
    assert evaluation._key(evaluation._header(setting), setting) in keys
    monkeypatch.setattr(evaluation, "FORM", evaluation.FORM + 1)  # results of parts of another form
    assert evaluation._key(evaluation._header(setting), setting) not in keys
    monkeypatch.undo()
    versions = evaluation._versions(setting.classifier.description["kind"])
    monkeypatch.setattr(evaluation, "_versions", lambda kind: versions | {"keras": "another"})
    assert evaluation._key(evaluation._header(setting), setting) not in keys


def test_other_weights_and_images_have_other_parts():
    keys, images, model = set(), networks.pictures(6), networks.untrained((16, 16, 3), 3)
    weights = model.get_weights()
    for change, pixel in ((0, 0), (1e-3, 0), (0, 1), (0, 0)):
        model.set_weights([weight + change for weight in weights])
        data = (images + np.uint8(pixel), np.arange(6) % 3)
        setting = evaluation._setting(model, data, robustness.Options())
        keys.add((change, pixel, evaluation._key(evaluation._header(setting), setting)))
    assert len(keys) == len({key for *_, key in keys}) == 3


@pytest.mark.parametrize("text", ["{}", '{"schema": "keras_mma.robustness/1"}', "{"])
def test_a_folder_with_a_report_that_cannot_be_read_is_refused(digits, nothing_measured, tmp_path, text):
    with OutputFolder(tmp_path / "new", "robustness report") as folder:
        folder.claim(["report.json"])
        (folder.path / "report.json").write_text(text)
    with pytest.raises(InputError, match="another version or a damaged one: .* Received: .*report.json"):
        robustness.evaluate(digits[2], "digits", limit=10, only=["clean"], output=tmp_path / "new")


def test_the_folder_of_another_models_report_is_refused(whole, tmp_path):
    _, folder = whole
    networks.untrained((16, 16, 1), 10).save(tmp_path / "other.keras")
    with pytest.raises(
        InputError, match="must not hold the report of another model: choose .* the report of .*saved_model"
    ):
        robustness.evaluate(tmp_path / "other.keras", "digits", only=["clean"], output=folder)


def test_a_report_of_more_images_or_of_another_dataset_is_refused(digits, tmp_path):
    model, dataset, path = digits
    arguments = {"only": ["clean"], "output": tmp_path}
    report = robustness.evaluate(path, "digits", limit=20, **arguments)
    with pytest.raises(
        InputError, match="`output` must not hold a report of more images: choose another folder. Received: .*20 images"
    ):
        robustness.evaluate(path, "digits", limit=19, **arguments)
    arrays = dataset.read(dataset.indices()), dataset.labels
    with pytest.raises(
        InputError, match="must not hold the report of another dataset: choose another folder. Received: .*of digits"
    ):
        robustness.evaluate(path, arrays, limit=20, **arguments)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert robustness.evaluate(path, "digits", limit=21, **arguments)["clean"]["n"] == 21


def test_sections_of_a_report_are_not_lost(whole, digits):
    report, folder = whole
    with pytest.raises(
        InputError, match="would be lost: choose .* whose report has corruption, deformation, occlusion"
    ):
        robustness.evaluate(digits[2], "digits", only=["attack"], limit=100, output=folder)
    assert json.loads((folder / "report.json").read_text()) == report


def test_a_model_that_is_not_repeatable_is_refused(tmp_path):
    path = saved_model(
        tmp_path / "noisy", lambda x: tf.reduce_mean(x, (1, 2)) - tf.random.uniform((10,)) * 100, (None, 16, 16, 1)
    )
    with pytest.raises(NotRepeatable, match="two identical calls of the model on 128 images disagree, by up to"):
        robustness.evaluate(path, "digits", output=tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_against_a_baseline(whole, digits, tmp_path):
    report, folder = whole
    arguments = {"only": ["corruption"], "limit": 100}
    same = robustness.evaluate(digits[2], "digits", baseline=folder, **arguments)["corruption"]["baseline"]
    assert same["mce"] == pytest.approx(1, abs=0.01) and same["relative_mce"] == pytest.approx(1, abs=0.02)
    half = json.loads(json.dumps(report))
    half["clean"]["error"] = report["clean"]["error"] / 2
    for result in half["corruption"]["results"].values():
        for severity in result["severities"]:
            severity["error"] /= 2
    (tmp_path / "report.json").write_text(json.dumps(half))
    output = tmp_path / "mine"
    mine = robustness.evaluate(digits[2], "digits", baseline=tmp_path / "report.json", output=output, **arguments)
    for part in ("ce", "relative_ce"):
        values = list(mine["corruption"]["baseline"][part].values())
        assert len(values) == 14 and values == pytest.approx([2] * 14, rel=0.05)
    assert "whose error is 100 %" in (output / "report.md").read_text()
    for arguments, match in [
        ({"limit": 50, "only": ["corruption"]}, "not comparable: n 50 and 100"),
        ({"limit": 100, "seed": 3, "only": ["corruption"]}, "not comparable: .*seed 3 and 0"),
        ({"only": ["clean"]}, "`baseline` applies to the section corruption: add it to `only`"),
    ]:
        with pytest.raises(InputError, match=match):
            robustness.evaluate(digits[2], "digits", baseline=folder, **arguments)


@pytest.fixture
def nothing_measured(monkeypatch):
    """Any measurement fails."""

    def fail(*arguments):
        raise AssertionError("something was measured")

    monkeypatch.setattr(evaluation, "run", fail)


def test_baselines_that_do_not_do_are_refused_at_once(whole, digits, tmp_path, nothing_measured):
    report, _ = whole
    without = {key: value for key, value in report.items() if key != "corruption"}
    lacking, every = (json.loads(json.dumps(report)) for _ in range(2))
    del lacking["corruption"]["results"]["fog"]
    every["dataset"] |= {"n": 450}
    for other, arguments, match in [
        (without, {"limit": 100}, "`baseline` must have a section on corruption"),
        (lacking, {"limit": 100}, "`baseline` must have the same set of corruptions, .*fog"),
        (every, {"seed": 3}, "not comparable: .*seed 3 and 0"),
        (
            report,
            {"limit": 100, "corruptions": "published"},
            "must have the same corruptions, published arrays, .*Received: regenerated",
        ),
    ]:
        (tmp_path / "report.json").write_text(json.dumps(other))
        if "corruptions" in arguments:
            arguments["corruptions"] = save_published(tmp_path / "published", 450, channels=1)
            np.save(tmp_path / "published" / "labels.npy", digits[1].labels)
        with pytest.raises(InputError, match=match):
            robustness.evaluate(digits[2], "digits", baseline=tmp_path, **arguments)


def test_images_smaller_than_the_grid_are_refused_at_once(nothing_measured):
    model = networks.untrained((7, 16, 3), 3)
    data = networks.pictures(3, height=7), np.arange(3)
    with pytest.raises(InputError, match="8 x 8 pixels: name the other sections with `only`. Received: 7 x 16"):
        robustness.evaluate(model, data)
    with pytest.raises(AssertionError, match="something was measured"):
        robustness.evaluate(model, data, only=["deformation"])


def test_an_evaluation_that_is_refused_leaves_no_folder(whole, digits, tmp_path, nothing_measured):
    (tmp_path / "baseline.json").write_text(
        json.dumps(whole[0] | {"corruption": whole[0]["corruption"] | {"label": ""}})
    )
    for options, match in [
        ({"only": ["occlusion"], "detector": "nope"}, "`detector` must be one of"),
        ({"only": ["corruption"], "baseline": tmp_path / "baseline.json"}, "`baseline` must have the same corruptions"),
    ]:
        with pytest.raises(InputError, match=match):
            robustness.evaluate(digits[2], "digits", limit=100, output=tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()


def test_a_folder_of_others_is_refused_at_once_and_left_as_it_is(tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(InputError, match="`output` must be a new or empty folder"):
        robustness.evaluate("no model", "digits", output=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"unfinished", "report.md"}
    with pytest.raises(InputError, match="`model` must be"):
        robustness.evaluate("no model", "digits", output=tmp_path / "some" / "new")
    assert not (tmp_path / "some").exists()


def test_a_second_evaluation_in_a_folder_is_refused(tmp_path):
    with (
        OutputFolder(tmp_path, "robustness report"),
        pytest.raises(InputError, match="`output` must not be in use by another process: wait for it. Received: "),
    ):
        robustness.evaluate("no model", "digits", output=tmp_path)


def test_published_files_are_named_as_such(tmp_path):
    model = networks.untrained((16, 16, 3), 3)
    images = networks.pictures(3)
    path = save_published(tmp_path / "published")
    report = robustness.evaluate(
        model, (images, np.arange(3)), only=["corruption"], corruptions=path, output=tmp_path / "report"
    )
    section = report["corruption"]
    assert section["source"] == "published" and section["label"].startswith("published arrays, published (SHA-256 ")
    assert len(section["results"]) == 15 and "frost" in section["results"] and section["left_out"] == {}
    text = (tmp_path / "report" / "report.md").read_text()
    assert "egenerated" not in text and "| frost |" in text


def test_published_files_and_some_images_have_no_relative_figures(tmp_path):
    """Rows of the clean set and of the published files are not the same images; all of them are the same set."""
    model, path = networks.untrained((16, 16, 3), 3), save_published(tmp_path / "published", count=6)
    np.save(path / "labels.npy", np.arange(6) % 3)
    arguments = {"only": ["corruption"], "corruptions": path}
    data = networks.pictures(6), np.arange(6)[::-1] % 3
    every = robustness.evaluate(model, data, output=tmp_path / "all", limit=6, **arguments)
    section = every["corruption"]
    assert section["relative_mean_error"] == pytest.approx(section["mean_error"] - every["clean"]["error"])
    assert section["relative_left_out"] is None
    robustness.evaluate(model, data, output=tmp_path / "some", limit=4, **arguments)
    some = robustness.evaluate(model, data, output=tmp_path / "mine", limit=4, baseline=tmp_path / "some", **arguments)
    section = some["corruption"]
    assert section["relative_mean_error"] is None and "`limit`" in section["relative_left_out"]
    assert set(section["baseline"]["relative_ce"].values()) == {None} and section["baseline"]["relative_mce"] is None
    assert section["baseline"]["mce"] == pytest.approx(1)
    text = (tmp_path / "mine" / "report.md").read_text()
    assert section["relative_left_out"] in text and "| mean error minus clean error |  |  |  |  |  |  | - |" in text
    assert "corruption error minus clean error | - |" in robustness.compare([tmp_path / "mine"])


def test_extra_corruptions_and_frost_are_measured_when_asked_for(tmp_path):
    model, data = networks.untrained((16, 16, 3), 3), (networks.pictures(3), np.arange(3))
    textures = save_textures(tmp_path / "textures")
    report = robustness.evaluate(
        model, data, only=["corruption"], extra_corruptions=True, frost_textures=textures, output=tmp_path / "report"
    )
    section = report["corruption"]
    assert len(section["results"]) == 19 and section["left_out"] == {}
    assert re.fullmatch("regenerated, CIFAR severities, frost textures [0-9a-f]{8}", section["label"])
    means = {name: result["mean_error"] for name, result in section["results"].items()}
    assert section["mean_error"] == pytest.approx(np.mean([means[name] for name in [*REGENERATED, "frost"]]))
    assert section["group_mean_errors"]["extra"] == pytest.approx(np.mean(list(means.values())[-4:]))
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| **extra** |" in text and "| saturate |" in text and "| frost |" in text
    gray = networks.untrained((16, 16, 1), 3), (networks.pictures(3, channels=1), np.arange(3))
    section = robustness.evaluate(*gray, only=["corruption"], extra_corruptions=True)["corruption"]
    assert section["left_out"] == {"frost": "it needs `frost_textures`", "saturate": "the images have no colors"}
    with pytest.raises(InputError, match="`frost_textures` must be a folder of images"):
        robustness.evaluate(model, data, only=["corruption"], frost_textures=tmp_path / "nowhere")


def test_a_pipeline_is_measured_like_its_arrays():
    images, labels = networks.pictures(7), np.arange(7) % 3
    model = networks.untrained((16, 16, 3), 3)
    expected = robustness.evaluate(model, (images, labels), only=["clean"])["clean"]
    pipeline = tf.data.Dataset.from_tensor_slices((images, labels))
    floats = pipeline.map(lambda x, y: (tf.cast(x, tf.float32), y)).batch(3)
    chunks = [(images[:4], labels[:4]), (images[4:6], labels[4:6]), (images[6:], labels[6:])]
    for dataset in (pipeline, pipeline.batch(3), floats, chunks):
        assert robustness.evaluate(model, dataset, only=["clean"])["clean"] == expected


def test_pipelines_that_cannot_be_measured_say_what_is_needed():
    images, labels = networks.pictures(6), np.arange(6) % 3
    model = networks.untrained((16, 16, 3), 3)
    pipeline = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    for dataset, match in [
        (pipeline.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)), "integers 0 to 255: leave scaling to the model"),
        (pipeline.map(lambda x, y: (x, tf.one_hot(y, 3))), "labels must be 6 integers. Received: float32"),
        (
            pipeline.map(lambda x, y: x),
            "`dataset` must be a name, a pair of images and labels, a Dataset, or a tf.data",
        ),
        (pipeline.repeat(), "Received: .*RepeatDataset: ValueError: infinitely many images"),
        (3, "`dataset` must be a name, .* Received: int: TypeError"),
    ]:
        with pytest.raises(InputError, match=match):
            robustness.evaluate(model, dataset, only=["clean"])


def test_preprocessing_may_be_one_string():
    data = networks.pictures(6), np.arange(6) % 3
    model, same = networks.untrained((16, 16, 3), 3), networks.untrained((16, 16, 3), 3, rescale=1)
    same.set_weights(model.get_weights())
    expected = robustness.evaluate(model, data, only=["clean"])["clean"]
    report = robustness.evaluate(same, data, only=["clean"], preprocess="scale=1/255")
    assert report["clean"]["nll"] == pytest.approx(expected["nll"], rel=1e-4)
    assert report["model"]["preprocess"].startswith("scale=1/255 ")


def test_unknown_options_and_preprocessing_name_what_is_expected():
    with pytest.raises(TypeError, match=r"`evaluate` takes the options only, limit, .*Received: unknown=3"):
        robustness.evaluate(None, "digits", unknown=3)
    for preprocess in (len, ["scale=1/255", 3]):
        with pytest.raises(InputError, match=r"`preprocess` must be words like scale=1/255.* Received: "):
            Preprocess.parse(preprocess)


def test_options_that_would_have_no_effect_are_refused():
    model, data = networks.untrained((16, 16, 3), 3), (networks.pictures(6), np.arange(6) % 3)
    for given, options, match in [
        (model, {"image_size": 8}, "`image_size` applies to datasets by name only. Received: image_size=8"),
        (model, {"skip_damaged": True}, "`skip_damaged` applies to datasets by name only"),
        (model, {"data_dir": "x"}, "`data_dir` applies to datasets by name and `corruptions` tfds only"),
        (model, {"signature": "serve"}, "`signature` applies to a SavedModel only"),
        (from_keras(model), {"preprocess": "scale=2"}, "`preprocess` applies to models that are not a Classifier yet"),
    ]:
        with pytest.raises(InputError, match=match):
            robustness.evaluate(given, data, only=["clean"], **options)
    options = robustness.Options(corruptions="tfds", data_dir="x")
    assert len(evaluation._as_dataset(data, options, 3)) == 6  # CIFAR-10-C is in that folder


def test_the_report_names_decoder_filter_size_and_damaged_files(tmp_path):
    save_classes(tmp_path / "test", (("a", 3), ("b", 3)), 24, 30)
    (tmp_path / "test" / "a" / "1.png").write_bytes(b"no image")
    options = {"only": ["clean"], "image_size": 16, "resize": "bilinear", "skip_damaged": True}
    report = robustness.evaluate(
        networks.untrained((16, 16, 3), 2), f"folder:{tmp_path}", output=tmp_path / "report", **options
    )
    assert report["dataset"]["n"] == 5 and report["dataset"]["skipped"] == ["a/1.png"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert re.search(
        r"\| images \| all images; RGB decoded by Pillow [0-9.]+, resized to 16 x 16 by bilinear interpolation without "
        r"antialiasing, .*; damaged files left out: a/1.png \|",
        text,
    )


def test_a_model_of_one_channel_is_measured_on_a_folder(tmp_path):
    save_classes(tmp_path / "test", (("a", 3), ("b", 3)), 16, 16)
    model = networks.untrained((16, 16, 1), 2)
    report = robustness.evaluate(model, f"folder:{tmp_path}", only=["clean"])
    assert report["dataset"]["image_shape"] == [16, 16, 1]
    assert report["dataset"]["decoding"].endswith("not resized, converted to gray (ITU-R BT.601)")
    assert "converted to gray" in robustness.page.to_markdown(report)
    with pytest.raises(InputError, match="takes images of 16 x 16 x 1"):
        robustness.evaluate(model, (np.zeros((2, 16, 16, 3), "uint8"), np.arange(2)), only=["clean"])


def test_a_model_of_one_sigmoid_unit_is_measured(digits):
    """Even digits from odd ones, as a binary classifier and as the same one of two classes."""
    data = datasets.Dataset.of_arrays(digits[1].read(np.arange(60)), digits[1].labels[:60] % 2, "parity", classes=2)
    inputs = keras.Input((16, 16, 1))
    logit = keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs)))
    forms = {
        "sigmoid": keras.ops.sigmoid(logit),
        "logit": logit,
        "two logits": keras.ops.concatenate([keras.ops.zeros_like(logit), logit], axis=-1),
        "softmax": keras.ops.softmax(keras.ops.concatenate([keras.ops.zeros_like(logit), logit], axis=-1)),
    }
    sections = {"only": ["deformation", "attack"], "epsilons": [4], "steps": 3, "restarts": 1}
    reports = {}
    for name, outputs in forms.items():
        reports[name] = robustness.evaluate(keras.Model(inputs, outputs), data, **sections)
    expected = reports.pop("two logits")
    assert 0.1 < expected["clean"]["error"] < 0.9
    for name, report in reports.items():
        assert report["model"]["classes"] == 2
        assert report["model"]["outputs"] == ("logits" if name == "logit" else "probabilities")
        for section in ("clean", "deformation", "attack"):
            assert (
                list(compare(figures(report)[section] | {"attacked": 0}, figures(expected)[section] | {"attacked": 0}))
                == []
            )
    exact = keras.losses.binary_crossentropy(data.labels[:, None], digits_probabilities(forms["sigmoid"], inputs, data))
    assert expected["clean"]["nll"] == pytest.approx(float(np.mean(exact)), rel=1e-4)


def digits_probabilities(outputs, inputs, data):
    return keras.Model(inputs, outputs).predict(data.read(np.arange(len(data))), verbose=0)


def test_versions_are_in_one_order(monkeypatch):
    """A set of texts is in another order in each process; eight pairs are hardly ever sorted by chance."""
    for backend in ("argparse", "csv", "ipaddress", "jax", "json", "logging", "optparse", "platform"):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        names = [name for name in evaluation._versions("SavedModel") if name in (backend, "tensorflow")]
        assert len(names) == 2 and names == sorted(names)


def test_a_model_without_gradient_is_reported_without_attacks(tmp_path):
    inputs = keras.Input((16, 16, 1))
    rounded = keras.layers.Lambda(lambda x: keras.ops.stop_gradient(x))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(rounded)))
    report = robustness.evaluate(model, "digits", limit=20, only=["attack"], output=tmp_path)
    assert "gives no gradient" in report["attack"]["left_out"] and report["attack"]["results"] == []
    assert any("attacks are left out: the model gives no gradient" in warning for warning in report["warnings"])
    assert "Left out: the model gives no gradient" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "attack.png").exists()


def test_all_of_few_images_are_not_near_chance():
    setting = types.SimpleNamespace(classifier=types.SimpleNamespace(description={"classes": 2}, preprocess=""))
    for error, is_near in ((0.0, False), (0.3, False), (0.45, True)):
        results = {"clean": {"error": error, "error_interval": [0.0, 0.6]}}
        assert bool(Clean().summarize(setting, results, {})[1]) == is_near


def test_accuracy_near_chance_triggers_a_warning(digits):
    report = robustness.evaluate(digits[2], "digits", only=["clean"], preprocess=["scale=-1"])
    assert "is near chance, 10.0 %" in report["warnings"][0] and "`preprocess`" in report["warnings"][0]
    report = robustness.evaluate(digits[2], "digits", only=["clean"], preprocess=["scale=1/255", "mean=9"])
    assert "with preprocessing scale=1/255 mean=9 std=1 order=rgb;" in report["warnings"][0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"detector": "edges"}, "`detector` must be one of"),
        ({"corruptions": "nowhere"}, "`corruptions` must be regenerate, tfds or a folder"),
        ({"limit": 0}, "`limit` must be a positive integer"),
    ],
)
def test_options_that_cannot_be_used_are_refused(digits, nothing_measured, options, match):
    with pytest.raises(InputError, match=match):
        robustness.evaluate(digits[2], "digits", **{"limit": 10} | options)


def test_memory_does_not_grow_with_the_images(tmp_path):
    """Everything but the model: images are read when needed, a batch at a time."""
    model = networks.untrained((32, 32, 3), 4)
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (384, 32, 32, 3), dtype="uint8"))
    images = np.load(path, mmap_mode="r")
    wanted = ["clean", "corruption/fog/3", "deformation/rotation_20", "occlusion/random", "attack/fgsm"]
    peaks = {}
    for count in (64, 384):
        dataset = datasets.Dataset.of_arrays(images[:count], np.arange(count) % 4, identity="test")
        classifier = from_keras(model)
        classifier.check(images[:16], 4, True)
        setting = run.Setting(classifier, dataset, robustness.Options(batch_size=16))
        parts = {part.name: part for section in SECTIONS for part in section.parts(setting)}
        for name in wanted:
            tracemalloc.start()
            run.run([parts[name]])
            peaks.setdefault(name, []).append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # The images that are added, kept as bytes, would exceed this; the thread is up to two batches ahead.
    limit = 0.75 * images[64:].nbytes
    assert all(peak - few < limit for few, peak in peaks.values()), (peaks, limit)
