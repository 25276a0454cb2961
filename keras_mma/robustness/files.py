"""Files that are there whole or not at all."""

import json
from pathlib import Path

from keras_mma.errors import InputError, first_line
from keras_mma.robustness import schema


def write(path, content):
    """Write text or bytes under a temporary name, then give it its own."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.unfinished")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write a dict as JSON; NaN and infinity are refused."""
    write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_report(path):
    """A `report.json`, or the one in a folder.

    Raises:
        InputError: if there is none, or it is something else, or damaged; see `schema.REPORT`.
    """
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a report: {first_line(error)}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise InputError(f"{path} is no report of this version ({SCHEMA})")
    wrong = schema.fault(report)
    if wrong:
        raise InputError(f"{path} is a damaged report: {wrong}")
    return report


SCHEMA = "keras_mma.robustness/1"
