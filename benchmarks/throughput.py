"""What mixing costs, side by side with its peers, in one run.

    python -m benchmarks.throughput

prints the figures as they come, writes them to docs/results/throughput.json after every block, and beside it the page
throughput.md. `--only` measures one part anew and keeps what the file has of the others; with `--run`, one run of it.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks import augmentation, growth, training_step
from benchmarks.bars import judge
from benchmarks.report import render
from benchmarks.timing import machine, versions

PARTS = {
    "augmentation": augmentation.measure,
    "growth": growth.measure,
    "step": training_step.measure,
    "memory": training_step.measure_memory,
}
PACKAGES = ("keras", "tensorflow", "jax", "opencv-contrib-python-headless", "numpy")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--run", type=int, help="with --only step or memory, make this run of it alone, from 0")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round, to see that all of it runs")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each measurement (default 5)")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder (default docs/results)")
    options = parser.parse_args(arguments)
    if options.run is not None and options.only not in ("step", "memory"):
        parser.error(f"--run needs --only step or --only memory. Received: --only {options.only}")
    rounds = options.rounds or (1 if options.quick else 5)
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "throughput.json"
    record = {"parts": {}}
    if options.only and target.exists():
        record = json.loads(target.read_text())
        here = {"machine": machine(), "versions": versions(*PACKAGES)}
        if here != {name: record[name] for name in here}:
            parser.error(f"--only adds to figures of the same machine and versions, and {target} has others'")
    for name in [options.only] if options.only else PARTS:
        start = time.perf_counter()
        chosen = {}
        if options.run is not None:
            chosen = {"only": options.run, "kept": record["parts"].get(name, {}).get("runs", ())}
        for part in PARTS[name](rounds, quick=options.quick, **chosen):
            record["parts"][name] = part
            record["command"] = "python -m benchmarks.throughput" + (" --quick" if options.quick else "")
            record |= {"machine": machine(), "versions": versions(*PACKAGES), "bars": judge(record["parts"])}
            _write(target, json.dumps(record, indent=1) + "\n")
            _write(target.with_suffix(".md"), render(record))
        print(f"{name}: {time.perf_counter() - start:.0f} s, written to {target}", flush=True)
    for bar in record["bars"]:
        verdict = "met" if bar["met"] else "MISSED"
        print(f"{verdict:6} {bar['median']:7.3f} of {bar['limit']:.3f}  {bar['bar']}; {bar['where']}", flush=True)


def _write(path, text):
    """All of it or nothing."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
