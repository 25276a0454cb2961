"""Kill a training, an evaluation and a study at random moments, run each again, and compare with undisturbed runs.

    python -m benchmarks.interruptions --times 20 --output docs/results/interruptions.json

Each job runs undisturbed once. Then, `--times` times, it is started in an empty folder, killed by SIGKILL together with
its worker processes after a random share of that time, and started again until it ends. Its results must be those of
the undisturbed run. The record holds every moment and what was found.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import records

ROOT = Path(__file__).parents[1]
JOBS = ("training", "evaluation", "study")
#: Keys that measure the time of a run, or say how often it was resumed.
VOLATILE = {"seconds", "seconds_per_epoch", "cost", "started", "finished", "time", "parts_resumed"}


def training(folder):
    """The command of a short training by the example."""
    options = ["--dataset", "digits", "--method", "saliencymix+mma", "--network", "wideresnet-10-1", "--epochs", "3"]
    return [sys.executable, str(ROOT / "examples" / "train_cifar.py"), *options, "--output", str(folder)]


def evaluation(folder, model):
    """The command of an evaluation of a model."""
    options = ["--dataset", "digits", "--limit", "100", "--only", "clean", "corruption", "deformation"]
    words = ["import keras_mma_command, sys; sys.exit(keras_mma_command.main())", "evaluate", str(model)]
    return [sys.executable, "-c", *words, *options, "--output", str(folder)]


def study(folder):
    """The command of a study of two methods and two seeds, two training runs at once."""
    options = ["--dataset", "digits", "--network", "wideresnet-10-1", "--epochs", "2", "--jobs", "2", "--seeds", "2"]
    words = ["-m", "keras_mma.study", *options, "--methods", "none", "cutmix", "--output", str(folder)]
    return [sys.executable, *words]


def training_results(folder):
    """The history and the result of a training."""
    with open(folder / "history.csv", newline="") as file:
        history = [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]
    return {"history": history, "result": stable(json.loads((folder / "result.json").read_text()))}


def evaluation_results(folder):
    """The report of an evaluation, without times."""
    return stable(json.loads((folder / "report.json").read_text()))


def study_results(folder):
    """The accuracies and the analysis of a study."""
    report = json.loads((folder / "report.json").read_text())
    cells = {cell["name"]: cell["test_accuracy"] for cell in report["cells"]}
    return {"cells": cells, "analysis": stable(report["analysis"])}


def stable(value):
    """A JSON value without the keys that differ between two runs of one command."""
    if isinstance(value, dict):
        return {key: stable(inner) for key, inner in value.items() if key not in VOLATILE}
    return [stable(inner) for inner in value] if isinstance(value, list) else value


def run(words, kill_after=None):
    """Run a command; the pair of whether it was killed, and its exit status and last line.

    Args:
        words: The command.
        kill_after: Seconds after which the command and its worker processes are killed.
    """
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    with subprocess.Popen(words, cwd=ROOT, **settings) as process:
        try:
            text, _ = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True, process.returncode, ""
    lines = text.strip().splitlines()
    return False, process.returncode, lines[-1] if lines else ""


def disturb(name, command, results, seconds, expected, draw):
    """Kill a job once and run it again; what was found, as a dict."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as place:
        folder = Path(place) / "output"
        moment = draw.uniform(0.02, 0.98) * seconds
        killed, _, _ = run(command(folder), moment)
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []
        _, status, line = run(command(folder))
        found = {"seconds": round(moment, 2), "killed": killed, "files": len(left), "status": status}
        if status:
            return {**found, "equal": False, "line": line}
        return {**found, "equal": results(folder) == expected}


def main(arguments=None):
    """Kill the jobs, print what was found, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="How often each job is killed.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--output", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    draw = random.Random(options.seed)
    record = {"command": records.recorded_command("interruptions", arguments)}
    record |= {"times": options.times, "seed": options.seed}
    record |= {"versions": records.versions("keras", "tensorflow"), **records.stamp(), "jobs": {}}
    with tempfile.TemporaryDirectory(prefix="undisturbed-") as place:
        model = Path(place) / "training" / "saved_model"
        jobs = {
            "training": (training, training_results),
            "evaluation": (lambda folder: evaluation(folder, model), evaluation_results),
            "study": (study, study_results),
        }
        for name, (command, results) in jobs.items():
            if name not in options.jobs and name != "training":
                continue
            started = time.perf_counter()
            _, status, line = run(command(Path(place) / name))
            if status:
                raise RuntimeError(f"{name} must run undisturbed. Received: exit status {status}, {line}")
            seconds = time.perf_counter() - started
            if name not in options.jobs:
                continue
            expected = results(Path(place) / name)
            found = [disturb(name, command, results, seconds, expected, draw) for _ in range(options.times)]
            record["jobs"][name] = {"seconds": round(seconds, 1), "runs": found}
            equal, killed = (sum(row[key] for row in found) for key in ("equal", "killed"))
            print(f"{name}: {seconds:.0f} s undisturbed; killed {killed} times, equal results {equal} of {len(found)}")
    if options.output:
        records.write_json(options.output, record)
    return 0 if all(row["equal"] for job in record["jobs"].values() for row in job["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
