"""Peak memory of one `FeatureMixAdapt` that fires and of one that does not, as multiples of the features' size.

`python -m tests.layers.site_memory` prints it as JSON. In a process of its own, so that nothing else allocates.
"""

import json

import keras
import numpy as np
from keras import ops

from keras_mma import plans
from keras_mma.layers import FeatureMixAdapt

SHAPE = (64, 64, 64, 128)  # 128 MiB


def resident(name):
    """`VmRSS` (now) or `VmHWM` (the peak) of this process in bytes, as Linux counts them."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def forget_the_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def compiled(layer, *example):
    """Runs the layer inside a larger computation, of which only a number is read."""

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
    found = {}
    for site in (2, 1):  # the one that should not allocate first: what is freed may stay with the process
        run = compiled(FeatureMixAdapt(site), features, plan)
        before = resident("VmRSS")
        forget_the_peak()
        float(ops.convert_to_numpy(run(features, plan)))
        found[site] = (resident("VmHWM") - before) / (np.prod(SHAPE) * 4)
    print(json.dumps({"fires": found[1], "does_not_fire": found[2]}))


if __name__ == "__main__":
    main()
