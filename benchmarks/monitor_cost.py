"""The time of an epoch with `MixingMonitor` relative to a plain one.

    python -m benchmarks.monitor_cost --output docs/results/monitor-cost.json

prints the ratios and writes them where `--output` names a file. With `frequency=1`, with pictures and without, every
epoch ends with a report. By default, a report waits for 20 times the duration of the last one. The runs with and
without the callback alternate, so that other work on the machine affects all alike, and a ratio is that of one round.
The first epoch of a training, which includes tracing and the first report, is left out. A report takes the same time
whatever the length of an epoch, so the script also says how long an epoch must be for a report to take 5 % of it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_mma
from benchmarks import records, timing
from keras_mma import datasets

#: Arguments of the callback by the name of the row; the first row has none.
ARMS = {
    "plain": None,
    "figures": {"frequency": 1, "samples": 0},
    "figures and pictures": {"frequency": 1},
    "default": {},
}


class Clock(keras.callbacks.Callback):
    """Measures the epochs after the first, together with what other callbacks do at their ends."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch <= 1:
            self.start = time.perf_counter()
        self.epochs = epoch

    def on_train_end(self, logs=None):
        #: Seconds of an epoch.
        self.seconds = (time.perf_counter() - self.start) / self.epochs


def trainings(options):
    """Dict from the names of the arms to functions that train, each its own model, and return a `Clock`."""
    data = datasets.load("digits", validation_fraction=0).train
    images, labels = (values[: options.steps * options.batch_size] for values in data.arrays())

    def training(arguments):
        network = keras_mma.models.WideResNet(options.depth, 1, input_shape=data.shape, classes=data.classes)
        model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(seed=0))
        model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))

        def train():
            clock = Clock()
            callbacks = [clock]
            with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
                if arguments is not None:
                    shown = images[: options.monitored]
                    callbacks.append(keras_mma.callbacks.MixingMonitor(shown, folder, **arguments))
                epochs = 1 + options.epochs
                model.fit(images, labels, batch_size=options.batch_size, epochs=epochs, verbose=0, callbacks=callbacks)
            return clock

        return train

    return {name: training(arguments) for name, arguments in ARMS.items()}


def summarize(seconds):
    """The rows of the record.

    Args:
        seconds: Dict from the names of the arms to lists with the seconds of an epoch in each round.

    Returns:
        Dict from the names to dicts with the `seconds` of an epoch (median); for all arms but the first, the `ratio` to
        the first (median, minimum and maximum over the rounds); and for those that report after every epoch, the
        `report_seconds` that the callback adds to an epoch, and `epoch_seconds`, the length of an epoch of which that
        is 5 %.
    """
    plain, *others = seconds
    rows = {plain: {"seconds": float(np.median(seconds[plain]))}}
    for name in others:
        ratio = timing.ratio(seconds[name], seconds[plain])
        rows[name] = {"seconds": float(np.median(seconds[name])), "ratio": ratio}
        if ARMS[name].get("frequency") == 1:
            added = float(np.median(np.subtract(seconds[name], seconds[plain])))
            rows[name] |= {"report_seconds": added, "epoch_seconds": max(added, 0.0) / 0.05}
    return rows


def main(arguments=None):
    """Measure, print the ratios, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="Epochs of a round that are measured.")
    parser.add_argument("--depth", type=int, default=10, help="Depth of the WideResNet.")
    parser.add_argument("--steps", type=int, default=20, help="Steps of an epoch.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--monitored", type=int, default=32, help="Number of images of the monitor.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    options = parser.parse_args(arguments)
    seconds = {name: [] for name in ARMS}
    train = trainings(options)
    for _ in range(options.rounds):
        for name, values in seconds.items():
            values.append(train[name]().seconds)
    settings = {name: value for name, value in vars(options).items() if name != "output"}
    command, backend = records.recorded_command("monitor_cost", arguments), keras.backend.backend()
    record = {"command": command, **settings, "backend": backend}
    record |= {"versions": records.versions("keras", backend), **records.stamp()}
    record |= {"rows": summarize(seconds), "rounds_in_seconds": seconds}
    print(record["machine"], record["versions"])
    for name, row in record["rows"].items():
        text = f"{name:<22} {row['seconds']:.2f} s"
        if "ratio" in row:
            text += f", {records.show_ratio(row['ratio'], 2)} of a plain epoch"
        if "report_seconds" in row:
            text += f"; a report takes {row['report_seconds']:.2f} s, 5 % of an epoch of {row['epoch_seconds']:.0f} s"
        print(text)
    if options.output:
        records.write_json(options.output, record)


if __name__ == "__main__":
    main()
