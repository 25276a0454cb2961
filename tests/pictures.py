"""Pictures for tests: smooth blobs over noise, so that saliency has something to find."""

import numpy as np


def blobs(rng, size=8, height=16, width=20, channels=3):
    """Uint8 images (size, height, width, channels), each with one bright blob at a random place on dark noise."""
    y, x = np.mgrid[:height, :width]
    images = rng.integers(0, 60, (size, height, width, channels))
    for image in images:
        centre = rng.uniform(0, height), rng.uniform(0, width)
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 8.0)
        image += (190 * blob[..., None] * rng.uniform(0.5, 1, channels)).astype(int)
    return images.astype("uint8")


def one_hot(rng, size=8, classes=5):
    return np.eye(classes, dtype="float32")[rng.integers(0, classes, size)]
