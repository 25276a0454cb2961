"""How the time per pixel changes with the batch size and the image size, and that of pairing with the batch size."""

import numpy as np

from benchmarks.augmentation import natural_crops
from benchmarks.timing import interleave, ratio, stamp
from keras_mma import layers
from keras_mma.layers import pairing

METHODS = {
    "CutMix": layers.CutMix,
    "SaliencyMix": layers.SaliencyMix,
    "GuidedMixup": layers.GuidedMixup,
    "GuidedMixup, shuffled": lambda: layers.GuidedMixup(partner="shuffle"),
}
PAIRING = "distance pairing"


def measure(rounds, quick=False):
    """Measure the part `growth` of the record, under XLA.

    Yields:
        After each axis, a dict with `rows`: the method, the axis that grows (`batch` at 32 pixels, or `side` in batches
        of 16), its value, nanoseconds per pixel (per image for the pairing), and the ratio to the first value.
    """
    batches = (8, 16) if quick else (32, 64, 128, 256, 512, 1024)
    sides = (16, 24) if quick else (32, 64, 128, 256, 512)
    shapes = {"batch": [(batch, 32) for batch in batches], "side": [(16, side) for side in sides]}
    rows = []
    for axis, shapes_of_axis in shapes.items():
        functions, units = {}, {}
        for batch, side in shapes_of_axis:
            value = batch if axis == "batch" else side
            images = natural_crops(batch, side)
            for name, mixer in METHODS.items():
                functions[name, value] = _mixing(mixer(), images)
                units[name, value] = batch * side * side
            if axis == "batch":
                functions[PAIRING, value] = _pairing(batch, side)
                units[PAIRING, value] = batch
        seconds = interleave(functions, rounds)
        for (name, value), durations in seconds.items():
            per_unit = np.array(durations) / units[name, value]
            first = next(key for key in seconds if key[0] == name)
            row = {"method": name, "axis": axis, "value": value, "nanoseconds": 1e9 * float(np.median(per_unit))}
            rows.append({**row, "to_first": ratio(per_unit, np.array(seconds[first]) / units[first])})
            print(f"growth with {axis:5} {name:24} {value:5} {row['nanoseconds']:9.2f} ns", flush=True)
        yield {"rows": rows, "rounds": rounds, "measured": stamp()}


def _mixing(mixer, images):
    import tensorflow as tf

    images = tf.constant(images)
    labels = tf.one_hot(tf.range(images.shape[0]) % 10, 10)
    mix = tf.function(lambda x, y: mixer(x, y), jit_compile=True)
    return lambda: mix(images, labels)[1].numpy()


def _pairing(batch, side):
    import tensorflow as tf

    maps = tf.random.uniform((1, batch, side * side))
    pair = tf.function(lambda m: pairing.farthest_cycles(pairing.distances(m), tf.constant([0])), jit_compile=True)
    return lambda: pair(maps).numpy()
