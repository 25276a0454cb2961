"""The time of mixing alone: all mixers, reference implementations, and a copy of the batch, in three modes."""

import keras
import numpy as np

from benchmarks.opencv_loop import opencv_saliency_mix
from benchmarks.records import stamp
from benchmarks.timing import QUICK, interleave, ratio
from keras_mma import layers
from keras_mma.errors import first_line

SIZES = ((128, 32), (64, 224))
QUICK_SIZES = ((8, 16),)
MODES = ("tf.data", "compiled", "XLA")
COPY = "copy"
FLOATS = "Images of float32 have levels from 0 to 255 that are not whole numbers, as they come out of a resizing layer."


def mixers(quick=False):
    """Dict from names to mixers: all of `layers.MIXERS` with their default arguments, and variants of SaliencyMix."""
    changed = QUICK if quick else {}
    return {
        **{mixer.__name__: mixer(**changed.get(mixer.__name__, {})) for mixer in layers.MIXERS.values()},
        "SaliencyMix, thumbnail 64": layers.SaliencyMix(detector_size=64),
        "SaliencyMix, spectral_residual": layers.SaliencyMix(detector="spectral_residual"),
        "SaliencyMix, smooth_spectral_residual": layers.SaliencyMix(detector="smooth_spectral_residual"),
        "SaliencyMix, frequency_tuned": layers.SaliencyMix(detector="frequency_tuned"),
    }


def references():
    """Mixing layers of other packages.

    Returns:
        Dict from names to functions of images and labels, and a dict from the names of references that cannot be used
        to the reason.
    """
    mixup, cutmix = keras.layers.MixUp(alpha=1.0), keras.layers.CutMix()
    available = {
        "keras.layers.MixUp": lambda x, y: mixup({"images": x, "labels": y}, training=True),
        "keras.layers.CutMix": lambda x, y: cutmix({"images": x, "labels": y}, training=True),
    }
    missing = {}
    try:
        import keras_cv

        keras_cv_cutmix = keras_cv.layers.CutMix()
        available["keras_cv.layers.CutMix"] = lambda x, y: keras_cv_cutmix({"images": x, "labels": y}, training=True)
    except Exception as error:  # an unmaintained package may raise anything with a newer Keras
        missing["keras_cv.layers.CutMix"] = first_line(error)
    return available, missing


def natural_crops(count, side, seed=0):
    """Crops of scikit-learn's two photographs, uint8 (count, side, side, 3)."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    photographs, crops = load_sample_images().images, []
    for number in range(count):
        photograph = photographs[number % 2]
        # Photographs that are too small are tiled.
        photograph = np.tile(photograph, (side // photograph.shape[0] + 1, side // photograph.shape[1] + 1, 1))
        y, x = (rng.integers(0, extent - side) for extent in photograph.shape[:2])
        crops.append(photograph[y : y + side, x : x + side])
    return np.stack(crops)


def resampled(images):
    """Images as they come out of a resizing layer: float32 levels from 0 to 255 that are not whole numbers."""
    images = images.astype("float32")
    return 0.7 * images + 0.3 * np.roll(images, 1, axis=2)


def measure(rounds, quick=False):
    """Measure the part `augmentation` of the record.

    Yields:
        After each block, a dict with the `rows` of all blocks so far (batch, side, dtype, mode, method, milliseconds,
        and the ratios `to` the copy and the references), and `missing`: what could not run, and why.
    """
    part = {"rows": [], "missing": {}, "rounds": rounds, "measured": stamp(), "floats": FLOATS}
    for batch, side in QUICK_SIZES if quick else SIZES:
        for dtype in ("uint8",) if quick else ("float32", "uint8"):
            rows, missing = _measure_block(batch, side, dtype, rounds, quick)
            part["rows"] += rows
            part["missing"] |= missing
            yield part


def _measure_block(batch, side, dtype, rounds, quick):
    images = natural_crops(batch, side)
    if dtype == "float32":
        images = resampled(images)
    labels = np.eye(10, dtype="float32")[np.arange(batch) % 10]
    methods, missing = references()
    own = mixers(quick)
    methods |= own
    increment = np.ones((), dtype)
    methods[COPY] = lambda x, y: (x + increment, y)
    functions = {}
    for mode in MODES:
        for name, method in methods.items():
            try:
                function = _prepare(method, mode, images.astype(dtype), labels)
                function()
            except Exception as error:
                if name in own:
                    raise
                missing[f"{name}, {mode}"] = first_line(error)
                continue
            functions[mode, name] = function
    levels = natural_crops(batch, side)  # OpenCV's detector reads bytes
    for threads in (1, 0):
        name = f"OpenCV loop, {'1 thread' if threads else 'all threads'}"
        functions["Python", name] = lambda n=threads: opencv_saliency_mix(levels, labels, np.random.default_rng(0), n)
    seconds = interleave(functions, rounds)
    rows = []
    for (mode, name), durations in seconds.items():
        row = {"batch": batch, "side": side, "dtype": dtype, "mode": mode, "method": name}
        row["milliseconds"] = 1e3 * float(np.median(durations))
        # References without an XLA kernel are replaced by the same references compiled without XLA.
        to = {
            reference: seconds.get((mode, reference), seconds["compiled", reference])
            for reference in (COPY, "keras.layers.MixUp", "keras.layers.CutMix")
        }
        to["OpenCV loop"] = seconds["Python", "OpenCV loop, all threads"]
        row["to"] = {reference: ratio(durations, times) for reference, times in to.items()}
        rows.append(row)
        print(f"{batch:4} x {side:3} {dtype:8} {mode:9} {name:32} {row['milliseconds']:9.2f} ms", flush=True)
    return rows, missing


def _prepare(method, mode, images, labels):
    import tensorflow as tf

    if mode == "tf.data":
        options = tf.data.Options()
        # Batches that are prefetched would be computed while other functions are timed.
        options.autotune.enabled = False
        options.experimental_optimization.inject_prefetch = False
        dataset = tf.data.Dataset.from_tensors((images, labels)).repeat().map(lambda x, y: method(x, y))
        batches = iter(dataset.with_options(options))
        return lambda: next(batches)
    compiled = tf.function(lambda x, y: method(x, y), jit_compile=mode == "XLA")
    images, labels = tf.constant(images), tf.constant(labels)

    def run():
        # Copying a few values waits until the computation is finished.
        mixed = tf.nest.flatten(compiled(images, labels))
        for tensor in mixed:
            tensor[0, ..., 0].numpy()

    return run
