"""The report: what it says of made-up studies, and that it is complete."""

import html.parser
import json
import re
import struct

import numpy as np
import pytest
from scipy import stats

from keras_mma import markdown, packing
from keras_mma.study import (
    analysis,
    evaluation,
    latex,
    power,
    quoted_plan,
    report,
    sequential,
    statistics,
    study_cells,
    study_plan,
    tables,
)
from tests.study import fakes

GAINS = {"none": 0.0, "cutmix": 0.03, "saliencymix+mma": -0.02}


def analyzed(plan, records, title=""):
    (setting,) = [setting for setting in analysis.analyze(plan, records)["settings"] if setting["title"] == title]
    return {comparison["method"]: comparison for comparison in setting["comparisons"]}, setting


def test_differences_are_paired_and_in_points():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    comparisons, setting = analyzed(plan, records)
    own, other = (
        np.array([100 * records[f"{name}-seed{seed}"]["test_accuracy"] for seed in range(5)])
        for name in ("cutmix", "none")
    )
    expected = stats.ttest_rel(own, other)
    cutmix = comparisons["cutmix"]
    interval = expected.confidence_interval(0.95)
    assert (cutmix["low"], cutmix["high"]) == pytest.approx((interval.low, interval.high))
    assert cutmix["p"] == pytest.approx(expected.pvalue)
    p_values = {name: comparison["p"] for name, comparison in comparisons.items()}
    smaller, larger = sorted(p_values, key=p_values.get)
    assert comparisons[smaller]["p_adjusted"] == pytest.approx(2 * p_values[smaller])
    assert comparisons[larger]["p_adjusted"] == pytest.approx(max(2 * p_values[smaller], p_values[larger]))
    assert cutmix["verdict"] == statistics.BETTER and comparisons["saliencymix+mma"]["verdict"] == statistics.WORSE
    assert cutmix["correlation"] == pytest.approx(np.corrcoef(own, other)[0, 1])
    assert cutmix["probability_better"]["share"] == 1
    arm = setting["arms"][1]
    assert (arm["method"], arm["n"]) == ("cutmix", 5) and arm["mean"] == pytest.approx(own.mean())
    assert arm["cost"] == pytest.approx(1.1)


def test_a_study_that_can_tell_nothing_says_how_many_seeds_it_would_take():
    plan = fakes.make_plan(seeds=3)
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.004, "saliencymix+mma": 0.04}, sd=0.02)
    comparisons, setting = analyzed(plan, records)
    cutmix = comparisons["cutmix"]
    assert cutmix["verdict"] == statistics.CANNOT_BE_TOLD
    # Two comparisons share the error.
    n = cutmix["seeds_needed"]
    before, after = (stats.t.isf(0.0125, count - 1) * cutmix["sd"] / np.sqrt(count) for count in (n - 1, n))
    assert after <= plan["margin"] / 2 < before
    spread = np.median([comparison["sd"] for comparison in comparisons.values()])
    assert setting["detectable"] == pytest.approx(power.detectable_difference(3, spread, level=0.025))
    text = report.to_markdown(report.make(plan, records))
    assert f"cannot be told; about {n:,} seeds in a new study would settle it" in text
    assert f"With 3 seeds and this spread, a true difference of {setting['detectable']:.2f} points" in text


def judged(values, others=0, margin=0.5):
    """The comparison with these paired differences, among others that show nothing."""
    family = [statistics.mean_interval(values)._asdict(), *[statistics.mean_interval([-1.0, 1.0])._asdict()] * others]
    analysis.judge(family, margin, (len(values),), complete=True)
    return family[0]


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.249, 0.251, 0.5, 3.0])
def test_the_seeds_that_would_tell_tell_whatever_the_difference(mean):
    """Also with a mean between 0 and the margin, of which a test against 0 alone cannot tell anything."""
    noise = np.array([0.6, -0.5, 0.4, 0.2, -0.7])
    noise -= noise.mean()
    comparison = judged(list(0.25 + noise))
    n = comparison["seeds_needed"]
    assert comparison["verdict"] == statistics.CANNOT_BE_TOLD and n > 5
    values = np.resize(noise, 5 * n)[:n]
    values = mean + (values - values.mean()) * noise.std(ddof=1) / (values - values.mean()).std(ddof=1)
    assert judged(list(values))["verdict"] != statistics.CANNOT_BE_TOLD


def test_more_seeds_than_anybody_can_train_are_not_named():
    comparison = judged([1.0, -80.0, 0.5, 0.2, 0.3], margin=0.01)
    assert comparison["seeds_needed"] is None
    assert tables.verdict(comparison, 0.01) == "cannot be told"


def test_an_extended_study_detects_at_its_own_level():
    plan = fakes.make_plan(("none", "cutmix"), seeds=6) | {"looks": [3]}
    comparisons, setting = analyzed(plan, fakes.make_records(plan, {"none": 0.0, "cutmix": 0.01}))
    level = sequential.sequential_level((3, 6))
    expected = power.detectable_difference(6, comparisons["cutmix"]["sd"], level=level)
    assert setting["detectable"] == pytest.approx(expected)


def test_a_difference_that_the_correction_takes_back_is_explained():
    values = [1.0, 0.2, 0.8, 0.4]
    assert tables.verdict(judged(values), 0.5) == "better"
    text = tables.verdict(judged(values, others=2), 0.5)
    assert text.startswith("cannot be told (p 0.046 alone, 0.139 corrected); ")
    assert " seeds in a new study would settle it" in text


def test_an_equivalence_that_the_correction_takes_back_is_explained():
    values = [0.1, 0.0, -0.1, 0.15]
    assert judged(values)["verdict"] == statistics.NO_DIFFERENCE
    text = tables.verdict(judged(values, others=19), 0.5)
    assert re.match(
        r"cannot be told \(p of a larger difference 0.00\d alone, 0.\d+ corrected\); about \d+ seeds in a new study "
        "would settle it",
        text,
    )


@pytest.mark.parametrize(
    ("times", "is_first", "warned"),
    [(["2099"] * 3, True, False), (["2099", "2099", None], False, False), (["2000", "2099", "2099"], False, True)],
)
def test_the_plan_is_said_to_be_first_only_where_the_records_show_it(times, is_first, warned):
    plan = fakes.make_plan(("none", "cutmix", "mixup"), seeds=2)
    records = fakes.make_records(plan, dict.fromkeys(("none", "cutmix", "mixup"), 0.0))
    for record, year in zip(records.values(), 2 * times, strict=True):
        record |= {} if year is None else {"finished": f"{year}-01-01T00:00:00+00:00"}
    made = report.make(plan, records)
    assert (", before the first training" in quoted_plan.table(made)) == is_first
    assert ("2 of the training runs had ended before the plan was written." in made["warnings"]) == warned


def test_different_backends_and_resumed_trainings_are_named():
    plan = fakes.make_plan(("none", "cutmix"), seeds=2)
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0})
    first, second, *_ = records.values()
    first |= {"backend": "jax", "resumed_from": [{"commit": "0a1b2c"}]}
    second |= {"backend": "tensorflow", "resumed_from": []}
    warnings = report.make(plan, records)["warnings"]
    assert "The training runs were made with different backends: jax, tensorflow." in warnings
    assert (
        "1 of the training runs were resumed with another commit, backend or version than they began with." in warnings
    )


@pytest.mark.parametrize(
    ("looked_at", "words"),
    [(0, "before there were results"), (1, "after the results of one seed, which have no interval")],
)
def test_a_number_of_seeds_that_was_raised_early_is_named(looked_at, words):
    plan = study_plan.extend(fakes.make_plan(("none", "cutmix"), seeds=4), 5, looked_at)
    made = report.make(plan, fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0}))
    assert f"The number of seeds was raised {words}." in made["warnings"]


def test_a_tuning_at_the_edge_names_its_setting():
    grid = {"learning_rate": [0.1, 0.2], "weight_decay": [0.0], "seeds": 1}
    dimensions = fakes.DIMENSIONS | {"epochs": [3, 6]}
    plan = fakes.make_plan(("none", "cutmix"), 2, tuning=grid, dimensions=dimensions)
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0})
    chosen = {
        study_cells.key_of(name, setting): {"learning_rate": 0.2, "weight_decay": 0.0}
        for setting in study_plan.settings_of(plan)
        for name in plan["arms"]
    }
    warnings = report.make(plan, records, tuned=chosen)["warnings"]
    assert sum("The tuned learning rate of `none` (6 epochs) is the largest" in text for text in warnings) == 1


def test_different_versions_are_named():
    plan = fakes.make_plan(("none", "cutmix"), seeds=2)
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0})
    assert not any("versions" in sentence for sentence in report.make(plan, records)["warnings"])
    first, second, *_ = records.values()
    first["versions"], second["versions"] = {"keras": "4", "jax": "1", "pillow": "12"}, {"keras": "3", "jax": "2"}
    warnings = report.make(plan, records)["warnings"]
    assert "The training runs were made with different versions of jax, keras." in warnings


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("tuning", [None, {"learning_rate": [0.1], "weight_decay": [0.0], "seeds": 1}])
def test_tuning_on_the_measured_images_is_named(part, tuning):
    plan = fakes.make_plan(("none", "cutmix"), 2, part=part, tuning=tuning)
    made = report.make(plan, fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0}))
    named = any("tuned on the images on which accuracy is measured" in sentence for sentence in made["warnings"])
    assert named == (part == "validation" and tuning is not None)


def test_a_spread_of_zero_is_no_precision():
    plan = fakes.make_plan(("none", "cutmix"), 3)
    records = {
        cell.name: fakes.make_record(cell, {"none": 0.7, "cutmix": 0.71}[cell.method])
        for cell in study_cells.of_plan(plan)
    }
    comparison = analyzed(plan, records)[0]["cutmix"]
    assert comparison["sd"] == pytest.approx(0.1 / np.sqrt(6))  # a thousand images: steps of 0.1 points
    assert comparison["low"] < comparison["mean"] < comparison["high"]


def test_no_difference_larger_than_the_margin():
    plan = fakes.make_plan(("none", "cutmix"), 8, margin=2.0)
    comparisons, _ = analyzed(plan, fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0}, sd=0.002))
    assert comparisons["cutmix"]["verdict"] == statistics.NO_DIFFERENCE
    assert tables.verdict(comparisons["cutmix"], 2.0) == "no difference larger than 2"


def test_an_unfinished_study_has_no_verdicts():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    del records["saliencymix+mma-seed4"]
    result = analysis.analyze(plan, records)
    assert not result["complete"] and (result["finished"], result["planned"]) == (14, 15)
    comparisons, _ = analyzed(plan, records)
    assert {comparison["verdict"] for comparison in comparisons.values()} == {"unfinished"}
    assert comparisons["saliencymix+mma"]["n"] == 4 and comparisons["cutmix"]["n"] == 5
    made = report.make(plan, records)
    assert "The study is unfinished: 14 of 15 training runs" in " ".join(made["warnings"])
    assert "With 4 seeds and this spread" in (text := report.to_markdown(made))
    assert "over the finished ones of 5 seeds" in text and "none 7" in report.summary(made)
    empty = report.make(plan, {})
    assert "0 of 15" in empty["warnings"][0] and "None yet." in report.to_markdown(empty)
    single = {"none-seed0": records["none-seed0"], "cutmix-seed0": records["cutmix-seed0"]}
    assert "+" in report.summary(report.make(plan, single)) and report.to_markdown(report.make(plan, single))


def test_an_extended_study_says_so_and_has_wider_intervals():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    plain, extended = (analyzed(changed, records)[0]["cutmix"] for changed in (plan, plan | {"looks": [3]}))
    assert extended["high"] > plain["high"] and extended["p_adjusted"] > plain["p_adjusted"]
    made = report.make(plan | {"looks": [3]}, records)
    assert made["analysis"]["extended"] and any("was extended to 5 seeds after a look" in w for w in made["warnings"])
    assert re.search(r"Brackets hold 99\.\d+ % t intervals", report.to_markdown(made))


def test_a_cell_that_diverged_counts_and_is_named():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    cell = next(cell for cell in study_cells.of_plan(plan) if cell.name == "cutmix-seed2")
    records[cell.name] = fakes.make_record(cell, 0.1, diverged=2)
    comparisons, setting = analyzed(plan, records)
    assert comparisons["cutmix"]["n"] == 5 and comparisons["cutmix"]["mean"] < -5
    assert comparisons["cutmix"]["without_diverged"]["n"] == 4
    assert comparisons["cutmix"]["without_diverged"]["mean"] == pytest.approx(3, abs=1)
    assert setting["arms"][1]["diverged"] == [2]
    made = report.make(plan, records)
    assert any("`cutmix` diverged with seed 2" in sentence for sentence in made["warnings"])
    assert "10.00 (diverged in epoch 2)" in report.to_markdown(made)
    assert report.figures.draw(made["analysis"], made["cells"], plan)


def test_methods_that_all_diverged_are_not_shown_to_be_equal():
    plan = fakes.make_plan(("none", "cutmix"))
    records = {cell.name: fakes.make_record(cell, 0.1, diverged=1) for cell in study_cells.of_plan(plan)}
    comparison = analyzed(plan, records)[0]["cutmix"]
    assert comparison["verdict"] == statistics.CANNOT_BE_TOLD and "seeds_needed" not in comparison
    assert tables.verdict(comparison, plan["margin"]) == "cannot be told"


@pytest.mark.parametrize("count", [2, 4])
def test_pairs_that_both_diverged_are_no_evidence_of_being_equal(count):
    plan = fakes.make_plan(("none", "cutmix"))
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.003}, sd=0.001)
    for cell in study_cells.of_plan(plan):
        if cell.seed < count:
            records[cell.name] = fakes.make_record(cell, 0.1, diverged=1)
    comparison = analyzed(plan, records)[0]["cutmix"]
    assert comparison["n"] == 5 and comparison["evidence"]["n"] == 5 - count
    assert comparison["verdict"] == statistics.CANNOT_BE_TOLD
    without = {name: record for name, record in records.items() if record["diverged"] is None}
    alone = analyzed(plan, without)[0]["cutmix"]
    assert comparison["p_equivalence"] == pytest.approx(alone["p_equivalence"])
    assert any("no evidence that they are equal" in sentence for sentence in report.make(plan, records)["warnings"])
    needed = comparison.get("seeds_needed")
    sd = alone["sd"]
    assert needed == (None if sd is None else power.seeds_for_verdict(sd, plan["margin"]))


def test_a_training_that_diverged_does_not_widen_the_pooled_intervals_of_others():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    assert analyzed(plan, records)[0]["saliencymix+mma"]["pooled"] is not None
    cell = next(cell for cell in study_cells.of_plan(plan) if cell.name == "cutmix-seed2")
    records[cell.name] = fakes.make_record(cell, 0.1, diverged=2)
    comparisons, setting = analyzed(plan, records)
    assert comparisons["saliencymix+mma"]["pooled"] is None and setting["two_way"] is None


def test_comparisons_without_a_result_yet_are_in_the_correction():
    plan = fakes.make_plan(("none", "cutmix"), dimensions=fakes.DIMENSIONS | {"epochs": [3, 6]})
    records = fakes.make_records(plan, GAINS)
    half = {name: record for name, record in records.items() if record["setting"]["epochs"] == 3}
    comparison = analyzed(plan, half, "3 epochs")[0]["cutmix"]
    assert comparison["p_adjusted"] == pytest.approx(2 * comparison["p"]) and comparison["p"] < 0.05


def test_an_extended_study_has_wider_intervals_of_the_probability_too():
    plan = fakes.make_plan(("none", "cutmix"))
    records = fakes.make_records(plan, GAINS)
    lows = [analyzed(plan | {"looks": looks}, records)[0]["cutmix"]["probability_better"]["low"] for looks in ([], [3])]
    assert lows[1] < lows[0]


def test_the_figure_of_many_methods_is_no_wider_than_the_page():
    methods = ("none", *(f"cutmix(alpha=0.{number})" for number in range(1, 20)))
    plan = fakes.make_plan(methods, 2)
    made = report.make(plan, fakes.make_records(plan, dict.fromkeys(plan["arms"], 0.0)))
    width, height = struct.unpack(">II", report.figures.draw(made["analysis"], made["cells"], plan)["seeds.png"][16:24])
    assert width < 1700 and height > 400


def test_the_noise_floor_is_that_of_the_records():
    plan = fakes.make_plan(("none", "cutmix"), 3)
    records = fakes.make_records(plan, GAINS)
    _, setting = analyzed(plan, records)
    shares = [
        statistics.disagreement([packing.unpack(records[f"{name}-seed{seed}"]["correct"], 1000) for seed in range(3)])
        for name in ("none", "cutmix")
    ]
    assert setting["noise"]["disagreement"] == pytest.approx(np.mean(shares)) and np.mean(shares) > 0.01
    assert setting["noise"]["floor"] == pytest.approx(100 * np.sqrt(np.mean(shares) / 2000))


def test_all_comparisons_of_a_study_share_the_error():
    plan = fakes.make_plan(seeds=4, dimensions=fakes.DIMENSIONS | {"fraction": [0.1, 1.0]})
    result = analysis.analyze(plan, fakes.make_records(plan, GAINS))
    assert result["comparisons"] == 4 and [setting["title"] for setting in result["settings"]] == [
        "10 % of the training images",
        "100 % of the training images",
    ]
    smallest = min(
        (comparison for setting in result["settings"] for comparison in setting["comparisons"]),
        key=lambda comparison: comparison["p"],
    )
    assert smallest["p_adjusted"] == pytest.approx(4 * smallest["p"])


def test_the_files_of_a_report(tmp_path):
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    made = report.save(tmp_path, plan, records)
    assert json.loads((tmp_path / "report.json").read_text()) == made
    assert (made["plan"]["baseline"], made["plan"]["margin"], made["plan"]["seeds"]) == ("none", 0.5, 5)
    assert len(made["cells"]) == 15
    for cell in made["cells"]:
        assert cell["test_accuracy"] == records[f"{cell['method']}-seed{cell['seed']}"]["test_accuracy"]
    text = (tmp_path / "report.md").read_text()
    for name in ("seeds.png", "differences.png", "cost.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and f"]({name})" in text
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in page and "@import" not in page
    assert {"report.md", "report.html", "report.json", "seeds.png", "differences.png", "cost.png"} == {
        path.name for path in tmp_path.iterdir()
    }


def test_the_page_is_well_formed_and_shows_the_tables(tmp_path):
    plan = fakes.make_plan(("none", "x|y=cutmix", "<b>=cutmix+mma(temperature=1)"), 2)
    records = fakes.make_records(plan, {"none": 0.0, "x|y": 0.01, "<b>": 0.02})
    report.save(tmp_path, plan, records)

    class Parser(html.parser.HTMLParser):
        opened, cells = [], []

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br", "hr"):
                self.opened.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert self.opened.pop() == tag

        def handle_data(self, data):
            if "td" in self.opened:
                self.cells.append(data)

    parser = Parser()
    parser.feed((tmp_path / "report.html").read_text())
    assert not parser.opened and {"none", "x|y", "<b>"} <= set(parser.cells)


def test_the_tables_to_paste():
    plan = fakes.make_plan()
    (setting,) = analysis.analyze(plan, fakes.make_records(plan, GAINS))["settings"]
    head, rows = tables.results(setting, plan)
    assert [row[0] for row in rows] == ["`none`", "`cutmix`", "`saliencymix+mma`"] and rows[0][2] == "baseline"
    lines = markdown.table(head, rows).splitlines()
    assert {line.count("|") for line in lines} == {6} and "better" in lines[3]
    lines = latex.table(head, rows).splitlines()
    assert lines[0] == r"\begin{tabular}{lllll}" and lines[-1] == r"\end{tabular}"
    assert r"accuracy in \%" in lines[2] and r"$\pm$" in lines[4] and lines[4].endswith(r"\\")
    assert latex.table(["a_b"], [["{x}"]]).splitlines()[2:5] == [r"a\_b \\", r"\midrule", r"\{x\} \\"]


def test_the_verdicts_of_a_terminal():
    plan = fakes.make_plan()
    lines = report.summary(report.make(plan, fakes.make_records(plan, GAINS))).splitlines()
    assert re.fullmatch(r"digits: none 7\d\.\d\d %, 5 seeds", lines[0])
    assert re.fullmatch(r"  cutmix           \+[23]\.\d\d \[\d\.\d\d, \d\.\d\d\]      better", lines[1])
    assert lines[2].endswith("worse") and "−" in lines[2]


@pytest.mark.parametrize(("trained", "is_measured"), [(0, True), (0, False), (3, True), (None, True)])
def test_when_the_measures_of_robustness_were_chosen(trained, is_measured):
    plan = study_plan.with_evaluation(fakes.make_plan(("none", "cutmix"), 2), ("corruption", "clean"), 1000, trained)
    records = fakes.make_records(plan, {"none": 0.0, "cutmix": 0.0})
    measured = evaluation.Measured({name: {"clean": 70.0} for name in records}, 1000)
    made = report.make(plan, records, evaluation.compare(plan, measured) if is_measured else None)
    text = " ".join(made["warnings"])
    assert ("were chosen when 3 training runs had finished" in text) == (trained == 3)
    assert ("again with `--evaluate clean corruption` and `--limit 1000` to resume" in text) != is_measured
    assert "| robustness | clean, corruption, on 1,000 images |" in report.to_markdown(made)
    part = report.make(plan, dict(list(records.items())[:3]))
    assert "measured yet" not in " ".join(part["warnings"])  # the study itself is unfinished


def test_different_commits_are_named():
    plan = fakes.make_plan()
    records = fakes.make_records(plan, GAINS)
    assert not report.make(plan, records)["warnings"]
    records["none-seed0"]["commit"] = "abc+changes"
    warnings = " ".join(report.make(plan, records)["warnings"])
    assert "different commits: 0123abc, abc+changes" in warnings and "uncommitted changes" in warnings


def test_pooled_errors_need_methods_that_vary_alike():
    plan = fakes.make_plan(seeds=8)
    records = fakes.make_records(plan, GAINS)
    comparisons, setting = analyzed(plan, records)
    table = [[100 * records[f"{name}-seed{seed}"]["test_accuracy"] for name in plan["arms"]] for seed in range(8)]
    assert setting["two_way"]["sd"] == pytest.approx(statistics.two_way(table).sd)
    assert comparisons["cutmix"]["pooled"] == statistics.pooled_difference(table, 1, 0)._asdict()
    for seed in range(8):  # one method that varies a hundred times as much
        records[f"cutmix-seed{seed}"]["test_accuracy"] = 0.75 + 0.2 * (-1) ** seed
    assert analyzed(plan, records)[0]["cutmix"]["pooled"] is None


@pytest.mark.parametrize(("accuracy", "is_said"), [(0.1, True), (0.3, False)])
def test_a_study_in_which_nothing_was_learned_says_so(accuracy, is_said):
    plan = fakes.make_plan()
    records = fakes.make_records(plan, dict.fromkeys(GAINS, 0.0))
    for record in records.values():
        record["test_accuracy"] = accuracy
    sentences = " ".join(report.make(plan, records)["warnings"])
    assert ("No accuracy is above that of guessing among 10 classes, 10.0 %" in sentences) == is_said


@pytest.mark.parametrize(("images", "is_said"), [(18, True), (10_000, False)])
def test_the_standard_deviation_of_rounding_is_explained_for_few_images(images, is_said):
    plan = fakes.make_plan()
    plan["images"]["n"] = images
    text = report.to_markdown(report.make(plan, fakes.make_records(plan, GAINS)))
    said = "With 18 images, accuracies have steps of 5.56 points, and this rounding alone gives differences a standard"
    assert (said in text) == is_said and ("deviation of 2.27: a smaller one counts as that" in text) == is_said


def test_damaged_files_and_all_arguments_of_layers_are_in_the_report():
    plan = fakes.make_plan()
    plan["images"] |= {"skipped": 3}
    plan["layers"] = {"none": {}, "cutmix": {"mixer": {"probability": 0.5, "detector": None}}}
    text = report.to_markdown(report.make(plan, fakes.make_records(plan, GAINS)))
    assert "damaged files that were left out, here or in training: 3" in text
    assert 'mixer: {"probability": 0.5}' in text
