"""Why no test can fail on a mutant: the words of a message, or what `mutants.toml` says."""

import ast
import difflib
import re
import tomllib
from pathlib import Path

PATH = Path(__file__).with_name("mutants.toml")
STRING = re.compile(r"""f?(["'])(?:(?!\1).)*\1""")


def read():
    """The reasons, a list of dicts; see `reason_of`."""
    return tomllib.loads(PATH.read_text())["reason"]


def is_of_words(change):
    """Whether a change is one of the words of a message alone: of a string with a space in it."""

    def without_words(found):
        if " " not in found[0]:
            return found[0]
        # What is in the braces of an f-string is no word.
        parts = ast.parse(found[0], mode="eval").body.values if found[0].startswith("f") else ()
        fields = [ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)]
        return '""' + "".join(STRING.sub(without_words, field) for field in fields)

    before, after = (STRING.sub(without_words, line) for line in before_and_after(change))
    return before == after


def before_and_after(change):
    """The changed lines as one text each, without the signs."""
    return [" ".join(line[1:].strip() for line in change if line[0] == sign) for sign in ("-", "+")]


def is_changed_at(change, text):
    """Whether a text stands where lines were changed, or touches that place."""
    before, after = before_and_after(change)
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [block[1:] for block in blocks if block[0] != "equal"]
    for line, spans in ((before, [block[:2] for block in changed]), (after, [block[2:] for block in changed])):
        for found in re.finditer(re.escape(text), line):
            if any(found.start() <= end and start <= found.end() for start, end in spans):
                return True
    return False


def reason_of(survivor, reasons):
    """Why no test can fail on a mutant, `None` if that is not known.

    Args:
        survivor: A dict with `name` and `change`.
        reasons: List of dicts with `function`, a regular expression of its name, `change`, a text that stands where
            the lines were changed, and `reason`.
    """
    if is_of_words(survivor["change"]):
        return "words of a message"
    function = survivor["name"].rsplit("__mutmut_", 1)[0]
    for entry in reasons:
        if re.search(entry["function"], function) and is_changed_at(survivor["change"], entry["change"]):
            return entry["reason"]
    return None
