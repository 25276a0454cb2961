"""The files of the mixers: nothing is repeated, and a simple mixer is a short file."""

import ast
import itertools
from pathlib import Path

import pytest

from keras_mma.layers import MIXERS, mixers

FILES = {path: path.read_text() for path in sorted(Path(mixers.__file__).parent.glob("*.py"))}
FILES = {path: text for path, text in FILES.items() if path.name != "__init__.py"}
REPEATED_LINES = 6
SIMPLE_LINES = 60


def runs(text):
    """All runs of six lines, without blank ones, imports, and what the formatter makes of a long signature."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line not in ("", "self,", "*,") and not line.startswith(("import ", "from "))]
    return {tuple(lines[start : start + REPEATED_LINES]) for start in range(len(lines) - REPEATED_LINES + 1)}


def repeated(first, second):
    """The runs of lines that two texts have in common."""
    return runs(first) & runs(second)


def is_simple(text):
    """Whether a file holds a class alone, whose mask depends on no saliency: no algorithm of its own."""
    body = ast.parse(text).body
    return not any(isinstance(node, ast.FunctionDef) for node in body) and "uses_saliency" not in text


@pytest.mark.parametrize("pair", itertools.combinations(FILES, 2), ids=lambda pair: f"{pair[0].stem}-{pair[1].stem}")
def test_two_mixers_have_no_six_lines_in_common(pair):
    assert not repeated(*(FILES[path] for path in pair))


def test_common_lines_are_found():
    lines = [f"line {number}" for number in range(8)]
    assert repeated("\n\n".join(lines), "first\n" + "\n".join(lines[:6])) == {tuple(lines[:6])}
    assert not repeated("\n".join(lines), "\n".join(lines[:5]))


def test_a_simple_mixer_has_at_most_60_lines():
    simple = {path.stem: len(text.splitlines()) for path, text in FILES.items() if is_simple(text)}
    assert len(FILES) == len(MIXERS) and len(simple) >= 7
    assert all(lines <= SIMPLE_LINES for lines in simple.values()), simple
