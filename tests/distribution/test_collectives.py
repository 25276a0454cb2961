"""Communication between devices in the compiled program of a distributed batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads the compiled programs of JAX")
def test_pairing_within_a_device_needs_no_communication(tmp_path):
    output = tmp_path / "collectives.json"
    command = [sys.executable, "-m", "benchmarks.collectives", "--quick", "--output", str(output)]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("JAX_")
    }  # optimized, as for users
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=500)
    record = json.loads(output.read_text())
    assert record["command"] == f"python -m benchmarks.collectives --quick --output {output}" and record["day"]
    rows = record["rows"]
    assert len(rows) == 18
    for row in rows:
        assert row["whole_batch"]["operations"] >= 2 and row["whole_batch"]["bytes"] > 128 * 32 * 32 * 3 * 4
        # Fourier transforms, those of the detector and of FMix, and the solver of PuzzleMix are not split.
        method = row["method"]
        if "PuzzleMix" not in method:
            is_fourier = any(word in method for word in ("spectral", "GuidedMixup", "FMix"))
            assert row["each_device"]["operations"] == (2 if is_fourier else 0), method
