"""The progress bar of a run."""

import contextlib
import sys
import threading

# Seconds between two updates.
_POLL = 1.0


@contextlib.contextmanager
def show(total, count):
    """A context that shows a bar over the epochs of all cells.

    Args:
        total: Number of epochs.
        count: A function that returns the number of finished epochs, of all processes and machines.
    """
    from tqdm import tqdm

    def watch():
        while not ended.wait(_POLL):
            bar.update(max(0, count() - bar.n))

    ended = threading.Event()
    settings = {"total": total, "initial": count(), "unit": "epoch", "smoothing": 0, "dynamic_ncols": True}
    if not sys.stderr.isatty():
        settings |= {"file": _Lines(sys.stderr), "mininterval": 60, "dynamic_ncols": False, "ncols": 80, "ascii": True}
    with tqdm(**settings) as bar:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            bar.update(max(0, count() - bar.n))


class _Lines:
    """A stream for a progress bar in a log: lines, without control characters.

    Args:
        stream: The stream to which the lines are written.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self):
        self._stream.flush()
