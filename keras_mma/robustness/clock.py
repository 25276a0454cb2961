"""Where the time of an evaluation goes."""

import contextlib
import time

#: What is timed: calls of the model, calls of the model with its gradient, and waiting for images.
KINDS = ("forward", "gradient", "perturbation")


class Clock:
    """Adds up the seconds that are spent on each of `KINDS`."""

    def __init__(self):
        self.seconds = dict.fromkeys(KINDS, 0.0)

    @contextlib.contextmanager
    def measure(self, kind):
        """Add the time of a `with` block to a kind."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] += time.perf_counter() - start

    def since(self, before, total):
        """The seconds of each kind and the `rest`.

        Args:
            before: What `seconds` held when the time began, a copy.
            total: All seconds since then.

        Returns:
            A dict.
        """
        spent = {kind: self.seconds[kind] - before[kind] for kind in KINDS}
        return spent | {"rest": max(0.0, total - sum(spent.values()))}
