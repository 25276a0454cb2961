"""Time a convolution of small feature maps with TensorFlow's kernel and with XLA.

    python -m benchmarks.convolutions --output docs/results/convolutions.json

On a CPU, XLA convolves maps of 2 x 2 pixels many times more slowly than slightly larger ones. A cheaper attribution,
which calls the network with smaller images, should avoid that size.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import records, timing


def convolution(side, batch, channels, compiled):
    """Return a function that convolves random maps with a 3 x 3 kernel and returns when it has finished."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    maps = tf.constant(rng.normal(size=(batch, side, side, channels)), "float32")
    kernel = tf.constant(rng.normal(size=(3, 3, channels, channels)), "float32")
    step = tf.function(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), jit_compile=compiled, autograph=False)
    return lambda: step(maps, kernel).numpy()


def main(arguments=None):
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[2, 3, 4], help="Sides of the maps in pixels.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    options = parser.parse_args(arguments)
    if keras.backend.backend() != "tensorflow":
        parser.error(f"The backend must be tensorflow. Received: {keras.backend.backend()!r}")
    record = {"command": records.recorded_command("convolutions", arguments), **vars(options), "backend": "tensorflow"}
    del record["output"]
    record |= {"versions": records.versions("keras", "tensorflow"), **records.stamp(), "maps": []}
    for side in options.sides:
        ways = {"TensorFlow": False, "XLA": True}
        sizes = (side, options.batch_size, options.channels)
        seconds = timing.interleave({way: convolution(*sizes, xla) for way, xla in ways.items()}, options.rounds)
        ratio = timing.ratio(seconds["XLA"], seconds["TensorFlow"])
        milliseconds = {way: 1000 * float(np.median(rounds)) for way, rounds in seconds.items()}
        print(f"{side} x {side}: {milliseconds}, XLA to TensorFlow {ratio['median']:.2f}")
        record["maps"].append({"side": side, "milliseconds": milliseconds, "ratio": ratio})
    if options.output:
        records.write_json(options.output, record)


if __name__ == "__main__":
    main()
