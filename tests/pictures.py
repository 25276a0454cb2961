"""Images with salient regions: synthetic blobs, and crops of photographs."""

import numpy as np


def blobs(rng, size=8, height=16, width=20, channels=3):
    """Uint8 images (size, height, width, channels), each with one bright blob at a random place on dark noise."""
    y, x = np.mgrid[:height, :width]
    images = rng.integers(0, 60, (size, height, width, channels))
    for image in images:
        center = rng.uniform(0, height), rng.uniform(0, width)
        blob = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 8.0)
        image += (190 * blob[..., None] * rng.uniform(0.5, 1, channels)).astype(int)
    return images.astype("uint8")


def one_hot(rng, size=8, classes=5):
    return np.eye(classes, dtype="float32")[rng.integers(0, classes, size)]


def crops(size, count=100):
    """Crops of the two photographs that scikit-learn contains."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(11)
    photographs = load_sample_images().images
    patches = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        y, x = (rng.integers(0, extent - size) for extent in photograph.shape[:2])
        patches.append(photograph[y : y + size, x : x + size])
    return np.stack(patches)
