"""The division of the tests into the fast suite and the rest."""

import ast
import importlib
import itertools
import math
import re
import types
from pathlib import Path

import keras
import pytest

from tests.conftest import kind, pytest_collection_modifyitems
from tests.layers.mixers import CASES

ROOT = Path(__file__).parents[1]


class Item:
    """What the rule reads from a test, and writes to it."""

    def __init__(self, params, marker, test="test_table"):
        self.nodeid = f"tests/test_file.py::{test}[{params}]"
        self.callspec = types.SimpleNamespace(params=params)
        self.marker, self.markers, self.fixturenames = marker.mark, [], ()

    def get_closest_marker(self, name):
        return self.marker if name == self.marker.name else None

    def add_marker(self, marker):
        self.markers.append(marker.name)


@pytest.mark.parametrize(("strength", "left_out"), [(1, {"pairwise", "exhaustive"}), (2, {"exhaustive"})])
def test_samples_have_every_value_or_every_pair_of_values(monkeypatch, strength, left_out):
    factors = {"case": CASES, "sites": [(0,), (1,), (0, 1)], "mode": ["graph", "xla"]}
    table = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    items = [Item(params, pytest.mark.sampled) for params in table]
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    pytest_collection_modifyitems(items)
    kept = [item.callspec.params for item in items if not left_out & set(item.markers)]
    kinds = len({case.kind for case in CASES})
    assert len(kept) == kinds if strength == 1 else 3 * kinds <= len(kept) <= 3 * kinds + len(CASES)
    for names in itertools.combinations(factors, strength):

        def values(rows, names=names):
            return {tuple(kind(row[parameter]) for parameter in names) for row in rows}

        assert values(kept) == values(table)
    if strength == 2:
        assert {str(row["case"]) for row in kept} == set(map(str, CASES))


@pytest.mark.parametrize(("backend", "count"), [("torch", 3), ("jax", 5)])
def test_several_tests_together_have_every_value_on_another_backend(monkeypatch, backend, count):
    names = [f"test_{number}" for number in range(count)]
    items = [Item({"case": case}, pytest.mark.sampled, name) for name in names for case in CASES]
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    pytest_collection_modifyitems(items)
    kept = [item for item in items if not item.markers]
    assert {item.nodeid.partition("[")[0].rpartition("::")[2] for item in kept} == set(names)
    kinds = [item.callspec.params["case"].kind for item in kept]
    assert sorted(map(str, kinds)) == sorted({str(case.kind) for case in CASES})


def test_each_value_is_run_on_another_backend(monkeypatch):
    factors = {"case": CASES, "sites": [(0,), (1,), (0, 1)], "mode": ["graph", "xla"]}
    table = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    items = [Item(params, pytest.mark.slow) for params in table]
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    pytest_collection_modifyitems(items)
    kept = [item for item in items if not {"pairwise", "exhaustive"} & set(item.markers)]
    assert len(kept) == len({case.kind for case in CASES})
    for name in factors:
        assert {kind(item.callspec.params[name]) for item in kept} == {kind(value) for value in factors[name]}
    assert {tuple(item.markers) for item in items} == {(), ("valuewise",), ("pairwise",), ("exhaustive",)}


def test_a_table_of_one_row_is_run_on_another_backend(monkeypatch):
    items = [Item({"case": CASES[0]}, pytest.mark.sampled, name) for name in "abcd"]
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    pytest_collection_modifyitems(items)
    assert not any(item.markers for item in items)


def test_rows_that_another_backend_skips_are_in_no_sample(monkeypatch):
    items = [Item({"case": case}, pytest.mark.sampled) for case in "abc"]
    items[0].fixturenames = ("needs_tensorflow",)
    for backend, markers in (("torch", [[], [], ["valuewise"]]), ("tensorflow", [[], [], []])):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        for item in items:
            item.markers = []
        pytest_collection_modifyitems(items)
        assert [item.markers for item in items] == markers


def test_what_is_marked_exhaustive_is_in_no_sample(monkeypatch):
    cases = ["slow to compile", "a", "b"]
    items = [Item({"case": case}, pytest.mark.sampled) for case in cases]
    items[0].marker = pytest.mark.exhaustive.mark
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    pytest_collection_modifyitems(items)
    assert [item.markers for item in items] == [[], [], ["valuewise"]]


def marked_tests(marker):
    """`FILE::TEST` of every test with a marker, on itself or some of its parameters; `FILE` where all tests have it."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = ast.parse(path.read_text())
        if any(ast.unparse(node) == f"pytestmark = pytest.mark.{marker}" for node in module.body):
            yield str(path.relative_to(ROOT))
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                decorators = map(ast.unparse, node.decorator_list)
                if any(re.search(rf"mark\.{marker}\b|^{marker}$", decorator) for decorator in decorators):
                    yield f"{path.relative_to(ROOT)}::{node.name}"


@pytest.mark.parametrize("marker", ["slow", "sampled", "exhaustive"])
def test_the_documentation_lists_every_test_that_the_fast_suite_leaves_out(marker):
    page = (ROOT / "docs" / "testing.md").read_text()
    section = page.split(f"## Marked `{marker}`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(tests/\S+)`", section, re.M) == list(marked_tests(marker))


def combinations(path):
    """The number of tests of a file, from the tables of its functions."""
    functions = vars(importlib.import_module(path.removesuffix(".py").replace("/", "."))).items()
    tables = [getattr(function, "pytestmark", []) for name, function in functions if name.startswith("test_")]
    return sum(math.prod(len(mark.args[1]) for mark in marks if mark.name == "parametrize") for marks in tables)


def test_the_documentation_counts_the_largest_tables(needs_tensorflow):
    page = (ROOT / "docs" / "testing.md").read_text()
    (text,) = re.findall(r"^The largest tables have .*?\)\.", page, re.M | re.S)
    counts = re.findall(r"([\d,]+) (?:combinations on TensorFlow )?\(`(tests/\S+)`\)", " ".join(text.split()))
    assert len(counts) == 3
    assert counts == [(f"{combinations(path):,}", path) for _, path in counts]
