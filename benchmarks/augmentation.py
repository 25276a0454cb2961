"""Mixing alone: every host, its references and the floor, in three ways of running it."""

import keras
import numpy as np

from benchmarks.opencv_loop import opencv_saliency_mix
from benchmarks.timing import interleave, ratio, stamp
from keras_mma import layers

SIZES = ((128, 32), (64, 224))
QUICK_SIZES = ((8, 16),)
MODES = ("tf.data", "compiled", "XLA")
FLOOR = "copy"


def hosts():
    """Name to host, each with its default settings but for what the name says."""
    return {
        "MixUp": layers.MixUp(),
        "CutMix": layers.CutMix(),
        "SaliencyMix": layers.SaliencyMix(),
        "SaliencyMix, thumbnail 64": layers.SaliencyMix(detector_size=64),
        "SaliencyMix, spectral_residual": layers.SaliencyMix(detector="spectral_residual"),
        "SaliencyMix, frequency_tuned": layers.SaliencyMix(detector="frequency_tuned"),
        "SaliencyGrafting, fine_grained": layers.SaliencyGrafting(),
        "GuidedMixup, spectral_residual": layers.GuidedMixup(),
    }


def references():
    """Name to a function of images and labels, and a reason for each reference that is not there."""
    mixup, cutmix = keras.layers.MixUp(alpha=1.0), keras.layers.CutMix()
    found = {
        "keras.layers.MixUp": lambda x, y: mixup({"images": x, "labels": y}, training=True),
        "keras.layers.CutMix": lambda x, y: cutmix({"images": x, "labels": y}, training=True),
    }
    missing = {}
    try:
        import keras_cv

        theirs = keras_cv.layers.CutMix()
        found["keras_cv.layers.CutMix"] = lambda x, y: theirs({"images": x, "labels": y}, training=True)
    except Exception as error:  # whatever an unmaintained package raises under a newer Keras
        missing["keras_cv.layers.CutMix"] = _first_line(error)
    return found, missing


def natural_crops(count, side, seed=0):
    """Crops of scikit-learn's two photographs, uint8 (count, side, side, 3)."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    pictures, crops = load_sample_images().images, []
    for number in range(count):
        picture = pictures[number % 2]
        # A side beyond the photographs' is met by repeating them.
        picture = np.tile(picture, (side // picture.shape[0] + 1, side // picture.shape[1] + 1, 1))
        y, x = (rng.integers(0, extent - side) for extent in picture.shape[:2])
        crops.append(picture[y : y + side, x : x + side])
    return np.stack(crops)


def measure(rounds, quick=False):
    """Part A.

    Yields:
        After each block a dict with `rows` (size, dtype, mode, method, milliseconds, and ratios to the floor and to the
        references) and `missing` (what could not run, and why), of all blocks so far.
    """
    found = {"rows": [], "missing": {}, "rounds": rounds, "measured": stamp()}
    for batch, side in QUICK_SIZES if quick else SIZES:
        for dtype in ("uint8",) if quick else ("float32", "uint8"):
            rows, missing = _measure_block(batch, side, dtype, rounds)
            found["rows"] += rows
            found["missing"] |= missing
            yield found


def _measure_block(batch, side, dtype, rounds):
    images = natural_crops(batch, side)
    labels = np.eye(10, dtype="float32")[np.arange(batch) % 10]
    methods, missing = references()
    ours = hosts()
    methods |= ours
    one = np.ones((), dtype)
    methods[FLOOR] = lambda x, y: (x + one, y)
    functions = {}
    for mode in MODES:
        for name, method in methods.items():
            try:
                function = _prepare(method, mode, images.astype(dtype), labels)
                function()
            except Exception as error:
                if name in ours:
                    raise
                missing[f"{name}, {mode}"] = _first_line(error)
                continue
            functions[mode, name] = function
    for threads in (1, 0):
        name = f"OpenCV loop, {'1 thread' if threads else 'all threads'}"
        functions["Python", name] = lambda n=threads: opencv_saliency_mix(images, labels, np.random.default_rng(0), n)
    seconds = interleave(functions, rounds)
    rows = []
    for (mode, name), taken in seconds.items():
        row = {"batch": batch, "side": side, "dtype": dtype, "mode": mode, "method": name}
        row["milliseconds"] = 1e3 * float(np.median(taken))
        to = {FLOOR: seconds.get((mode, FLOOR), seconds["compiled", FLOOR])}
        for reference in ("keras.layers.MixUp", "keras.layers.CutMix"):
            # Where XLA has no kernel for the reference, it is compared as it runs: compiled.
            to[reference] = seconds.get((mode, reference), seconds["compiled", reference])
        to["OpenCV loop"] = seconds["Python", "OpenCV loop, all threads"]
        row["to"] = {reference: ratio(taken, times) for reference, times in to.items()}
        rows.append(row)
        print(f"{batch:4} x {side:3} {dtype:8} {mode:9} {name:32} {row['milliseconds']:9.2f} ms", flush=True)
    return rows, missing


def _prepare(method, mode, images, labels):
    import tensorflow as tf

    if mode == "tf.data":
        options = tf.data.Options()
        # Nothing is made ahead: it would be made in the time of the others.
        options.autotune.enabled = False
        options.experimental_optimization.inject_prefetch = False
        dataset = tf.data.Dataset.from_tensors((images, labels)).repeat().map(lambda x, y: method(x, y))
        batches = iter(dataset.with_options(options))
        return lambda: next(batches)
    compiled = tf.function(lambda x, y: method(x, y), jit_compile=mode == "XLA")
    images, labels = tf.constant(images), tf.constant(labels)

    def run():
        # A copy of something small waits for the work.
        mixed = tf.nest.flatten(compiled(images, labels))
        for tensor in mixed:
            tensor[0, ..., 0].numpy()

    return run


def _first_line(error):
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:160]}"
