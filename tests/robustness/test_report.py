"""Reports are written as Markdown, and damaged ones are refused in one line wherever they are read."""

import copy
import json

import pytest

from keras_mma.robustness import InputError, comparison, report
from keras_mma.robustness.sections import SECTIONS
from tests.robustness import reports

REPORT = reports.report()


def test_a_report_is_read_back(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    assert report.read(tmp_path) == report.read(tmp_path / "report.json") == REPORT


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("model", None, "lacks model"),
        ("clean/nll", None, "clean lacks nll"),
        ("clean/error", "0.5", "clean.error is '0.5'"),
        ("clean/error", float("nan"), "clean.error is nan"),
        ("clean/error_interval", [0.1], "clean.error_interval must be a list of 2"),
        ("run", [], "run must be an object"),
        ("corruption/results/fog/severities", [{}] * 5, r"corruption.results.fog.severities\[0\] lacks error"),
        ("corruption/results/fog", {}, "corruption.results.fog lacks group"),
        ("deformation/zoom_60", {}, "deformation.zoom_60 lacks error"),
        ("occlusion/accuracy/random", [], "occlusion.accuracy.random must be a list of 7"),
        ("attack/results", [{"attack": "hammer"}], r"attack.results\[0\] lacks epsilon_255"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, path, value, match):
    damaged = copy.deepcopy(REPORT)
    *folders, last = path.split("/")
    inner = damaged
    for folder in folders:
        inner = inner[folder]
    inner[last] = value
    if value is None:
        del inner[last]
    (tmp_path / "report.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=f"report.json is a damaged report: {match}$"):
        report.read(tmp_path)


def places(value, path=()):
    """The path of every value in a report."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def test_whatever_is_missing_is_refused_or_not_needed():
    """A comparison fails on no report that is accepted, whichever value it has lost."""
    accepted = 0
    for path in places(REPORT):
        damaged = copy.deepcopy(REPORT)
        inner = damaged
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        if report.fault(damaged, report.FORM) is None:
            accepted += 1
            comparison.to_markdown([REPORT, damaged], "ab")
            [section.errors(damaged) for section in SECTIONS if section.name in damaged]
    assert accepted > 50


def test_json_that_is_no_report_is_refused(tmp_path):
    for text in ("[" * 100_000, "", "[]", "{}", json.dumps({"schema": report.SCHEMA})):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InputError, match="report.json (cannot be read as a|must be a|is a damaged) report"):
            report.read(tmp_path)


def test_markdown_has_every_section_and_says_what_was_not_measured():
    text = report.to_markdown(REPORT, ["clean.png", "attack.png"])
    for title in ("Clean", "Corruption", "Deformation", "Occlusion", "Attack", "The run"):
        assert f"\n## {title}\n\n" in text
    assert "![Clean](clean.png)" in text and "![Attack](attack.png)" in text and "![Occlusion]" not in text
    assert "the test split; decoded by tensorflow-datasets" in text and "Not measured" not in text
    part = report.to_markdown(reports.report(only=["deformation"]) | {"warnings": ["careful"]})
    assert "## Corruption\n\nNot measured.\n\n## Deformation\n\nAngles" in part and "**Warning: careful.**" in part
    assert report.sections_of(reports.report(only=["deformation"])) == ["clean", "deformation"]


def test_the_most_important_figures():
    lines = report.headlines(REPORT)
    assert "clean error 25.00%, calibration error 0.0400" in lines
    assert "mean corruption error 25.00% (regenerated, CIFAR severities)" in lines
    assert "robust accuracy 75.00% under PGD-20 8/255" in lines
