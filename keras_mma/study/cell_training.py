"""Train one cell of a study by the recipe."""

import dataclasses
import functools
import logging
import math
import time
import types

import keras
import numpy as np

from keras_mma.errors import InputError
from keras_mma.study import batches, recipe, training


class Diverged(Exception):
    """The loss has become infinite or NaN."""

    def __init__(self, epoch):
        super().__init__(f"the loss is not finite in epoch {epoch}")
        self.epoch = epoch


def train_cell(cell, output, on_epoch):
    """Train, export and measure a cell; the function that `keras_mma.study.running.run` calls.

    Args:
        cell: A `keras_mma.study.study_cells.Cell`.
        output: Folder of the training. It resumes there, and leaves `history.csv`, `model.keras`, `states/` and, unless
            the backend is PyTorch, `saved_model/`.
        on_epoch: Function that is called with the number of epochs and the seconds of the last one.

    Returns:
        A dict with `accuracy`, `images`, `correct`, `loss`, `diverged`, `train_images`, `parameters`, `sha256` (the
        digests of all training images and of the measured ones) and `seconds_per_epoch`. A training whose loss becomes
        infinite or NaN has the accuracy of chance.
    """
    keras.backend.clear_session()
    # Every cell traces functions of its own, which TensorFlow reports as one function that is retraced.
    logging.getLogger("tensorflow").setLevel("ERROR")
    settings = make_recipe(cell)
    data = load(settings)
    train, measured = data.train.balanced_subset(settings.fraction, settings.seed), getattr(data, cell.part)
    built = recipe.build(settings, train, batches.steps_per_epoch(settings, len(train)))
    watch = _Watch(on_epoch)
    result = {"images": len(measured), "train_images": len(train), "parameters": built.network.count_params()}
    result["sha256"] = {"train": data.train.digest(), cell.part: measured.digest()}
    with training.claim(output, settings, data):
        try:
            history = training.train(settings, built.model, train, output=output, verbose=0, callbacks=[watch])
            losses = history["loss"]
            if not math.isfinite(losses[-1]):  # an interrupted training that diverged in its last epoch
                raise Diverged(len(losses))
            found = measure(built.network, measured, settings.batch_size)
            if not math.isfinite(found["loss"]):  # its last step, or statistics that only inference uses
                raise Diverged(len(losses))
        except Diverged as error:
            result |= {"accuracy": 1 / train.classes, "loss": None, "diverged": error.epoch}
        else:
            training.save(built.model, output)
            result |= found | {"diverged": None}
    return result | {"seconds_per_epoch": watch.seconds_per_epoch}


def measure(network, measured, batch_size):
    """Accuracy and loss of a network on a `keras_mma.datasets.Dataset`."""
    logits = network.predict(batches.evaluation_batches(measured, batch_size).map(lambda x, y: x), verbose=0)
    correct = logits.argmax(-1) == measured.labels
    losses = keras.losses.sparse_categorical_crossentropy(measured.labels, logits, from_logits=True)
    return {"accuracy": float(correct.mean()), "correct": correct, "loss": float(keras.ops.mean(losses))}


def make_recipe(cell):
    """The `Recipe` of a cell, whose settings have been through JSON."""
    return recipe.Recipe(**cell.recipe)


def load(settings):
    """The parts of a recipe's dataset in memory, read once for all cells of a process.

    Args:
        settings: A `Recipe`.

    Returns:
        An object with the attributes `train`, `test` and, unless there is none, `validation`.
    """
    names = ("dataset", "data_dir", "image_size", "resize", "validation_fraction", "skip_damaged")
    return _load(tuple((name, getattr(settings, name)) for name in names))


@functools.lru_cache(maxsize=1)
def _load(settings):
    parts = recipe.Recipe(**dict(settings)).load_data()
    names = ("train", "validation", "test") if dict(settings)["validation_fraction"] else ("train", "test")
    found = {name: _in_memory(getattr(parts, name)) for name in names}
    for name, part in found.items():
        _check_alike(found["train"], part, name)
    return types.SimpleNamespace(**found)


def _check_alike(train, part, name):
    """Refuse a part that a model of the training images cannot be measured on, before it is trained."""
    if part.shape != train.shape:
        raise InputError(
            f"The images of all parts of {train.name} must have the same shape, or `image_size` must be given. "
            f"Received: {train.shape} for training, {part.shape} in the {name} part"
        )
    if part.classes > train.classes:
        raise InputError(
            f"The {name} part of {train.name} must have no class without training images. "
            f"Received: {train.classes} classes for training, {part.classes} in the {name} part"
        )


def _in_memory(dataset):
    images, _ = dataset.arrays()
    return dataclasses.replace(dataset, read=lambda indices: np.asarray(images[indices]))


class _Watch(keras.callbacks.Callback):
    """Times epochs, reports them, and stops a training whose loss becomes infinite or NaN."""

    def __init__(self, on_epoch):
        super().__init__()
        self._on_epoch, self._seconds = on_epoch, []

    @property
    def seconds_per_epoch(self):
        """The median without the first epoch, which compiles; `None` where there was no other."""
        return float(np.median(self._seconds[1:])) if len(self._seconds) > 1 else None

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params["steps"]:  # the time in which the files of the epoch are written does not count
            float(logs["loss"])  # JAX computes in the background
            self._ended = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._seconds.append(self._ended - self._started)
        if not math.isfinite(logs["loss"]):
            raise Diverged(epoch + 1)
        self._on_epoch(epoch + 1, self._seconds[-1])
