"""How many floating point operations the attributions of a network add to a training step.

    KERAS_BACKEND=tensorflow python -m benchmarks.attribution_operations --output FILE.json
    KERAS_BACKEND=jax python -m benchmarks.attribution_operations --output FILE.json

Each run writes the counts of its backend and keeps those of the other. The network needs no training.
"""

import argparse
import json
import os
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_mma
from benchmarks import operations, timing
from benchmarks.attributions import stages, ways
from keras_mma import layers, models

NETWORKS = {
    "preactresnet18": models.PreActResNet18,
    "wideresnet-10-1": lambda shape, classes: models.WideResNet(10, 1, shape, classes),
}


def measure(network, side):
    """Dict from the names of the attributions to the operations of a step with them, relative to a plain step.

    Attributions that the network is too deep for are left out.
    """
    image = np.zeros((1, side, side, 3), "float32")
    step = operations.count_step(network, image)
    counts = {}
    for way, arguments in ways(stages(network), side).items():
        mixer = layers.SaliencyGrafting(data_format="channels_last", **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing is mixed here
            try:
                mixer = keras_mma.mixify(network, mixer, at=[]).mixer
            except ValueError as error:
                print(f"left out: {way}: {error}")
                continue
        counts[way] = 1.0 + operations.count(mixer.saliency_maps, image) / step
    return counts


def main(arguments=None):
    """Count, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="preactresnet18")
    parser.add_argument("--side", type=int, default=32, help="Height and width of the images.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file; counts of other backends are kept.")
    options = parser.parse_args(arguments)
    backend = keras.backend.backend()
    if backend == "torch":
        parser.error("The backend must be tensorflow or jax, which count operations. Received: 'torch'")
    counts = measure(NETWORKS[options.network]((options.side, options.side, 3), 10), options.side)
    for way, count in counts.items():
        print(f"{count:.3f}  {way}")
    if options.output:
        record = json.loads(options.output.read_text()) if options.output.exists() else {}
        record[backend] = {
            "command": f"KERAS_BACKEND={backend} python -m benchmarks.attribution_operations",
            "network": options.network,
            "side": options.side,
            "versions": timing.versions("keras", backend),
            **timing.stamp(),
            "operations": counts,
        }
        timing.write(options.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
