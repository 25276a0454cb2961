"""Reports side by side: what is comparable, what the table and the plot show."""

import copy
import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from keras_mma.robustness import InputError, compare, comparison, comparison_plots, paired
from tests.robustness import reports


def changed(report, path, value):
    """A copy of a report with another value."""
    report = copy.deepcopy(report)
    *folders, last = path.split("/")
    inner = report
    for folder in folders:
        inner = inner[folder]
    inner[last] = value
    return report


def test_reports_of_other_images_or_corruptions_are_not_comparable():
    whole, part = reports.report(), reports.report(only=["clean"])
    unknown = copy.deepcopy(whole)
    del unknown["dataset"]["sha256"]
    comparison.check_comparable([whole, part, unknown, whole], "abcd")
    fewer = copy.deepcopy(whole)
    del fewer["corruption"]["results"]["fog"]
    for other, match in [
        (changed(whole, "dataset/n", 90), "n 100 and 90"),
        (changed(whole, "dataset/sha256", "2"), "sha256 '1*' and '2'"),
        (changed(whole, "dataset/image_shape", [16, 16, 3]), r"image_shape \[32, 32, 3\] and \[16, 16, 3\]"),
        (changed(whole, "run/seed", 3), "seed 0 and 3"),
        (changed(whole, "corruption/label", "CIFAR-10-C"), "corruptions 'regenerated, CIFAR severities' and 'CIFAR"),
        (fewer, "set of corruptions '.*fog.*' and '"),
    ]:
        with pytest.raises(InputError, match=f"a and c are not comparable: {match}"):
            comparison.check_comparable([whole, part, other], "abc")


def test_reports_of_which_only_later_ones_have_corruptions_are_compared_with_each_other():
    whole, part = reports.report(), reports.report(only=["clean"])
    with pytest.raises(InputError, match="b and c are not comparable: corruptions"):
        comparison.check_comparable([part, whole, changed(whole, "corruption/label", "CIFAR-10-C")], "abc")


def test_the_table_has_a_dash_where_a_report_lacks_what_others_have():
    both = [reports.report(0.2), reports.report(0.3, only=["attack"])]
    text = comparison.to_markdown(both, ["runs/a", "b"], comparison.differences(both))
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in map(lambda r: r.split("|"), text.split("## Differences")[0].splitlines())
        if len(cells) > 2
    }
    assert rows[""] == ["`runs/a`", "`b`"]
    assert rows["error"] == ["20.0 % [10.0, 30.0]", "30.0 % [20.0, 40.0]"]
    assert rows["**corruption, mean error** (regenerated, CIFAR severities)"] == ["20.0 %", "-"]
    assert rows["rotation ±20°, error"] == ["20.0 %", "-"]
    assert rows["occlusion random (fine_grained), mean accuracy"] == ["80.0 %", "-"]
    assert rows["PGD-20 8/255, robust accuracy"] == ["80.0 %", "70.0 %"]


def last_table(text):
    """Dict from the first cell of the rows of the last table to the others."""
    lines = [line.split(" | ") for line in text.split("\n\n")[-1].splitlines()[2:]]
    return {cells[0].removeprefix("| "): [cell.removesuffix(" |") for cell in cells[1:]] for cells in lines}


def test_differences_are_paired_by_image():
    """25 images are errors of both; 5 of one only."""
    rows = comparison.differences([reports.report(0.25), reports.report(0.3), reports.report(0.2, only=["attack"])])
    expected = paired.over_images(np.arange(100) < 30, np.arange(100) < 25)
    assert expected.mean == pytest.approx(0.05) and expected.low < 0.05 < expected.high < 0.12
    assert len(rows) == 1 + 5 + (1 + 8) + 3 + 5
    for label, (first, second) in rows.items():
        assert first == pytest.approx(expected), label
        assert (second is None) == (label != "clean" and "/255" not in label)
    assert rows["clean"][1].mean == pytest.approx(-0.05)


def test_reports_that_do_not_keep_the_images_have_differences_without_intervals():
    old = copy.deepcopy(reports.report(0.3))
    del old["clean"]["correct"], old["corruption"]["results"]["fog"]["severities"][2]["correct"]
    rows = comparison.differences([reports.report(0.25), old])
    lacking = {label for label, (cell,) in rows.items() if cell.low is None}
    assert lacking == {"clean", "corruptions, mean (regenerated)", "weather (regenerated)"}
    assert rows["clean"][0].mean == pytest.approx(0.05)
    text = comparison.to_markdown([reports.report(0.25), old], ["a", "b"], rows)
    assert "A difference without interval is that of a report" in text and "| clean | +5.0 |" in text
    old["clean"]["correct"] = "AAAA"
    with pytest.raises(InputError, match="the report of runs/model is damaged"):
        comparison.differences([old, old])


def test_methods_are_compared_over_their_seeds(tmp_path):
    errors = {"mix": (0.2, 0.22, 0.25), "plain": (0.25, 0.26, 0.33)}
    for name, values in errors.items():
        for seed, error in enumerate(values):
            (tmp_path / f"{name}-seed{seed}").mkdir()
            (tmp_path / f"{name}-seed{seed}" / "report.json").write_text(json.dumps(reports.report(error)))
    mix, plain = ([tmp_path / f"{name}-seed{seed}" for seed in range(3)] for name in errors)
    text = compare(mix, tmp_path / "both", against=plain)
    interval = stats.ttest_rel(errors["mix"], errors["plain"]).confidence_interval()
    ends = [f"{100 * end:+.1f}".replace("-", "−") for end in (np.mean([-0.05, -0.04, -0.08]), *interval)]
    rows = last_table(text)
    assert rows["clean"] == ["22.3 ± 2.5", "28.0 ± 4.4", f"**{ends[0]} [{ends[1]}, {ends[2]}]**"]
    assert set(rows) == set(comparison.differences([reports.report()] * 2))
    assert "| error | `mix` | `plain` | difference |" in text and "3 seeds each" in text
    assert (tmp_path / "both" / "differences.png").exists()
    alone = last_table(compare(mix[:1], against=plain[:1]))["clean"]
    expected = paired.points(paired.over_images(np.arange(100) < 20, np.arange(100) < 25))
    assert alone[2].strip("*") == expected
    with pytest.raises(InputError, match="`against` must name as many .* Received: 2 against 3"):
        compare(mix, against=plain[:2])


def test_the_same_report_twice_is_refused(tmp_path):
    for name, error in (("a", 0.2), ("b", 0.3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(reports.report(error)))
    a, b = tmp_path / "a", tmp_path / "b"
    for paths, against in [([a, a], None), ([a, b, a / "report.json"], None), ([a], [f"{a}/../a"]), ([a, a], [b, b])]:
        with pytest.raises(InputError, match=r"must be different. Received: \S+/a and \S+, the same file$"):
            compare(paths, against=against)


def test_names_of_methods():
    names = comparison._method_names
    assert names(["r/a-seed0", "r/a-seed1", "r/b-seed0", "r/b-seed1"], 2) == ["a", "b"]
    assert names(["r/a/0/report.json", "r/b/0/report.json"], 1) == ["a/0", "b/0"]
    assert names(["r/0", "r/1", "r/2", "r/3"], 2) == ["first", "second"]
    assert names([f"r/{name}-{seed}" for name in ("mixed", "plain") for seed in (10, 11, 12)], 3) == ["mixed", "plain"]
    assert names(["r/vit16/0", "r/vit16/1", "r/vit32/0", "r/vit32/1"], 2) == ["vit16", "vit32"]


def test_the_files_of_a_comparison(tmp_path):
    for name, error in (("a", 0.2), ("b", 0.3)):
        (tmp_path / f"{name}.json").write_text(json.dumps(reports.report(error)))
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    text = compare(paths, tmp_path / "both")
    page = (tmp_path / "both" / "comparison.md").read_text()
    assert page.startswith(text + "\n![Errors side by side](comparison.png)\n") and "(differences.png)" in page
    for name in ("comparison.png", "differences.png"):
        assert (tmp_path / "both" / name).read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "both" / "comparison.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2 and page.count("src=") == 2
    assert compare(paths) == text


def test_the_plot_omits_what_a_report_lacks_and_covers_no_point():
    whole, part = reports.report(), reports.report(only=["corruption", "occlusion"])
    figure = Figure(layout="constrained")
    names = comparison._short_names(["runs/whole", "runs/part", "runs/" + "long" * 12])
    comparison_plots.errors([comparison._errors(report) for report in (whole, part, whole)], names, figure)
    axis = figure.axes[0]
    first, second, third = (line.get_xdata() for line in axis.lines)
    lacking = len(whole["deformation"]) + len(whole["attack"]["results"])
    assert len(first) == len(third) == 5 + lacking and len(second) == 5
    assert [text.get_text() for text in axis.texts] == ["–"] * lacking
    assert [text.get_position()[1] for text in axis.texts] == pytest.approx(
        list(range(5, 5 + lacking))
    )  # the middle one of three
    assert first[0] == 100 * whole["clean"]["error"]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text()[:10] for text in legend.get_texts()] == ["whole", "part", "longlonglo"]
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())
    assert figure.bbox.height >= legend.get_window_extent().y1 and figure.bbox.width >= legend.get_window_extent().x1
