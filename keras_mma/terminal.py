"""Untrusted text on a terminal: names of files and classes, and reports from elsewhere."""

import re
import sys

# Control characters, line and paragraph separators, marks that change the direction of text, and lone surrogates, with
# which Python represents a file name that is not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""A text of one line in which such characters are escaped: the escape character becomes `\x1b`."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def show(text: object, *, error: bool = False) -> None:
    """Print lines, each as `printable` returns it; characters that the terminal's encoding lacks are escaped.

    Args:
        text: One line or several.
        error: Whether to print to the standard error stream.
    """
    stream = sys.stderr if error else sys.stdout
    lines = "\n".join(map(printable, str(text).split("\n")))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(lines.encode(encoding, "backslashreplace").decode(encoding), file=stream)
