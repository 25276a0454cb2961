"""The notebook: its outputs are kept, and it runs in less than two minutes."""

import base64
import copy
import json
import os
import re
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def text_of(notebook):
    """What the cells have printed."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)


def test_the_notebook_keeps_pictures_and_an_accuracy_but_no_paths():
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2 and all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert float(re.search(r"test accuracy: (0\.\d+)", text_of(notebook))[1]) > 0.9
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", NOTEBOOK.read_text())
    assert not re.search(r"/(home|root|tmp|work|usr|Users)/|\x1b", without_pictures)
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.slow
def test_the_notebook_runs_in_two_minutes(needs_tensorflow):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    kept = nbformat.read(NOTEBOOK, as_version=4)
    notebook, start = copy.deepcopy(kept), time.perf_counter()
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    ).execute()
    assert time.perf_counter() - start < 120 or os.getloadavg()[0] > 4  # beside other work it takes longer
    accuracy = float(re.search(r"test accuracy: (0\.\d+)", text_of(notebook))[1])
    assert accuracy == pytest.approx(float(re.search(r"test accuracy: (0\.\d+)", text_of(kept))[1]), abs=0.03)
