"""How the time of each pixel changes with the batch and the side of the images, and that of pairing with the batch."""

import numpy as np

from benchmarks.augmentation import natural_crops
from benchmarks.timing import interleave, ratio, stamp
from keras_mma import layers
from keras_mma.layers import partners

METHODS = {
    "CutMix": layers.CutMix,
    "SaliencyMix": layers.SaliencyMix,
    "GuidedMixup": layers.GuidedMixup,
    "GuidedMixup, shuffled": lambda: layers.GuidedMixup(partner="shuffle"),
}
PAIRING = "distance pairing"


def measure(rounds, quick=False):
    """Part C, under XLA.

    Yields:
        After each axis a dict with `rows`: method, what grows (`batch` at 32 pixels, `side` in batches of 16), its
        value, nanoseconds per pixel (per image for the pairing), and the ratio of that to the first value's.
    """
    batches = (8, 16) if quick else (32, 64, 128, 256, 512, 1024)
    sides = (16, 24) if quick else (32, 64, 128, 256, 512)
    grown = {"batch": [(batch, 32) for batch in batches], "side": [(16, side) for side in sides]}
    rows = []
    for axis, shapes in grown.items():
        functions, units = {}, {}
        for batch, side in shapes:
            value = batch if axis == "batch" else side
            images = natural_crops(batch, side)
            for name, host in METHODS.items():
                functions[name, value] = _mixing(host(), images)
                units[name, value] = batch * side * side
            if axis == "batch":
                functions[PAIRING, value] = _pairing(batch, side)
                units[PAIRING, value] = batch
        seconds = interleave(functions, rounds)
        for (name, value), taken in seconds.items():
            each = np.array(taken) / units[name, value]
            first = next(key for key in seconds if key[0] == name)
            row = {"method": name, "axis": axis, "value": value, "nanoseconds": 1e9 * float(np.median(each))}
            rows.append({**row, "to_first": ratio(each, np.array(seconds[first]) / units[first])})
            print(f"growth with {axis:5} {name:24} {value:5} {row['nanoseconds']:9.2f} ns", flush=True)
        yield {"rows": rows, "rounds": rounds, "measured": stamp()}


def _mixing(host, images):
    import tensorflow as tf

    images = tf.constant(images)
    labels = tf.one_hot(tf.range(images.shape[0]) % 10, 10)
    mix = tf.function(lambda x, y: host(x, y), jit_compile=True)
    return lambda: mix(images, labels)[1].numpy()


def _pairing(batch, side):
    import tensorflow as tf

    maps = tf.random.uniform((1, batch, side * side))
    pair = tf.function(lambda m: partners.farthest_cycles(partners.distances(m), tf.constant([0])), jit_compile=True)
    return lambda: pair(maps).numpy()
