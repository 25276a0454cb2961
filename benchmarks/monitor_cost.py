"""The time of an epoch with `MixingMonitor` relative to a plain one, and of the callback alone.

    python -m benchmarks.monitor_cost

prints the ratios for its default frequency, with pictures and without. Epochs are timed alternately, so that other
work on the machine affects all alike.
"""

import argparse
import tempfile

import keras

import keras_mma
from benchmarks import timing
from keras_mma import datasets


def epochs(network, steps, batch_size, monitored):
    """Dict from names to functions that train one epoch."""
    data = datasets.load("digits", validation_fraction=0).train
    images, labels = data.arrays()
    images, labels = images[: steps * batch_size], labels[: steps * batch_size]
    network = getattr(keras_mma.models, network[0])(*network[1], input_shape=data.shape, classes=data.classes)
    model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(seed=0))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))

    def train(**arguments):
        def epoch():
            callbacks = []
            if arguments:
                folder = tempfile.mkdtemp(prefix="monitor-")
                callbacks = [keras_mma.callbacks.MixingMonitor(images[:monitored], folder, **arguments)]
            model.fit(images, labels, batch_size=batch_size, verbose=0, callbacks=callbacks)

        return epoch

    return {"plain": train(), "figures": train(samples=0), "figures and pictures": train(samples=4)}


def main(arguments=None):
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depth", type=int, default=16, help="Depth of the WideResNet.")
    parser.add_argument("--steps", type=int, default=20, help="Steps of an epoch.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--monitored", type=int, default=32, help="Number of images of the monitor.")
    options = parser.parse_args(arguments)
    network = "WideResNet", (options.depth, 1)
    seconds = timing.interleave(epochs(network, options.steps, options.batch_size, options.monitored), options.rounds)
    print(timing.machine(), timing.versions("keras", keras.backend.backend()))
    for name, values in seconds.items():
        ratio = timing.ratio(values, seconds["plain"])
        print(f"{name:<22} {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) of a plain epoch")


if __name__ == "__main__":
    main()
