"""Reports side by side: what is comparable, what the table and the plot show."""

import copy
import json

import pytest
from matplotlib.figure import Figure

from keras_mma.robustness import InputError, compare, comparison
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
    text = comparison.to_markdown([reports.report(0.2), reports.report(0.3, only=["attack"])], ["runs/a", "b"])
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in map(lambda r: r.split("|"), text.splitlines())
        if len(cells) > 2
    }
    assert rows[""] == ["`runs/a`", "`b`"]
    assert rows["error"] == ["20.0 % [10.0, 30.0]", "30.0 % [20.0, 40.0]"]
    assert rows["**corruption, mean error** (regenerated, CIFAR severities)"] == ["20.0 %", "-"]
    assert rows["rotation ±20°, error"] == ["20.0 %", "-"]
    assert rows["occlusion random (fine_grained), mean accuracy"] == ["80.0 %", "-"]
    assert rows["PGD-20 8/255, robust accuracy"] == ["80.0 %", "70.0 %"]


def test_the_files_of_a_comparison(tmp_path):
    for name, error in (("a", 0.2), ("b", 0.3)):
        (tmp_path / f"{name}.json").write_text(json.dumps(reports.report(error)))
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    text = compare(paths, tmp_path / "both")
    assert (tmp_path / "both" / "comparison.md").read_text() == text + "\n![Errors side by side](comparison.png)\n"
    assert (tmp_path / "both" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert compare(paths) == text


def test_the_plot_omits_what_a_report_lacks_and_covers_no_point():
    whole, part = reports.report(), reports.report(only=["corruption", "occlusion"])
    figure = Figure(layout="constrained")
    comparison.plot([whole, part, whole], ["runs/whole", "runs/part", "runs/" + "long" * 12], figure)
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
