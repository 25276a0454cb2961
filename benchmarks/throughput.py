"""Measure the cost of mixing relative to other implementations and to training without mixing.

    python -m benchmarks.throughput

prints the figures and, after each block, writes them to docs/results/throughput.json and to the page throughput.md
beside it. `--only` measures one part again and keeps the other parts of the file; with `--run`, a single run of it.
"""

import argparse
import importlib.util
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from benchmarks import augmentation, growth, training_step
from benchmarks.bars import judge
from benchmarks.records import versions, write, write_json
from benchmarks.report import render

PARTS = {
    "augmentation": augmentation.measure,
    "growth": growth.measure,
    "step": training_step.measure,
    "memory": training_step.measure_memory,
}
PACKAGES = ("keras", "tensorflow", "jax", "opencv-contrib-python-headless", "numpy")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=PARTS, help="measure this part only")
    parser.add_argument("--run", type=int, help="with --only step or memory, the index of a single run to measure")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round, to check that everything runs")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each measurement (default: 5)")
    parser.add_argument("--output", type=Path, help="folder (default: docs/results; with --quick, runs/throughput)")
    options = parser.parse_args(arguments)
    if keras.backend.backend() != "tensorflow":
        parser.error(f"KERAS_BACKEND must be tensorflow for the references. Received: {keras.backend.backend()}")
    if importlib.util.find_spec("cv2") is None:
        parser.error("a reference requires OpenCV: pip install -e '.[dev]'")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be a positive integer. Received: --rounds {options.rounds}")
    if options.run is not None and options.only not in ("step", "memory"):
        parser.error(f"--run requires --only step or --only memory. Received: --only {options.only}")
    rounds = options.rounds or (1 if options.quick else 5)
    target = (options.output or Path("runs/throughput" if options.quick else "docs/results")) / "throughput.json"
    try:
        record = _record(target, options.quick, is_needed=bool(options.only))
        chosen = {}
        if options.run is not None:
            chosen = {"only": options.run, "kept": record["parts"].get(options.only, {}).get("runs", [])}
            training_step.check_run(training_step.settings(options.quick)[options.only == "memory"], **chosen)
    except ValueError as error:
        parser.error(str(error))
    for name in [options.only] if options.only else PARTS:
        start = time.perf_counter()
        for part in PARTS[name](rounds, quick=options.quick, **chosen):
            record["parts"][name] = part
            record["bars"] = [] if options.quick else judge(record["parts"])
            write_json(target, record)
            write(target.with_suffix(".md"), render(record))
        print(f"{name}: {time.perf_counter() - start:.0f} s, written to {target}", flush=True)
    for bar in record["bars"]:
        verdict = "met" if bar["met"] else "MISSED"
        print(f"{verdict:6} {bar['median']:7.3f} of {bar['limit']:.3f}  {bar['bar']}; {bar['where']}", flush=True)


def _record(target, quick, is_needed):
    """The record in a file if it is of these versions and these sizes; otherwise an empty record."""
    here = {
        "command": "python -m benchmarks.throughput" + (" --quick" if quick else ""),
        "versions": versions(*PACKAGES),
    }
    if target.exists():
        record = json.loads(target.read_text())
        if here == {name: record.get(name) for name in here}:
            return record
        if is_needed:
            raise ValueError(
                f"--only requires a record of the same versions and sizes. Received: {target}, which has others"
            )
    return {**here, "parts": {}}


if __name__ == "__main__":
    main()
