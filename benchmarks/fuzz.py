"""Random cases in great number, on record: how many of each test passed, with which seeds.

    KERAS_BACKEND=torch python -m benchmarks.fuzz --cases 10000 --seeds 1 2 --output docs/results/fuzz.json

runs tests/fuzz once with each seed. A failure is printed as pytest prints it, with the smallest case that fails.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import keras

from benchmarks import records

ROOT = Path(__file__).parents[1]
TEST = re.compile(r"^(tests/fuzz/\S+::\w+):$")
CASES = re.compile(r"(\d+) passing, (\d+) failing, and (\d+) invalid")
KINDS = ("passed", "failed", "invalid")


def main(arguments=None):
    """Draw the cases, print the counts, and write the record; the exit status is 1 if a case fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="Cases of each test for each seed.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, default=2, help="Number of processes.")
    parser.add_argument("--tests", nargs="+", default=["tests/fuzz"], help="Files or tests, as for pytest.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    options = parser.parse_args(arguments)
    backend = keras.backend.backend()
    command = f"KERAS_BACKEND={backend} {records.recorded_command('fuzz', arguments)}"
    record = {"command": command, "cases": options.cases}
    record |= {"versions": records.versions("keras", backend, "hypothesis"), **records.stamp(), "runs": []}
    for seed in options.seeds:
        start = time.perf_counter()
        status, tests = run(seed, options)
        run_record = {"seed": seed, "status": status, "seconds": round(time.perf_counter() - start), "tests": tests}
        record["runs"].append(run_record)
        total = {kind: sum(counts[kind] for counts in tests.values()) for kind in KINDS}
        print(f"seed {seed}: " + ", ".join(f"{count:,} {kind}" for kind, count in total.items()), flush=True)
        if options.output:
            records.write_json(options.output, record)
    return max(run_record["status"] != 0 for run_record in record["runs"])


def run(seed, options):
    """Run the tests with a seed; the exit status of pytest, and the counts of cases by test."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "", "-n", str(options.workers), *options.tests]
    words += [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
    environment = os.environ | {"KERAS_MMA_FUZZ_CASES": str(options.cases)}
    process = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode:
        print(process.stdout[-20_000:], process.stderr[-2_000:], flush=True)
    return process.returncode, counts(process.stdout)


def counts(text):
    """The numbers of cases that passed, failed and were invalid, by test, from the statistics of Hypothesis.

    Args:
        text: What pytest printed.
    """
    tests, name = {}, None
    for line in text.splitlines():
        if match := TEST.match(line.strip()):
            name = match[1]
        elif name and (match := CASES.search(line)):
            before = tests.setdefault(name, dict.fromkeys(KINDS, 0))
            tests[name] = {kind: before[kind] + int(count) for kind, count in zip(KINDS, match.groups(), strict=True)}
    return tests


if __name__ == "__main__":
    sys.exit(main())
