"""How many cases are drawn: a few, the same in each run, or as many as `KERAS_MMA_FUZZ_CASES` says.

At least a fifth of the cases of a test must be accepted, because a test of refusals alone would show nothing.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz import outcomes

_shared = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("few", max_examples=40, derandomize=True, database=None, **_shared)
settings.register_profile("long", max_examples=int(os.environ.get("KERAS_MMA_FUZZ_CASES", 0)) or 1, **_shared)
settings.load_profile("long" if "KERAS_MMA_FUZZ_CASES" in os.environ else "few")


@pytest.fixture(autouse=True)
def accepted_cases():
    """Fails a test unless enough of its cases were accepted; a few cases can all be refused by chance."""
    outcomes.COUNTS.clear()
    yield
    accepted, drawn = outcomes.COUNTS["accepted"], outcomes.COUNTS.total()
    assert drawn < 20 or accepted >= drawn / 5, f"{accepted} of {drawn} cases were accepted"
