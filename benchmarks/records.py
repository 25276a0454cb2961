"""Records of benchmarks: the command, the machine and the versions, files, and the text of pages."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path


def recorded_command(module, words=None):
    """The command without the options that have no part in the figures.

    Args:
        module: Name of the benchmark.
        words: List of its arguments; those of the process by default.
    """
    words = sys.argv[1:] if words is None else words
    kept = [word for word in words if not word.startswith(("--data-dir=", "--save="))]
    for option in ("--data-dir", "--save"):
        if option in kept:
            del kept[kept.index(option) : kept.index(option) + 2]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *kept])


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
    return {"day": day, "machine": machine(), "commit": _commit(root)}


def _commit(root):
    """The short hash of the commit of a repository, with `+changes` where its files differ; `None` without one."""
    found = []
    for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "--", "*.py"]):
        try:
            found.append(subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip())
        except OSError:
            return None
    head, changes = found
    return head + ("+changes" if changes else "") if head else None


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


def wrapped(text):
    """The lines of a paragraph of Markdown."""
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def show_day(measured):
    """The day and the commit, if there is one, of what `stamp` returned."""
    return measured["day"] + (f", commit {measured['commit']}" if measured["commit"] else "")


def show_versions(installed):
    """The packages and versions of what `versions` returned."""
    return ", ".join(f"{name} {version}" for name, version in installed.items())


def show_ratio(ratio, digits):
    """The median of what `timing.ratio` returned, with the minimum and the maximum in parentheses."""
    return f"{ratio['median']:.{digits}f} ({ratio['min']:.{digits}f} to {ratio['max']:.{digits}f})"
