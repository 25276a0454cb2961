"""Errors of the tools: datasets, robustness, study and command line."""

import re
from collections.abc import Container


class InputError(ValueError):
    """A model, dataset, option or file that cannot be used.

    The message is one line and names arguments by their Python names in backticks, such as `` `image_size` ``. The
    command line replaces these names by its flags, prints the line and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """The type and the first non-empty line of another library's error, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def with_flags(message: str, names: Container[str]) -> str:
    """A message for the command line: `` `image_size` `` becomes `--image-size` where `names` has the name."""

    def flag(match: re.Match) -> str:
        return f"--{match[1].replace('_', '-')}" if match[1] in names else match[0]

    return re.sub(r"`(\w+)`", flag, message)
