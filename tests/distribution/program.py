"""What every way of distribution has to get right, as one record.

`python -m tests.distribution.program multiworker` and `... jax` print it as JSON; under `MirroredStrategy` the tests
call `record` themselves. The global batch is 16 rows on two devices.
"""

import contextlib
import json
import os
import sys

import keras
import numpy as np
from keras import ops

import keras_mma
from keras_mma import layers
from keras_mma.layers import masks

BATCH, ROWS, CLASSES = 16, 64, 5


class PairMix(layers.Mixer):
    """A mixer without randomness: neighbours are pairs, and the mask is computed from the image."""

    has_binary_mask = True

    def sample_partner(self, batch_size, maps):
        samples = ops.arange(batch_size, dtype="int32")
        return samples + 1 - 2 * ops.mod(samples, 2)

    def sample_mask(self, images, partner, maps):
        return masks.Dense(ops.cast(images[..., -1:] > 0.5, "float32"))


def images_and_labels():
    rng = np.random.default_rng(0)
    rows = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, ROWS)]
    carried = np.broadcast_to(rows[:, None, None], (ROWS, 12, 12, CLASSES))
    return np.concatenate([carried, rng.random((ROWS, 12, 12, 2))], -1).astype("float32"), rows


def identity_network():
    inputs = keras.Input((12, 12, CLASSES + 2))
    x, plan = layers.SaliencyMix(sites=(0, 1), seed=3)(inputs)
    x, plan = layers.FeatureMixAdapt(1)(keras.layers.Identity()(x), plan)
    model = keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x)[:, :CLASSES], plan))
    model.compile("sgd", "mse")
    return model


def network_with_a_fixed_plan():
    inputs = keras.Input((12, 12, CLASSES + 2))
    x, plan = PairMix(sites=(1,))(inputs)
    x = keras.layers.Conv2D(8, 3)(x)
    x = keras.layers.BatchNormalization(synchronized=keras.backend.backend() == "tensorflow")(x)
    x, plan = layers.FeatureMixAdapt(1)(keras.layers.ReLU()(x), plan)
    outputs = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras_mma.MixModel(inputs, (outputs, plan))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def record(data, scope=contextlib.nullcontext):
    """Train under a strategy and say what came out.

    Args:
        data: What `fit` takes: the arrays, or a data set of global batches.
        scope: Makes the context in which models are made.
    """
    settings = {"verbose": 0, "shuffle": False} | ({"batch_size": BATCH} if isinstance(data, tuple) else {})
    data = data if isinstance(data, tuple) else (data,)
    found = {}
    keras.utils.set_random_seed(0)
    with scope():
        probe = identity_network()
    found["probe"] = probe.fit(*data, epochs=2, **settings).history["loss"]
    keras.utils.set_random_seed(0)
    with scope():
        model = network_with_a_fixed_plan()
    history = model.fit(*data, epochs=2, **settings).history
    found["loss"], found["accuracy"] = history["loss"], history["accuracy"]
    found["weights"] = [np.asarray(ops.convert_to_numpy(weight)).ravel().tolist() for weight in model.weights]
    return found


def mask_means(plan):
    """What tells the draws of one row from those of another."""
    return np.asarray(ops.convert_to_numpy(plan["mask"])).mean((1, 2, 3)).tolist()


def multiworker():
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]

    def local_batches(context):
        # The rows of each global batch that this worker would have were the batch split in two.
        half = BATCH // context.num_input_pipelines
        mine = np.arange(ROWS) // half % 2 == worker
        return tf.data.Dataset.from_tensor_slices(tuple(x[mine] for x in images_and_labels())).batch(half)

    found = record(strategy.distribute_datasets_from_function(local_batches), strategy.scope)
    with strategy.scope():
        mixer = layers.MixUp(seed=5)
    images = tf.zeros((BATCH // 2, 12, 12, 3))
    found["draws"] = (
        mask_means(strategy.run(tf.function(lambda: mixer(images, training=True)[1]))) if worker >= 0 else []
    )
    return found


def jax():
    import jax as backend

    single = record(images_and_labels())
    devices = keras.distribution.list_devices()
    assert len(devices) == len(backend.devices()) == 2
    distribution = keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(distribution)
    found = record(images_and_labels())
    mixer = layers.MixUp(seed=5)
    _, plan = mixer(np.zeros((BATCH, 12, 12, 3), "float32"), training=True)
    found["draws"], found["partner"] = mask_means(plan), ops.convert_to_numpy(plan["partner"]).tolist()
    for policy in ("roll", "distance"):
        mixer = layers.SaliencyMix(partner=policy, seed=5)
        _, plan = mixer(images_and_labels()[0][:BATCH, ..., -3:], training=True)
        found[policy] = ops.convert_to_numpy(plan["partner"]).tolist()
    return {"single": single, "distributed": found}


if __name__ == "__main__":
    print(json.dumps({"multiworker": multiworker, "jax": jax}[sys.argv[1]]()))
