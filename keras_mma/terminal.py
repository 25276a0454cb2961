"""Texts of others on a terminal: names of files and classes, and reports that someone else has written."""

import re
import sys

# Control characters, line and paragraph separators, marks that reverse the direction of text, and halves of characters,
# which are what Python makes of a file name that is not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""A text of one line in which control characters are spelled out: an escape becomes `\x1b`."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def show(text: object, *, error: bool = False) -> None:
    """Print lines, each as `printable` returns it.

    Args:
        text: One line or several.
        error: Whether to print to the standard error stream.
    """
    lines = map(printable, str(text).split("\n"))
    print("\n".join(lines), file=sys.stderr if error else sys.stdout)
