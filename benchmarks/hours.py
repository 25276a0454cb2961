"""Hours of `fit` with every mixer in turn: memory, traces and losses, on record.

    KERAS_BACKEND=jax python -m benchmarks.hours --hours 2 --output docs/results/hours.json

trains a small network with each mixer, at feature sites where the mixer has them, for an equal share of the time, in
one process. Each epoch ends with a smaller batch, so that there are two shapes. The record keeps the runs of other
backends, and the rows of methods that were not run. The exit status is 1 if memory grows by more than 2 %, a step is
traced again, or a loss or a weight is not finite.
"""

import argparse
import ctypes
import gc
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import records
from keras_mma import datasets
from keras_mma.study.recipe import MIXERS, Recipe, build

#: Largest growth of the memory between the early and the last part of a training.
LIMIT = 1.02
#: Parts of the time after the first two epochs, which trace the step for both shapes, that are compared.
EARLY, LATE = (0.2, 0.4), (0.8, 1.0)
METHODS = (*(name if mixer.is_input_only else f"{name}+mma" for name, mixer in MIXERS.items()), "catchupmix")
IMAGES, BATCH_SIZE = 40, 16
C_LIBRARY = ctypes.CDLL(None)


def resident_mebibytes():
    """The memory that this process needs.

    What is not in use any more is returned first: Keras makes reference cycles on PyTorch, which hold the activations
    of a step until they are collected, and the C library keeps memory that was freed.
    """
    gc.collect()
    if hasattr(C_LIBRARY, "malloc_trim"):
        C_LIBRARY.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(samples):
    """Median of the late samples of the memory, relative to that of the early ones.

    Args:
        samples: List of pairs (seconds, memory), in order.

    Returns:
        A float, `None` without samples in either part.
    """
    if not samples:
        return None
    start, length = samples[0][0], samples[-1][0] - samples[0][0]
    parts = [
        [memory for second, memory in samples if first * length <= second - start <= last * length]
        for first, last in (EARLY, LATE)
    ]
    return float(np.median(parts[1]) / np.median(parts[0])) if all(parts) else None


class Watch(keras.callbacks.Callback):
    """Note memory, losses and traces, and stop after some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.epochs, self.traces, self.traces_of_two_epochs = 0, 0, None
        self.samples, self.losses, self.finite = [], [], True

    def count_traces(self, model):
        """Count the calls of the training step from Python; the step of a compiled model is called to trace it."""
        step = model.train_step

        def counted(*arguments, **named):
            self.traces += 1
            return step(*arguments, **named)

        model.train_step = counted

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        now = time.perf_counter() - self.start
        self.finite &= bool(np.isfinite(logs["loss"]))
        if self.epochs == 2:
            self.traces_of_two_epochs = self.traces
        if self.epochs > 1 and (not self.samples or now - self.samples[-1][0] >= self.seconds / 50):
            self.samples.append((now, resident_mebibytes()))
            self.losses.append(float(logs["loss"]))
        if now >= self.seconds and self.epochs > 1:
            self.model.stop_training = True


def train(method, dataset, seconds):
    """Train by a method for some seconds; a dict of what was noted."""
    recipe = Recipe(
        method=method, dataset="digits", network="wideresnet-10-1", image_size=16, schedule="constant",
        learning_rate=0.01, batch_size=BATCH_SIZE, epochs=1,
    )  # fmt: skip
    model = build(recipe, dataset, 3).model
    images, labels = dataset.arrays()
    watch = Watch(seconds)
    watch.count_traces(model)
    labels = keras.utils.to_categorical(labels, dataset.classes)
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=10**9, verbose=0, callbacks=[watch])
    is_traced = keras.backend.backend() != "torch"
    return {
        "method": method,
        "steps": watch.epochs * -(-len(images) // BATCH_SIZE),
        "seconds": round(watch.samples[-1][0], 1),
        "mebibytes": [round(watch.samples[0][1]), round(watch.samples[-1][1])],
        "growth": growth(watch.samples),
        "traces": watch.traces_of_two_epochs if is_traced else None,
        "later_traces": watch.traces - watch.traces_of_two_epochs if is_traced else None,
        "losses": [loss if np.isfinite(loss) else None for loss in (watch.losses[0], watch.losses[-1])],
        "finite": watch.finite and all(np.isfinite(weight).all() for weight in model.get_weights()),
    }


def is_good(row):
    """Whether a training kept the limits."""
    return row["growth"] is not None and row["growth"] <= LIMIT and not row["later_traces"] and row["finite"]


def rows_of_others(record, methods):
    """The rows of an earlier run of methods that are not run now, each with the command and the place of its run."""
    run = {name: record[name] for name in ("command", "versions", "day", "machine", "commit") if name in record}
    return [run | row for row in record.get("trainings", []) if row["method"] not in methods]


def main(arguments=None):
    """Train, print a row for each mixer, and write the record; the exit status is 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0, help="Time of all training runs together.")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file; what was not run is kept.")
    options = parser.parse_args(arguments)
    backend = keras.backend.backend()
    command = f"KERAS_BACKEND={backend} {records.recorded_command('hours', arguments)}"
    earlier = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    kept = rows_of_others(earlier.get(backend, {}), options.methods)
    train_part = datasets.load("digits", image_size=16, validation_fraction=0).train
    dataset = train_part.take(train_part.indices(IMAGES))
    rows, start = [], time.perf_counter()
    for number, method in enumerate(options.methods):
        # The time that building and tracing take is shared by the training runs that follow.
        left = 3600 * options.hours - (time.perf_counter() - start)
        rows.append(train(method, dataset, max(0.0, left) / (len(options.methods) - number)))
        print(("ok      " if is_good(rows[-1]) else "NOT KEPT"), rows[-1], flush=True)
        keras.utils.clear_session()
        gc.collect()
        if options.output:
            record = {
                "command": command,
                "seconds": round(time.perf_counter() - start),
                "versions": records.versions("keras", backend),
                **records.stamp(),
                "trainings": kept + rows,
            }
            records.write_json(options.output, earlier | {backend: record})
    return int(not all(map(is_good, rows)))


if __name__ == "__main__":
    raise SystemExit(main())
