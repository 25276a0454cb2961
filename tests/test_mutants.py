"""The record of mutants: what counts as equivalent, and the score. Nothing is mutated here."""

import json
from pathlib import Path

import pytest

from benchmarks import mutant_reasons, mutants

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('raise ValueError("`site` must be one")', 'raise ValueError("XX`site` must be oneXX")', True),
        ('f"{name} is no number"', 'f"{name} IS NO NUMBER"', True),
        ('raise ValueError("`site` must be one")', "raise ValueError(None)", False),
        ('method="area"', 'method="XXareaXX"', False),
        ('f(1, "two words")', 'f(2, "two words")', False),
        ("f\"of {a or 'b'} things\"", "f\"of {a and 'b'} things\"", False),
        ("f\"of {f'a {b}' if c else 'd'} things\"", "f\"of {f'a {b}' if c or True else 'd'} things\"", False),
        ('x = "a" if b else "c"', 'x = "a" if not b else "c"', False),
    ],
)
def test_changes_of_words_alone_are_told_from_others(before, after, expected):
    assert mutant_reasons.is_of_words([f"-    {before}", f"+    {after}"]) == expected


def test_a_reason_belongs_to_a_function_and_a_change():
    reasons = [{"function": r"resampling\.x_resize$", "change": "dtype=None", "reason": "it is the default"}]
    name = "keras_mma.resampling.x_resize__mutmut_3"
    change = ["-x = f(y, dtype=dtype)", "+x = f(y, dtype=None)"]
    assert mutant_reasons.reason_of({"name": name, "change": change}, reasons) == "it is the default"
    other = "keras_mma.resampling.x_resize_matrix__mutmut_3"
    assert mutant_reasons.reason_of({"name": other, "change": change}, reasons) is None
    assert mutant_reasons.reason_of({"name": name, "change": ["-x = 1", "+x = 2"]}, reasons) is None
    elsewhere = ["-x = f(y, dtype=None)", "+x = f(None, dtype=None)"]  # the text is in the line, but did not change
    assert mutant_reasons.reason_of({"name": name, "change": elsewhere}, reasons) is None


def test_the_score_leaves_out_equivalent_mutants(monkeypatch, tmp_path):
    reasons = tmp_path / "mutants.toml"
    reasons.write_text('[[reason]]\nfunction = "x_f$"\nchange = "2"\nreason = "both are even"\n')
    monkeypatch.setattr(mutant_reasons, "PATH", reasons)
    survivors = [
        {"name": "keras_mma.plans.x_f__mutmut_1", "change": ["-x = 4", "+x = 2"]},
        {"name": "keras_mma.plans.x_g__mutmut_7", "change": ["-x = 4", "+x = 5"]},
    ]
    part = {
        "counts": {"killed": 8, "survived": 1, "no tests": 1},
        "survivors": survivors,
        "made": 12,
        "day": "1",
        "commit": "c",
    }
    page = mutants.render({"versions": {"mutmut": "3"}, "modules": {"plans": part}})
    assert "| `plans` | 12 | 10 | 8 | 1 | 88.9 % |" in page and "| all | 12 | 10 | 8 | 1 | 88.9 % |" in page
    assert "**Not explained" in page and "- plans.g 7: `` x = 4 `` → `` x = 5 ``" in page
    assert "**Both are even**" in page
    assert "these were drawn: 10 of 12 for `plans`. Limits other than 500 were given by hand" in " ".join(page.split())
    page = mutants.render({"versions": {"mutmut": "3"}, "modules": {"plans": part | {"limit": 10, "draw": 0}}})
    assert "\npython -m benchmarks.mutants --modules plans --limit 10 --output docs/results/mutants.json\n" in page
    assert "commit c. `--limit 10 --draw 0`.\n" in page and "given by hand" not in page


@pytest.mark.parametrize("name", ["mutants", "mutants-second"])
def test_the_committed_page_is_that_of_the_record(name):
    record = json.loads((RESULTS / f"{name}.json").read_text())
    assert (RESULTS / f"{name}.md").read_text() == mutants.render(record)


def test_the_limit_and_the_draw_are_recorded(monkeypatch, tmp_path, capsys):
    seen = []

    def mutate(module, workers, limit, draw):
        seen.append((module, limit, draw))
        return {"made": 9, "counts": {"killed": 2}, "survivors": []}

    monkeypatch.setattr(mutants, "mutate", mutate)
    words = ["--output", str(tmp_path / "mutants-second.json"), "--limit", "2", "--modules"]
    mutants.main([*words, "plans", "--draw", "1"])
    mutants.main([*words, "labels"])  # of the same draw
    assert seen == [("plans", 2, 1), ("labels", 2, 1)]
    parts = json.loads((tmp_path / "mutants-second.json").read_text())["modules"]
    assert [(part["limit"], part["draw"]) for part in parts.values()] == [(2, 1), (2, 1)]
    with pytest.raises(SystemExit, match="2"):
        mutants.main([*words, "plans", "--draw", "3"])
    assert "--draw must be 1, that of the record. Received: --draw 3" in capsys.readouterr().err


def test_survivors_are_tested_again(monkeypatch):
    part = {"made": 3, "counts": {"killed": 7, "survived": 2}, "survivors": [{"name": "a"}, {"name": "b"}]}
    part |= {"commit": "HEAD", "limit": 9, "draw": 1}
    monkeypatch.setattr(mutants, "MODULES", {"plans": (["keras_mma/no_such_file.py"], [])})
    result = {"made": 3, "counts": {"killed": 1, "survived": 1}, "survivors": [{"name": "b"}]}
    asked = []
    monkeypatch.setattr(mutants, "mutate", lambda *arguments: asked.append(arguments) or result)
    again = mutants.mutate_again("plans", 2, part)
    assert asked == [("plans", 2, 0, ["a", "b"])]
    assert again["counts"] == {"killed": 8, "survived": 1} and again["survivors"] == [{"name": "b"}]
    assert (again["limit"], again["draw"]) == (9, 1)
    monkeypatch.setattr(mutants, "MODULES", {"plans": (["keras_mma"], [])})
    with pytest.raises(RuntimeError, match="The source of plans is not that of commit 0"):
        mutants.mutate_again("plans", 2, part | {"commit": "0" * 40})
