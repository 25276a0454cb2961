"""Measure how far the maximum of fine-grained saliency moves when the detector works on a thumbnail.

    python -m benchmarks.peaks

prints a table. For each change of the image or the detector, it has the distance between the maximum of the full map
and the maximum after the change, as a share of the side, and the share of pixels of the full map that are more salient
than the position of the latter. `--count` sets the number of images.
"""

import argparse
import os
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_mma import saliency

SIDE = 224
# In the package, the function of the same name hides the module.
_MODULE = "keras_mma.saliency.fine_grained"


def natural_images(count, rng):
    """Random squares of two photographs, 224 to 420 pixels wide, resized to 224 pixels."""
    import cv2
    from sklearn.datasets import load_sample_images

    photographs, images = load_sample_images().images, []
    for number in range(count):
        photograph, side = photographs[number % 2], int(rng.integers(SIDE, 420))
        y, x = (rng.integers(0, extent - side) for extent in photograph.shape[:2])
        square = photograph[y : y + side, x : x + side]
        images.append(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(images)


def find_maps(images, size=None):
    """Saliency maps (count, height, width) of images, computed at `size` pixels."""
    parts = [saliency.fine_grained(images[start : start + 50], size=size) for start in range(0, len(images), 50)]
    return np.concatenate([np.asarray(part)[..., 0] for part in parts])


def find_peaks(maps, rng):
    """Row and column of a maximum of each map as shares of the side (count, 2), ties broken at random."""
    positions = [np.argwhere(saliency_map == saliency_map.max()) for saliency_map in maps]
    return np.array([ties[rng.integers(len(ties))] for ties in positions]) / SIDE


def print_row(name, maps, peaks, changed_peaks):
    """Print a row of the table.

    Args:
        name: Name of the change.
        maps: The full maps.
        peaks: Their maxima.
        changed_peaks: The maxima after the change.
    """
    distance = np.hypot(*(changed_peaks - peaks).T)
    index = np.minimum((changed_peaks * SIDE).astype(int), SIDE - 1)
    above = [np.mean(saliency_map > saliency_map[y, x]) for saliency_map, (y, x) in zip(maps, index, strict=True)]
    quantiles = " | ".join(f"{value:.2f}" for value in np.quantile(distance, (0.25, 0.5, 0.75)))
    shares = " | ".join(f"{100 * value:.1f} %" for value in np.quantile(above, (0.5, 0.9)))
    print(f"| {name} | {quantiles} | {shares} |", flush=True)


def main():
    import cv2

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=400, help="number of images (default: %(default)s)")
    count = parser.parse_args().count
    rng = np.random.default_rng(3)
    images = natural_images(count, rng)
    maps = find_maps(images)
    peaks = find_peaks(maps, rng)
    print(
        "| change | lower quartile | median | upper quartile | pixels that are more salient, median | 9th decile |\n"
        "|---|---|---|---|---|---|"
    )
    print_row("two random positions", maps, peaks, rng.random((count, 2)))
    print_row("none, ties broken again", maps, peaks, find_peaks(maps, rng))
    cropped = np.stack([cv2.resize(image[8:-8, 8:-8], (SIDE, SIDE)) for image in images])
    cropped_peaks = (find_peaks(find_maps(cropped), rng) * (SIDE - 16) + 8) / SIDE
    print_row("8 pixels cropped off each side", maps, peaks, cropped_peaks)
    module = sys.modules[_MODULE]
    for size in (112, 64, 32):
        print_row(f"thumbnail of {size}", maps, peaks, find_peaks(find_maps(images, size), rng))
        scaled = tuple(max(1, round(window * size / SIDE)) for window in module.WINDOWS)
        with mock.patch.object(module, "WINDOWS", scaled):
            scaled_peaks = find_peaks(find_maps(images, size), rng)
        print_row(f"thumbnail of {size}, windows scaled alike", maps, peaks, scaled_peaks)


if __name__ == "__main__":
    main()
