"""Interleaved timing, and ratios within each round."""

import datetime
import math
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import numpy as np

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


def machine():
    """Description of this machine."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, {'a' if os.path.exists('/dev/nvidia0') else 'no'} GPU"


def versions(*packages):
    """Dict from packages to their versions, without packages that are not installed."""
    installed = {}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def stamp():
    """Dict with the day (UTC), the machine and the commit of a measurement, `None` outside a repository."""
    root = Path(__file__).parents[1]
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    except OSError:
        return {"day": day, "machine": machine(), "commit": None}
    return {"day": day, "machine": machine(), "commit": git.stdout.strip() or None}


def write(path, text):
    """`keras_mma.files.write` in a folder that need not exist."""
    from keras_mma import files  # imports Keras, which not every benchmark needs before its end

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)


def write_json(path, record):
    """`keras_mma.files.write_json` in a folder that need not exist."""
    from keras_mma import files

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, record)
