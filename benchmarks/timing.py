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

# A repetition lasts at least so long, so that a moment of the machine weighs little.
SHORTEST_SECONDS = 0.04


def interleave(functions, rounds):
    """Time functions in turns, so that a busy moment of the machine meets all alike.

    Args:
        functions: Dict of name to a function without arguments that returns when its work is done.
        rounds: How many times each is timed; each is called twice before.

    Returns:
        Dict of name to a list of seconds for one call, of the length `rounds`.
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
    """Median, smallest and largest of the ratios of each round."""
    ratios = np.array(seconds) / np.array(reference)
    return {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}


def machine():
    """Where the figures come from, in words."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, {'a' if os.path.exists('/dev/nvidia0') else 'no'} GPU"


def versions(*packages):
    """Installed versions by package, where a package is installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def stamp():
    """The day and the commit of a measurement, as a dict; the commit is `None` outside a repository."""
    root = Path(__file__).parents[1]
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    except OSError:
        return {"day": day, "commit": None}
    return {"day": day, "commit": git.stdout.strip() or None}
