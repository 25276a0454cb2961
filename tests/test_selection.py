"""The division of the tests into the fast suite and the rest."""

import ast
import itertools
import re
import types
from pathlib import Path

import keras
import pytest

from tests.conftest import pytest_collection_modifyitems
from tests.layers.mixers import CASES

ROOT = Path(__file__).parents[1]


class Item:
    """What the rule reads from a test, and writes to it."""

    def __init__(self, params):
        self.nodeid = f"tests/test_file.py::test_table[{params}]"
        self.callspec = types.SimpleNamespace(params=params)
        self.markers = []

    def get_closest_marker(self, name):
        return name == "sampled"

    def add_marker(self, marker):
        self.markers.append(marker.name)


def test_a_sampled_table_keeps_every_pair_of_values(monkeypatch):
    table = [
        {"case": case, "sites": sites, "mode": mode}
        for case, sites, mode in itertools.product(CASES, [(0,), (1,), (0, 1)], ["graph", "xla"])
    ]
    for backend, strength, most in (("tensorflow", 2, 30), ("jax", 1, 10)):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        items = [Item(params) for params in table]
        pytest_collection_modifyitems(items)
        kept = [item.callspec.params for item in items if "exhaustive" not in item.markers]
        assert len(kept) <= most < len(table)
        for names in itertools.combinations(["case", "sites", "mode"], strength):

            def values(rows, names=names):
                return {tuple(str(getattr(row[name], "kind", row[name])) for name in names) for row in rows}

            assert values(kept) == values(table)


def decorated_tests(markers):
    """`FILE::TEST` of all tests with one of the markers in a decorator."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = " ".join(map(ast.unparse, node.decorator_list))
                if re.search(rf"\b({'|'.join(markers)})\b", text):
                    yield f"{path.relative_to(ROOT)}::{node.name}"


@pytest.mark.parametrize("marker", ["slow", "sampled"])
def test_the_documentation_lists_every_test_that_the_fast_suite_leaves_out(marker):
    page = (ROOT / "docs" / "testing.md").read_text()
    section = page.split(f"## Marked `{marker}`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(tests/\S+)`", section, re.M) == list(decorated_tests([marker]))
