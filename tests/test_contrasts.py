"""Contrasts of a study."""

import itertools
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import contrasts
from keras_mma.errors import InputError
from keras_mma.study import arms, planning, sequential

PLANS = Path(__file__).parents[1] / "docs" / "results" / "plans"


@pytest.fixture
def report(rng):
    """A finished study of three methods and two numbers of epochs with four seeds, 3 to 6."""
    cells = [
        {
            "name": f"{method}-epochs{epochs}-seed{seed}",
            "method": method,
            "seed": seed,
            "setting": {"epochs": epochs},
            "part": "test",
            "test_accuracy": 0.5,
            "loss": 1.5,
            "accuracy": rng.uniform(40, 60),
            "images": 10000,
        }
        for method in ("none", "cutmix", "soft")
        for epochs in (25, 200)
        for seed in (3, 4, 5, 6)
    ]
    return {
        "plan": {"seeds": 4, "first_seed": 3, "looks": [], "margin": 0.5, "part": "test"},
        "analysis": {"complete": True},
        "cells": cells,
    }


def accuracies(report, method, epochs):
    return np.array(
        [c["accuracy"] for c in report["cells"] if c["method"] == method and c["setting"]["epochs"] == epochs]
    )


def test_a_contrast_is_the_t_interval_of_weighted_sums_within_seeds(report):
    growth = {"cutmix epochs=200": 1, "none epochs=200": -1, "cutmix epochs=25": -1, "none epochs=25": 1}
    half = {"soft epochs=25": 0.5, "cutmix epochs=25": 0.5, "none epochs=25": -1}
    measured = contrasts.measure(report, {"growth": growth, "half": half})
    late, early = ({m: accuracies(report, m, e) for m in ("none", "cutmix", "soft")} for e in (200, 25))
    expected = {
        "growth": late["cutmix"] - late["none"] - (early["cutmix"] - early["none"]),
        "half": (early["soft"] + early["cutmix"]) / 2 - early["none"],
    }
    p_values = []
    for name, values in expected.items():
        result = stats.ttest_1samp(values, 0)
        interval = measured[name].interval
        assert (interval.low, interval.high) == pytest.approx(tuple(result.confidence_interval(0.95)))
        assert interval.mean == pytest.approx(values.mean())
        p_values.append(result.pvalue)
    smaller, larger = sorted(p_values)
    by_holm = {smaller: min(1, 2 * smaller), larger: min(1, max(2 * smaller, larger))}
    assert [contrast.p for contrast in measured.values()] == pytest.approx([by_holm[p] for p in p_values])


def test_an_extended_study_has_the_levels_of_its_report(report):
    report["plan"]["looks"] = [2]
    gain, loss = {"soft epochs=25": 1, "none epochs=25": -1}, {"soft epochs=25": -1, "none epochs=25": 1}
    interval, p, *_ = contrasts.measure(report, {"gain": gain, "loss": loss})["gain"]
    values = accuracies(report, "soft", 25) - accuracies(report, "none", 25)
    level = sequential.sequential_level((2, 4))
    assert (interval.low, interval.high) == pytest.approx(
        tuple(stats.ttest_1samp(values, 0).confidence_interval(1 - level))
    )
    alone = stats.ttest_1samp(values, 0).pvalue
    assert p == pytest.approx(min(1, alone * 0.05 / sequential.sequential_level((2, 4), 2)))


def test_a_name_may_have_spaces(report):
    for cell in report["cells"]:
        cell["method"] = cell["method"].replace("soft", "my soft arm")
    measured = contrasts.measure(report, {"gain": {"my soft arm epochs=25": 1, "none epochs=25": -1}})
    assert measured["gain"].interval.n == 4


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([3.0, 3.2, 2.9, 3.1], "above 0"),
        ([-3.0, -3.2, -2.9, -3.1], "below 0"),
        ([0.1, -0.1, 0.05, 0.0], "no difference larger than 0.5"),
        ([3.0, -3.2, 2.9, 0.1], "cannot be told"),
    ],
)
def test_a_contrast_has_a_verdict(report, values, verdict):
    for cell in report["cells"]:
        cell["accuracy"] = 50 + (values[cell["seed"] - 3] if cell["method"] == "soft" else 0)
    measured = contrasts.measure(report, {"gain": {"soft epochs=25": 1, "none epochs=25": -1}})
    assert contrasts.to_markdown(measured, 0.5).endswith(f" | {verdict} |\n")


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"zzz epochs=25": 1, "none epochs=25": -1}, "no training of zzz epochs=25 with seed 3"),
        ({"cutmix epochs=50": 1, "none epochs=25": -1}, "no training of cutmix epochs=50"),
        ({"cutmix": 1, "none epochs=25": -1}, "cutmix must name one setting"),
        ({"epochs=25": 1, "none epochs=25": -1}, "no training of epochs=25"),
    ],
)
def test_methods_that_the_study_does_not_have_once(report, weights, match):
    with pytest.raises(InputError, match=match):
        contrasts.measure(report, {"x": weights})


def test_methods_that_all_diverged_are_not_shown_to_be_equal(report):
    gain = {"gain": {"soft epochs=25": 1, "none epochs=25": -1}}
    for cell in report["cells"]:
        cell["accuracy"] = 10.0
    assert contrasts.measure(report, gain)["gain"].verdict == "no difference larger than the margin"
    assert contrasts.measure(report, gain, report)["gain"].verdict == "no difference larger than the margin"
    for cell in report["cells"]:
        cell["diverged"] = 1
    for measured in (contrasts.measure(report, gain), contrasts.measure(report, gain, report)):
        assert measured["gain"].verdict == "cannot be told"
        text = contrasts.to_markdown(measured, 0.5)
        assert "Includes training runs that diverged: none-epochs25-seed3, " in text and "epochs200" not in text


def test_seeds_that_all_diverged_are_left_out_of_the_evidence(report):
    gain = {"gain": {"soft epochs=25": 1, "none epochs=25": -1}}
    for cell in report["cells"]:
        cell["accuracy"] = 50 + cell["seed"] % 3 / 20 * (cell["method"] == "soft")
    for cell in report["cells"][::4]:  # of the first seed
        cell.update(accuracy=10.0, diverged=1)
    values = accuracies(report, "soft", 25) - accuracies(report, "none", 25)
    alone = contrasts.Sums(list(values[1:]), 0.01, [False] * 3, ())
    whole = contrasts.Sums(list(values), 0.01, [True, False, False, False], ())
    assert contrasts._welch(whole, whole, 0.5)[2] == contrasts._welch(alone, alone, 0.5)[2] < 0.05
    for measured in (contrasts.measure(report, gain), contrasts.measure(report, gain, report)):
        assert measured["gain"].verdict == "no difference larger than the margin"
    assert "none-epochs25-seed3 of the other study" in contrasts.to_markdown(measured, 0.5)


def test_an_unfinished_study_is_refused(report):
    report["analysis"]["complete"] = False
    with pytest.raises(InputError, match="must be finished"):
        contrasts.measure(report, {"x": {"cutmix epochs=25": 1, "none epochs=25": -1}})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "it is empty"),
        ("x = 1", "weights of methods: x must be"),
        ("[x]\na = 1\nb = -2", "sum to 0. Received: -1"),
        ("[", "read"),
    ],
)
def test_files_that_are_refused(tmp_path, text, match):
    path = tmp_path / "contrasts.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        contrasts.read(path)


def test_the_command_prints_a_table(report, tmp_path, capsys):
    (tmp_path / "report.json").write_text(json.dumps(report))
    path = PLANS / "length-contrasts.toml"
    assert contrasts.main([str(tmp_path), str(path)]) == 2
    assert "contrasts: error: the study has no training of saliencymix epochs=200" in capsys.readouterr().err
    path = tmp_path / "one.toml"
    path.write_text('[gain]\n"soft epochs=25" = 1\n"none epochs=25" = -1\n')
    assert contrasts.main([str(tmp_path), str(path)]) == 0
    gain = (accuracies(report, "soft", 25) - accuracies(report, "none", 25)).mean()
    assert f"| gain | {gain:+.2f} | [" in capsys.readouterr().out


def test_the_mean_of_some_measures_takes_the_place_of_the_accuracy(report, tmp_path, rng, capsys):
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "one.toml").write_text('[gain]\n"soft epochs=25" = 1\n"none epochs=25" = -1\n')
    words = [str(tmp_path), str(tmp_path / "one.toml"), "--measures", "rotation", "zoom"]
    assert contrasts.main(words) == 2
    assert "`measures` need the robustness of all models, as its plan says. Received: " in capsys.readouterr().err
    measured = {
        cell["name"]: {measure: rng.uniform(20, 40) for measure in ("blur", "rotation", "zoom")}
        for cell in report["cells"]
    }
    (tmp_path / "robustness").mkdir()
    for name, accuracies_ in measured.items():
        path = tmp_path / "robustness" / f"{name}.json"
        path.write_text(json.dumps({"sections": ["a"], "limit": 1000, "loss": 1.5, "accuracies": accuracies_}))
    assert contrasts.main(words) == 0
    values = [
        sum(
            measured[f"soft-epochs25-seed{seed}"][name] - measured[f"none-epochs25-seed{seed}"][name]
            for name in words[3:]
        )
        / 2
        for seed in (3, 4, 5, 6)
    ]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert f"| gain | {np.mean(values):+.2f} | [{low:.2f}, {high:.2f}] |" in capsys.readouterr().out
    assert contrasts.main([*words, "--relative-to", "blur"]) == 0
    blurs = [
        measured[f"soft-epochs25-seed{seed}"]["blur"] - measured[f"none-epochs25-seed{seed}"]["blur"]
        for seed in (3, 4, 5, 6)
    ]
    assert f"| gain | {np.mean(values) - np.mean(blurs):+.2f} | [" in capsys.readouterr().out
    assert contrasts.main([*words[:2], "--relative-to", "blur"]) == 2
    assert "`relative_to` requires `measures`. Received: relative_to=blur" in capsys.readouterr().err
    assert contrasts.main([*words, "rotatoin"]) == 2
    assert "must be of blur, rotation, zoom. Received: rotatoin" in capsys.readouterr().err


def test_the_contrasts_of_two_studies_are_compared_as_welch_does(report, rng, tmp_path, capsys):
    other = json.loads(json.dumps(report))
    for cell in other["cells"]:
        cell["accuracy"] += rng.normal(0, 3)
    gain = {"soft epochs=25": 1, "none epochs=25": -1}
    ours, theirs = (accuracies(each, "soft", 25) - accuracies(each, "none", 25) for each in (report, other))
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    (contrast,) = contrasts.measure(report, {"gain": gain}, other).values()
    assert (contrast.interval.low, contrast.interval.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert contrast.p == pytest.approx(expected.pvalue) and contrast.interval.mean == pytest.approx(
        ours.mean() - theirs.mean()
    )
    for name, each in (("a", report), ("b", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(each))
    (tmp_path / "gain.toml").write_text('[gain]\n"soft epochs=25" = 1\n"none epochs=25" = -1\n')
    words = [str(tmp_path / "a"), str(tmp_path / "gain.toml"), "--minus", str(tmp_path / "b")]
    assert contrasts.main(words) == 0
    assert f"| gain | {contrast.interval.mean:+.2f} | [" in capsys.readouterr().out
    other["plan"]["looks"] = [2]
    with pytest.raises(InputError, match="must not be extended"):
        contrasts.measure(report, {"gain": gain}, other)
    other["plan"]["part"] = "validation"
    with pytest.raises(InputError, match="must have the same part. Received: test and validation"):
        contrasts.measure(report, {"gain": gain}, other)


def test_equal_results_of_two_studies_are_only_as_precise_as_their_resolution(report):
    for cell in report["cells"]:
        cell["accuracy"], cell["images"] = 50 + (cell["method"] == "soft"), 100
    other = json.loads(json.dumps(report))
    for cell in other["cells"]:
        cell["accuracy"] = 50
    (contrast,) = contrasts.measure(report, {"x": {"soft epochs=25": 1, "none epochs=25": -1}}, other).values()
    # Each study has the standard deviation 1 / sqrt(6) of a difference of two accuracies that are rounded to 1 %.
    assert contrast.interval.high - 1 == pytest.approx(stats.t.ppf(0.975, 6) * np.sqrt(2 / 6 / 4))


@pytest.mark.parametrize(("shift", "verdict"), [(3.0, "above 0"), (0.0, "no difference larger than 0.5")])
def test_two_studies_have_a_verdict(report, shift, verdict):
    for cell in report["cells"]:
        cell["accuracy"] = 50 + 0.02 * cell["seed"]
    other = json.loads(json.dumps(report))
    for seed, cell in enumerate(report["cells"]):
        cell["accuracy"] += (cell["method"] == "soft") * (shift + 0.01 * (seed % 3))
    measured = contrasts.measure(report, {"gain": {"soft epochs=25": 1, "none epochs=25": -1}}, other)
    assert contrasts.to_markdown(measured, 0.5).endswith(f" | {verdict} |\n")


def test_the_parts_of_saliency_mix_are_balanced():
    """In all combinations, the effect of a part is free of those of the others and of all interactions."""
    planned = contrasts.read(PLANS / "saliencymix-contrasts.toml")
    values = [("correct", "noise"), ("shift", "clip"), ("area", "saliency")]
    combinations = {"_".join(names): names for names in itertools.product(*values)}
    for part, (weights, (first, _)) in enumerate(zip(list(planned.values())[:3], values, strict=True)):
        assert weights == {arm: 0.25 if names[part] == first else -0.25 for arm, names in combinations.items()}
    planned_arms = tomllib.loads((PLANS / "saliencymix.toml").read_text())
    for arm, names in combinations.items():
        is_noise, border, label = names[0] == "noise", names[1], names[2]
        detector = "fine_grained_misread" if is_noise else "fine_grained"
        assert planned_arms[arm] == f"saliencymix(detector={detector}, box=sample, border={border}, label={label})"
    assert {arm for weights in planned.values() for arm in weights} <= {*planned_arms, "none"}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(PLANS.glob("*.toml")), ids=lambda path: path.stem)
def test_what_is_planned_can_be_run(path):
    if path.stem.endswith("-contrasts"):
        assert contrasts.read(path)
        return
    settings = {"dataset": "digits", "image_size": 32, "network": "wideresnet-10-1", "epochs": 1}
    made = planning.make(arms.read_file(path), None, None, settings, seeds=5, margin=0.5)
    assert len(made["arms"]) == len(tomllib.loads(path.read_text()))
