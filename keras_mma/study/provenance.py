"""The time, the code and the versions with which a record was made."""

import datetime
import functools
import importlib.metadata
import platform
import shlex
import subprocess
from pathlib import Path

#: Packages whose versions affect the results.
_PACKAGES = ("keras", "tensorflow", "jax", "jaxlib", "torch", "numpy", "scipy", "pillow")
# OpenCV has several packages, of which usually one is installed.
_PACKAGES += tuple(f"opencv-{name}" for name in ("python", "python-headless"))
_PACKAGES += tuple(f"opencv-contrib-{name}" for name in ("python", "python-headless"))


def now():
    """The present time, such as `2026-05-01T12:00:00+00:00`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions():
    """Versions of Python, this package and the installed packages that affect the results."""
    from keras_mma import __version__

    installed = {"python": platform.python_version(), "keras_mma": __version__}
    for name in _PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def origin():
    """The code, the backend of Keras and the versions of this process: what a record says about its origin."""
    from keras import backend

    return {"commit": commit(), "backend": backend.backend(), "versions": versions()}


def command(options, defaults):
    """The command line of a study, without its folder, that of tensorflow-datasets, the scheduler and the budget.

    Args:
        options: Dict from the names of all options to their values.
        defaults: Dict from the names to the default values, which are left out.
    """
    words = ["keras-mma", "study"]
    for name, value in options.items():
        if value == defaults.get(name) or name in ("data_dir", "output", "scheduler", "budget_minutes"):
            continue
        words.append(f"--{'no-' if value is False else ''}{name.replace('_', '-')}")
        if not isinstance(value, bool):
            words += map(str, value if isinstance(value, (list, tuple)) else [value])
    return shlex.join(words)


def changed(records):
    """The names in which the origins of several records differ: `"commit"`, `"backend"` and names of packages.

    Args:
        records: Dicts that hold what `origin` returned, or parts of it. What is missing differs from nothing.

    Returns:
        A tuple of strings.
    """
    known = [
        {name: each.get(name) for name in ("commit", "backend")} | (each.get("versions") or {}) for each in records
    ]
    names = dict.fromkeys(name for each in known for name in each)
    return tuple(name for name in names if len({each.get(name) for each in known} - {None}) > 1)


@functools.cache
def commit():
    """The commit of this package's source, with `+changes` where it differs, or `None` for an installed package.

    It is read once, because a process keeps the code that it has loaded.
    """
    folder = Path(__file__).parents[1]
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # a package inside the virtual environment of another project
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    head = _git(folder, "rev-parse", "HEAD")
    return head and head + ("+changes" if changes else "")


def _git(folder, *words):
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
