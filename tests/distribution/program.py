"""Train the zero-loss probe and a network with a fixed plan under a distribution strategy, and record the results.

`python -m tests.distribution.program multiworker` and `... jax` print the record as JSON. For `MirroredStrategy`, the
tests call `record` themselves. The global batch has 16 samples, on two devices.
"""

import contextlib
import json
import os
import sys
import tempfile

import keras
import numpy as np
from keras import ops

import keras_mma
from keras_mma import layers
from keras_mma.layers import masks

BATCH, SAMPLES, CLASSES = 16, 64, 5


class PairMix(layers.Mixer):
    """A deterministic mixer: neighbors are partners, and the mask is computed from the image."""

    has_binary_mask = True

    def sample_partner(self, batch_size, maps):
        samples = ops.arange(batch_size, dtype="int32")
        return samples + 1 - 2 * ops.mod(samples, 2)

    def sample_mask(self, images, partner, maps):
        return masks.Dense(ops.cast(images[..., -1:] > 0.5, "float32"))


def images_and_labels():
    rng = np.random.default_rng(0)
    labels = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, SAMPLES)]
    label_channels = np.broadcast_to(labels[:, None, None], (SAMPLES, 12, 12, CLASSES))
    return np.concatenate([label_channels, rng.random((SAMPLES, 12, 12, 2))], -1).astype("float32"), labels


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
    """Train both models under a strategy.

    Args:
        data: A pair of arrays, or a dataset of global batches.
        scope: Returns the context in which to create models.

    Returns:
        A dict of lists: `"probe"`, the losses of the zero-loss probe; `"loss"`, `"accuracy"` and `"weights"` of the
        network with a fixed plan.
    """
    settings = {"verbose": 0, "shuffle": False} | ({"batch_size": BATCH} if isinstance(data, tuple) else {})
    data = data if isinstance(data, tuple) else (data,)
    results = {}
    keras.utils.set_random_seed(0)
    with scope():
        probe = identity_network()
    results["probe"] = probe.fit(*data, epochs=2, **settings).history["loss"]
    keras.utils.set_random_seed(0)
    with scope():
        model = network_with_a_fixed_plan()
    history = model.fit(*data, epochs=2, **settings).history
    results["loss"], results["accuracy"] = history["loss"], history["accuracy"]
    results["weights"] = [np.asarray(ops.convert_to_numpy(weight)).ravel().tolist() for weight in model.weights]
    return results


def mask_means(plan):
    """Mean of the mask of each sample, which identifies its draw."""
    return np.asarray(ops.convert_to_numpy(plan["mask"])).mean((1, 2, 3)).tolist()


def multiworker():
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]

    def local_batches(context):
        # Each global batch is split in halves, one for each worker.
        half = BATCH // context.num_input_pipelines
        is_local = np.arange(SAMPLES) // half % 2 == worker
        return tf.data.Dataset.from_tensor_slices(tuple(x[is_local] for x in images_and_labels())).batch(half)

    results = record(strategy.distribute_datasets_from_function(local_batches), strategy.scope)
    with strategy.scope():
        mixer = layers.MixUp(seed=5)
    images = tf.zeros((BATCH // 2, 12, 12, 3))
    results["draws"] = (
        mask_means(strategy.run(tf.function(lambda: mixer(images, training=True)[1]))) if worker >= 0 else []
    )
    return results


def data_parallel():
    import jax

    single = record(images_and_labels())
    devices = keras.distribution.list_devices()
    assert len(devices) == len(jax.devices()) == 2
    distribution = keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(distribution)
    results = record(images_and_labels())
    mixer = layers.MixUp(seed=5)
    _, plan = mixer(np.zeros((BATCH, 12, 12, 3), "float32"), training=True)
    results["draws"], results["partner"] = mask_means(plan), ops.convert_to_numpy(plan["partner"]).tolist()
    for policy in ("roll", "distance"):
        mixer = layers.SaliencyMix(partner=policy, seed=5)
        _, plan = mixer(images_and_labels()[0][:BATCH, ..., -3:], training=True)
        results[policy] = ops.convert_to_numpy(plan["partner"]).tolist()
    results["evaluated"] = evaluate_after_a_monitor()
    return {"single": single, "distributed": results}


def evaluate_after_a_monitor():
    """Losses of a model by `fit`, whose monitor adds a metric, and by `evaluate` before and after it."""
    images, labels = images_and_labels()
    model = network_with_a_fixed_plan()
    before = model.evaluate(images, labels, batch_size=BATCH, verbose=0)[0]
    with tempfile.TemporaryDirectory() as folder:
        monitor = keras_mma.callbacks.MixingMonitor(images[:BATCH], folder, samples=0, tensorboard=False)
        data = {"validation_data": (images, labels), "callbacks": [monitor]}
        history = model.fit(images, labels, batch_size=BATCH, verbose=0, **data).history
    return [before, history["val_loss"][0], model.evaluate(images, labels, batch_size=BATCH, verbose=0)[0]]


if __name__ == "__main__":
    print(json.dumps({"multiworker": multiworker, "jax": data_parallel}[sys.argv[1]]()))
