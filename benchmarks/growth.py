"""How time and memory per pixel change with the batch size and the image size, and those of pairing by distance.

    python -m benchmarks.growth '[["CutMix", 32, 64]]'

on the JAX backend prints the bytes that XLA plans for mixing 32 images of 64 pixels; `benchmarks.throughput` starts it.
"""

import json
import sys

import numpy as np

from benchmarks.augmentation import natural_crops
from benchmarks.records import stamp
from benchmarks.timing import in_process, interleave, ratio
from keras_mma import layers
from keras_mma.layers import pairing

METHODS = {
    **{mixer.__name__: mixer for mixer in layers.MIXERS.values()},
    # Each grid is compiled on its own.
    "PuzzleMix": lambda: layers.PuzzleMix(grids=(4,)),
    "GuidedMixup, shuffled": lambda: layers.GuidedMixup(partner="shuffle"),
}
PAIRING = "distance pairing"
#: What compares every image with every other one, so that its cost per pixel grows with the batch size.
QUADRATIC = (PAIRING, "GuidedMixup")
QUICK_METHODS = ("CutMix", "GuidedMixup", "GuidedMixup, shuffled")
SAMPLES, SIDE = 16, 32
#: Largest cost per pixel, relative to the best of the smaller sizes.
LIMIT = 1.2


def measure(rounds, quick=False):
    """Measure the part `growth` of the record, under XLA.

    Yields:
        After each axis, a dict with `rows`: the method, the axis that grows (`batch` at 32 pixels, or `side` in batches
        of 16), its value, nanoseconds per pixel (per image for the pairing), and the ratios `to_first`, the first
        value, and `to_best`, the best of the values up to this one; with `memory`, bytes per pixel of some of the
        values and the ratio `to_best`; and with `crossing`, see `crossing`.
    """
    batches = (8, 16) if quick else (32, 64, 128, 256, 512, 1024, 2048, 4096)
    sides = (16, 24) if quick else (32, 64, 128, 256, 512, 1024)
    methods = {name: METHODS[name] for name in (QUICK_METHODS if quick else METHODS)}
    shapes = {"batch": [(batch, SIDE) for batch in batches], "side": [(SAMPLES, side) for side in sides]}
    rows, memory = [], []
    for axis, shapes_of_axis in shapes.items():
        # One method at a time, because the images of all shapes are large.
        for name, mixer in [*methods.items(), *([(PAIRING, None)] if axis == "batch" else [])]:
            rows += _time(name, mixer, axis, shapes_of_axis, rounds)
        memory += _memory(axis, methods, shapes_of_axis[:: 1 if quick else 2] + shapes_of_axis[-1:])
        part = {"rows": rows, "memory": memory, "crossing": crossing(rows)}
        yield {**part, "rounds": rounds, "measured": stamp()}


def crossing(rows):
    """The smallest batch in which pairing by distance makes GuidedMixup slower than by the limit, or `None`."""
    costs = {(row["method"], row["value"]): row["nanoseconds"] for row in rows if row["axis"] == "batch"}
    slower = [
        value
        for (method, value), cost in costs.items()
        if method == "GuidedMixup" and cost > LIMIT * costs["GuidedMixup, shuffled", value]
    ]
    return min(slower, default=None)


def is_linear(method, axis):
    """Whether the cost per pixel of a method should not grow along an axis."""
    return axis == "side" or method not in QUADRATIC


def _time(name, mixer, axis, shapes, rounds):
    functions, units = {}, {}
    for batch, side in shapes:
        value = batch if axis == "batch" else side
        functions[value] = _mixing(mixer(), natural_crops(batch, side)) if mixer else _pairing(batch, side)
        units[value] = batch * side * side if mixer else batch
    seconds = {value: np.array(times) / units[value] for value, times in interleave(functions, rounds).items()}
    rows, first = [], next(iter(seconds))
    for value, times in seconds.items():
        best = min((seconds[other] for other in seconds if other <= value), key=np.median)
        row = {"method": name, "axis": axis, "value": value, "nanoseconds": 1e9 * float(np.median(times))}
        rows.append({**row, "to_first": ratio(times, seconds[first]), "to_best": ratio(times, best)})
        print(f"growth with {axis:5} {name:24} {value:5} {row['nanoseconds']:9.2f} ns", flush=True)
    return rows


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


def _memory(axis, methods, shapes):
    """Rows of the memory: the bytes per pixel that XLA plans, in a process on the JAX backend, which reports them."""
    shapes = list(dict.fromkeys(shapes))
    programs = [(name, *shape) for name in methods for shape in shapes]
    env = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return memory_rows(axis, programs, in_process("growth", json.dumps(programs), env=env))


def memory_rows(axis, programs, sizes):
    """The rows of the memory.

    Args:
        axis: `"batch"` or `"side"`.
        programs: Tuples of the method, the batch size and the side, growing along the axis for each method.
        sizes: For each, its bytes.
    """
    rows, best = [], {}
    for (name, batch, side), size in zip(programs, sizes, strict=True):
        row = {"method": name, "axis": axis, "value": batch if axis == "batch" else side}
        row["bytes"] = size / (batch * side * side)
        best[name] = min(row["bytes"], best.get(name, row["bytes"]))
        rows.append({**row, "to_best": row["bytes"] / best[name]})
    return rows


def planned_bytes(name, batch, side):
    """The bytes of all intermediate and final results of mixing a labeled batch, as XLA plans them on JAX.

    Args:
        name: One of `METHODS`.
        batch, side: Number of uint8 images, and their height and width.
    """
    import jax
    import keras

    mixer = METHODS[name]()
    state = mixer.seed_generator.state

    def mix(images, labels, seed):
        with keras.StatelessScope([(state, seed)]):
            return mixer(images, labels)

    shapes = [((batch, side, side, 3), "uint8"), ((batch, 10), "float32"), (state.shape, state.dtype)]
    arrays = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    planned = jax.jit(mix).lower(*arrays).compile().memory_analysis()
    return planned.temp_size_in_bytes + planned.output_size_in_bytes


if __name__ == "__main__":
    print(json.dumps([planned_bytes(*program) for program in json.loads(sys.argv[1])]))
