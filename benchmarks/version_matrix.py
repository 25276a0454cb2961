"""The tests of layers, models and saliency with other versions of Python, Keras and TensorFlow.

    python -m benchmarks.version_matrix python3.11=oldest python3.11=newest python3.13=newest

makes an environment for each Python and set of versions in a temporary folder (a few GB; the packages are downloaded),
runs the fast tests there and records their numbers in docs/results/versions.json. Runs of the same commit that are in
the file already stay, because interpreters may be on several machines.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import records

ROOT = Path(__file__).parents[1]
#: Versions by name. The oldest are those that `pyproject.toml` asks for.
ENVIRONMENTS = {
    "oldest": ["keras==3.12.*", "tensorflow==2.18.*"],
    "newest": ["keras", "tensorflow"],
}
TESTED_WITH = ["hypothesis", "opencv-contrib-python-headless", "pytest", "pytest-xdist", "scikit-learn", "scipy"]
TESTED_WITH += ["filelock", "joblib", "markdown-it-py", "matplotlib", "Pillow", "PyMaxflow", "tqdm"]
NAMED = ("keras", "tensorflow", "numpy")
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


def main(arguments=None):
    """Run the tests in every environment, print the numbers, and write the record; 1 if a test failed anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PYTHON=VERSIONS", help=f"Versions: {', '.join(ENVIRONMENTS)}.")
    parser.add_argument("--tests", nargs="+", default=["tests/layers", "tests/models", "tests/saliency"])
    parser.add_argument("--workers", type=int, default=2, help="Number of processes of a run.")
    parser.add_argument("--output", type=Path, metavar="FILE", default=ROOT / "docs/results/versions.json")
    options = parser.parse_args(arguments)
    pairs = [pair.rpartition("=")[::2] for pair in options.pairs]
    if unknown := [name for _, name in pairs if name not in ENVIRONMENTS]:
        parser.error(f"VERSIONS must be one of {', '.join(ENVIRONMENTS)}. Received: {unknown[0]}")
    record = {**records.stamp(), "tests": options.tests, "runs": []}
    command = records.recorded_command("version_matrix", arguments)
    if options.output.exists():
        before = json.loads(options.output.read_text())
        record["runs"] = before["runs"] if before["commit"] == record["commit"] else []
    for python, name in pairs:
        with tempfile.TemporaryDirectory(prefix="versions-") as folder:
            numbers = run(python, ENVIRONMENTS[name], Path(folder), options)
        record["runs"].append({"environment": name, "command": command, **numbers})
        print(json.dumps(record["runs"][-1]), flush=True)
        records.write_json(options.output, record)
    return int(any(found["status"] for found in record["runs"]))


def run(python, requirements, folder, options):
    """Make an environment and run the tests in it: its versions, the exit status, and the numbers of tests."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    binary = folder / "bin" / "python"
    install = [binary, "-m", "pip", "install", "-q", *requirements, *TESTED_WITH, ROOT]
    made = subprocess.run(install, capture_output=True, text=True)
    if made.returncode:
        return {"python": python, "requirements": requirements, "status": made.returncode, "error": made.stderr[-500:]}
    names = "import importlib.metadata as m, platform; print(platform.python_version(), "
    names += ", ".join(f"m.version({name!r})" for name in NAMED) + ")"
    versions = subprocess.run([binary, "-c", names], capture_output=True, text=True, check=True).stdout.split()
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # One -q is among the options of pyproject.toml; with another one there is no summary.
    words = [binary, "-m", "pytest", "-n", str(options.workers), *options.tests]
    process = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    summary = process.stdout.strip().splitlines()[-1] if process.stdout.strip() else ""
    return {
        "versions": dict(zip(("python", *NAMED), versions, strict=True)),
        "status": process.returncode,
        "tests": {kind: int(number) for number, kind in COUNTS.findall(summary)},
        "failed": re.findall(r"^(?:FAILED|ERROR) (\S+)", process.stdout, re.M),
    }


if __name__ == "__main__":
    sys.exit(main())
