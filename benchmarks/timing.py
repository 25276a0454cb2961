"""Interleaved timing, ratios within each round, and measurements in processes of their own."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# Each repetition lasts at least this long, so that short disturbances matter little.
SHORTEST_SECONDS = 0.04
#: Arguments of mixers with `--quick`: the solver of PuzzleMix is compiled for each grid anew.
QUICK = {"PuzzleMix": {"grids": (2,)}}


def interleave(functions, rounds):
    """Time several functions alternately, so that other load on the machine affects all of them alike.

    Args:
        functions: Dict from names to functions without arguments that return when their work is done.
        rounds: Number of times that each function is timed, after two warm-up calls.

    Returns:
        Dict from names to lists of `rounds` durations of one call, in seconds.
    """
    calls = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = min(50, max(1, math.ceil(SHORTEST_SECONDS / (time.perf_counter() - start))))
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                function()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return seconds


def ratio(seconds, reference):
    """Median, minimum and maximum of the ratios of the rounds."""
    ratios = np.array(seconds) / np.array(reference)
    return {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}


def in_process(module, *words, env, **settings):
    """What a benchmark returns in a process of its own: the JSON value in the last line that it prints.

    Args:
        module: Name of the benchmark. The lines that it prints before are printed.
        *words: Its arguments.
        env: Dict of environment variables beside those of this process.
        **settings: Further arguments of `subprocess.run`.

    Raises:
        RuntimeError: If the process fails or prints nothing.
    """
    process = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
        **settings,
    )
    lines = process.stdout.strip().splitlines()
    if process.returncode or not lines:
        command = " ".join(["python", "-m", f"benchmarks.{module}", *words])
        raise RuntimeError(f"The run of `{command}` failed. Received: exit status {process.returncode}")
    for line in lines[:-1]:
        print(line, flush=True)
    return json.loads(lines[-1])
