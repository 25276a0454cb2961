"""How many floating point operations the attributions of a network add to a training step.

    KERAS_BACKEND=tensorflow python -m benchmarks.attribution_operations --output FILE.json
    KERAS_BACKEND=jax python -m benchmarks.attribution_operations --output FILE.json

Each run writes the counts of its backend and keeps those of the other. The network needs no training.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import operations, records
from benchmarks.attributions import make_mixer, stages, ways
from keras_mma import models

NETWORKS = {
    "preactresnet18": models.PreActResNet18,
    "wideresnet-10-1": lambda shape, classes: models.WideResNet(10, 1, shape, classes),
}


def measure(network, side):
    """Count the operations of a training step with each attribution.

    Returns:
        A dict that maps each attribution to the operations relative to a plain step, and a dict that maps those whose
        `detector_size` is too small for the network to the message of the error.
    """
    image = np.zeros((1, side, side, 3), "float32")
    step = operations.count_step(network, image)
    counts, missing = {}, {}
    for way, arguments in ways(stages(network), side).items():
        try:
            mixer = make_mixer(network, arguments)
        except ValueError as error:
            if "`detector_size`" not in str(error):
                raise
            missing[way] = str(error)
            continue
        counts[way] = 1.0 + operations.count(mixer.saliency_maps, image) / step
    return counts, missing


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
    counts, missing = measure(NETWORKS[options.network]((options.side, options.side, 3), 10), options.side)
    for way, message in missing.items():
        print(f"left out: {way}: {message}")
    for way, count in counts.items():
        print(f"{count:.3f}  {way}")
    if options.output:
        record = json.loads(options.output.read_text()) if options.output.exists() else {}
        record[backend] = {
            "command": f"KERAS_BACKEND={backend} {records.recorded_command('attribution_operations', arguments)}",
            "network": options.network,
            "side": options.side,
            "versions": records.versions("keras", backend),
            **records.stamp(),
            "operations": counts,
            "missing": missing,
        }
        records.write_json(options.output, record)


if __name__ == "__main__":
    main()
