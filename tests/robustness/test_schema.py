"""Damaged reports are refused in one line wherever they are read."""

import copy
import json
from pathlib import Path

import pytest

from keras_mma.robustness import InputError, files, plots, report, schema

REPORT = Path(__file__).parents[2] / "docs" / "results" / "robustness" / "report.json"


def test_a_whole_report_is_read():
    assert files.read_report(REPORT) == json.loads(REPORT.read_text())


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
        ("corruption/results/rain", {}, "corruption.results.rain is {}"),
        ("deformation/fold", {"error": 0.5}, "deformation.fold is {'error': 0.5}"),
        ("occlusion/accuracy/random", [], "occlusion.accuracy.random must be a list of 7"),
        ("attack/results", [{"attack": "hammer"}], r"attack.results\[0\] lacks epsilon_255"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, path, value, match):
    damaged = json.loads(REPORT.read_text())
    *folders, last = path.split("/")
    inner = damaged
    for folder in folders:
        inner = inner[folder]
    inner[last] = value
    if value is None:
        del inner[last]
    (tmp_path / "report.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=f"report.json is a damaged report: {match}$"):
        files.read_report(tmp_path)


def places(value, path=()):
    """The path of every value in a report."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def test_whatever_is_missing_is_refused_or_not_needed(monkeypatch):
    """A comparison fails on no report that is accepted, whichever value it has lost."""
    whole = json.loads(REPORT.read_text())
    monkeypatch.setattr(plots, "_png", lambda figure: b"")
    accepted = 0
    for path in places(whole):
        if len(path) > 4:
            continue
        damaged = copy.deepcopy(whole)
        inner = damaged
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        if schema.fault(damaged) is None:
            accepted += 1
            report.comparison([whole, damaged], "ab")
            plots._error_bars(damaged)
    assert accepted > 50


def test_json_that_is_no_report_is_refused(tmp_path):
    for text in ("[" * 100_000, "", "[]", json.dumps({"schema": files.SCHEMA})):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InputError, match="report.json (cannot be read as a|is no|is a damaged) report"):
            files.read_report(tmp_path)
