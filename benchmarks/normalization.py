"""Time training steps with Keras' own batch normalization and with the fused one, on TensorFlow without XLA.

    python -m benchmarks.normalization --output docs/results/normalization.json

The networks are those of the regimes of `keras-mma study`, without mixing.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import records, timing
from keras_mma.datasets import Dataset
from keras_mma.study import fused_normalization
from keras_mma.study.recipe import Recipe, compile_model, make_network

#: Network, side of the images and batch size: those of the regimes of a study.
SETTINGS = {"wideresnet-10-2": (16, 100), "resnet20": (32, 32), "preactresnet18": (32, 128)}


def step(network, side, batch_size, fused):
    """Return a function that trains a network on a batch of noise and returns when it has finished."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (batch_size, side, side, 3), "uint8"), np.arange(batch_size) % 10
    recipe = Recipe(network=network, seed=0)
    keras.utils.set_random_seed(recipe.seed)
    model = make_network(recipe, Dataset.of_arrays(images, labels, "noise"))
    if fused:
        fused_normalization.fuse(model)
    compile_model(recipe, model, steps=1)
    labels = keras.utils.to_categorical(labels)
    return lambda: float(model.train_on_batch(images, labels)[0])


def main(arguments=None):
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    options = parser.parse_args(arguments)
    if keras.backend.backend() != "tensorflow":
        parser.error(f"The backend must be tensorflow. Received: {keras.backend.backend()!r}")
    record = {"command": records.recorded_command("normalization", arguments), "rounds": options.rounds}
    record |= {"backend": "tensorflow", "versions": records.versions("keras", "tensorflow"), **records.stamp()}
    record["networks"] = []
    for network in options.networks:
        side, batch_size = SETTINGS[network]
        ways = {"Keras": False, "fused": True}
        steps = {way: step(network, side, batch_size, fused) for way, fused in ways.items()}
        seconds = timing.interleave(steps, options.rounds)
        ratio = timing.ratio(seconds["Keras"], seconds["fused"])
        milliseconds = {way: 1000 * float(np.median(rounds)) for way, rounds in seconds.items()}
        print(f"{network}: {milliseconds}, Keras to fused {ratio['median']:.2f}")
        sizes = {"network": network, "side": side, "batch_size": batch_size}
        record["networks"].append({**sizes, "milliseconds": milliseconds, "ratio": ratio})
    if options.output:
        records.write_json(options.output, record)


if __name__ == "__main__":
    main()
