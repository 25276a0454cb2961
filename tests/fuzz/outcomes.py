"""How many of the drawn cases were accepted, and how many were refused."""

import collections
import contextlib

from hypothesis import event

#: Numbers of cases of the running test: `"accepted"` and `"refused"`.
COUNTS = collections.Counter()


@contextlib.contextmanager
def refusals():
    """Take an error of the package as an answer: it names the argument, and says what was received."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        assert "`" in message and "Received: " in message, message
        COUNTS["refused"] += 1
        event("refused: " + message.partition(" ")[0])
    else:
        COUNTS["accepted"] += 1
