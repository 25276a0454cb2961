"""Measure the peak memory of a `FeatureMixAdapt` that fires and of one that does not, relative to the features' size.

`python -m tests.layers.site_memory` prints the result as JSON, from a process of its own, where nothing else allocates.
"""

import json

import keras
import numpy as np
from keras import ops

from keras_mma import plans
from keras_mma.layers import FeatureMixAdapt

SHAPE = (64, 64, 64, 128)  # 128 MiB


def resident(name):
    """Memory of this process in bytes, from Linux: `VmRSS` is the current value, `VmHWM` the peak."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def compiled(layer, *example):
    """Compile a computation that contains the layer and returns a scalar."""

    def run(features, plan):
        mixed, after = layer(features, plan, training=True)
        return ops.sum(mixed[:, 0, 0]) + ops.sum(after["weight"])

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(run).get_concrete_function(*example)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(run).lower(*example).compile()
    return run


def main():
    features = ops.convert_to_tensor(np.random.default_rng(0).random(SHAPE, dtype="float32"))
    mask = np.ones((SHAPE[0], 8, 8, 1), "float32")
    mask[:, :4] = 0
    plan = plans.make(np.roll(np.arange(SHAPE[0]), 1), mask, site=1)
    peaks = {}
    for site in (2, 1):  # the layer that does not fire comes first, because freed memory may stay with the process
        run = compiled(FeatureMixAdapt(site), features, plan)
        before = resident("VmRSS")
        reset_peak()
        float(ops.convert_to_numpy(run(features, plan)))
        peaks[site] = (resident("VmHWM") - before) / (np.prod(SHAPE) * 4)
    print(json.dumps({"fires": peaks[1], "does_not_fire": peaks[2]}))


if __name__ == "__main__":
    main()
