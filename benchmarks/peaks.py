"""How far the peak of fine-grained saliency moves when the detector looks at a thumbnail.

    python -m benchmarks.peaks

prints a table: the distance, as a share of the image's side, between the peak of the full map and the peak after a
change, beside that of two random points; and the share of the full map's pixels that are more salient than the place
that was found.
"""

import os
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_mma import saliency

SIDE = 224
# The package's name for the function hides the module.
_MODULE = "keras_mma.saliency.fine_grained"


def natural_images(count, rng):
    """Random squares of two photographs, 224 to 420 pixels wide, resized to 224."""
    import cv2
    from sklearn.datasets import load_sample_images

    pictures, images = load_sample_images().images, []
    for number in range(count):
        picture, side = pictures[number % 2], int(rng.integers(SIDE, 420))
        y, x = (rng.integers(0, extent - side) for extent in picture.shape[:2])
        square = picture[y : y + side, x : x + side]
        images.append(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(images)


def maps(images, size=None):
    parts = [saliency.fine_grained(images[start : start + 50], size=size) for start in range(0, len(images), 50)]
    return np.concatenate([np.asarray(part)[..., 0] for part in parts])


def peaks(maps, rng):
    """Row and column of a maximum of each map as shares of the side, ties broken at random."""
    places = [np.argwhere(one == one.max()) for one in maps]
    return np.array([place[rng.integers(len(place))] for place in places]) / SIDE


def compare(name, full, expected, found):
    distance = np.hypot(*(found - expected).T)
    index = np.minimum((found * SIDE).astype(int), SIDE - 1)
    above = [np.mean(one > one[y, x]) for one, (y, x) in zip(full, index, strict=True)]
    quantiles = " | ".join(f"{value:.2f}" for value in np.quantile(distance, (0.25, 0.5, 0.75)))
    share = " | ".join(f"{100 * value:.1f} %" for value in np.quantile(above, (0.5, 0.9)))
    print(f"| {name} | {quantiles} | {share} |", flush=True)


def main(count=400):
    import cv2

    rng = np.random.default_rng(3)
    images = natural_images(count, rng)
    full = maps(images)
    expected = peaks(full, rng)
    print(
        "| change | quartile | median | quartile | pixels more salient, median | 9 of 10 |\n|---|---|---|---|---|---|"
    )
    compare("two random points", full, expected, rng.random((count, 2)))
    compare("none: ties drawn again", full, expected, peaks(full, rng))
    cropped = np.stack([cv2.resize(image[8:-8, 8:-8], (SIDE, SIDE)) for image in images])
    compare("8 pixels cropped off each side", full, expected, (peaks(maps(cropped), rng) * (SIDE - 16) + 8) / SIDE)
    module = sys.modules[_MODULE]
    for size in (112, 64, 32):
        compare(f"thumbnail of {size}", full, expected, peaks(maps(images, size), rng))
        scaled = tuple(max(1, round(window * size / SIDE)) for window in module.WINDOWS)
        with mock.patch.object(module, "WINDOWS", scaled):
            found = peaks(maps(images, size), rng)
        compare(f"thumbnail of {size}, windows as much smaller", full, expected, found)


if __name__ == "__main__":
    main()
