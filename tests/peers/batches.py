"""Small batches, and the calls of a mixer on them."""

import numpy as np

from keras_mma import layers
from tests.layers.mixers import to_numpy

#: The two mixers that all peers have.
BOTH = (layers.CutMix, layers.MixUp)


def twos_and_ones(channels=3, side=4):
    """Two images, one of twos and one of ones, with the one-hot labels of two classes."""
    images = np.stack([np.full((side, side, channels), value, "float32") for value in (2, 1)])
    return images, np.eye(2, dtype="float32")


def random_batch(rng, count=7, height=3, width=5, channels=11, classes=10):
    """Images and class indices; no two pixels are equal."""
    size = (count, height, width, channels)
    return rng.permutation(np.prod(size)).reshape(size).astype("float32"), rng.integers(0, classes, count)


def plan_and_images(mixer, images):
    """The plan and the mixed images of a training call."""
    mixed, plan = to_numpy(mixer(images, training=True))
    return plan, mixed


def labeled(mixer, images, labels, **arguments):
    return to_numpy(mixer(images, labels, **arguments))
