"""Handwritten digits on photographs: scenes whose pixels and boxes are known, composed from bundled pictures.

Digits and photographs are those of scikit-learn; nothing is downloaded. Test scenes are made of other digits, and of
another part of the photographs, than training scenes.
"""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_sample_images

from keras_mma import datasets

#: Class of the pixels on the edge of a digit, which belong to neither side.
IGNORED = 255
# Shares of ink between which a pixel is on the edge.
EDGE = (0.2, 0.5)
DIGIT_SIZE = 16


class Scenes(NamedTuple):
    """Composed scenes.

    Attributes:
        images: Uint8 (scenes, size, size, 3).
        maps: Uint8 class indices (scenes, size, size): 0 for the ground, 1 + d for the digit d, `IGNORED` on its edge.
        boxes: Float32 (scenes, digits, 4): top, left, bottom and right of each digit's ink, in pixels.
        digits: Integers (scenes, digits).
    """

    images: np.ndarray
    maps: np.ndarray
    boxes: np.ndarray
    digits: np.ndarray


def compose(part, count, seed, size=32, digits=2):
    """Compose scenes.

    Args:
        part: `"train"` or `"test"`: whose digits and which part of the photographs are used.
        count: Number of scenes.
        seed: Int, from which everything follows.
        size: Height and width of the scenes in pixels.
        digits: Number of digits in each scene. They do not overlap.

    Returns:
        The `Scenes`.
    """
    rng = np.random.default_rng(seed)
    ink, labels = getattr(datasets.load("digits", validation_fraction=0), part).arrays()
    grounds = [_part(photograph, part) for photograph in load_sample_images().images]
    images = np.empty((count, size, size, 3), "uint8")
    maps = np.zeros((count, size, size), "uint8")
    boxes, classes = np.empty((count, digits, 4), "float32"), np.empty((count, digits), int)
    for scene in range(count):
        image = _crop(rng, grounds[rng.integers(len(grounds))], size).astype("float32")
        for place, (top, left) in enumerate(_places(rng, size, digits)):
            row = rng.integers(len(labels))
            share = ink[row, ..., :1] / 255.0
            area = np.s_[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE]
            image[area] += share * (_color(rng) - image[area])
            pixels = maps[scene][area]
            pixels[share[..., 0] > EDGE[0]] = IGNORED
            pixels[share[..., 0] > EDGE[1]] = 1 + labels[row]
            rows, columns = np.nonzero(share[..., 0] > EDGE[1])
            boxes[scene, place] = top + rows.min(), left + columns.min(), top + rows.max() + 1, left + columns.max() + 1
            classes[scene, place] = labels[row]
        images[scene] = image.round()
    return Scenes(images, maps, boxes, classes)


def _part(photograph, part):
    """The left two thirds of a photograph for training, the rest for the test."""
    border = 2 * photograph.shape[1] // 3
    return photograph[:, :border] if part == "train" else photograph[:, border:]


def _crop(rng, photograph, size):
    """A random crop of one to three times the size, reduced to it and darkened, so that digits are lighter."""
    scale = rng.integers(1, 4)
    top, left = (rng.integers(0, extent - scale * size + 1) for extent in photograph.shape[:2])
    crop = photograph[top : top + scale * size, left : left + scale * size]
    return 0.6 * crop.reshape(size, scale, size, scale, 3).mean((1, 3))


def _places(rng, size, digits):
    """Corners of digits that do not overlap."""
    while True:
        corners = rng.integers(0, size - DIGIT_SIZE + 1, (digits, 2))
        distances = np.abs(corners[:, None] - corners[None]).max(-1)
        if (distances[np.triu_indices(digits, 1)] >= DIGIT_SIZE).all():
            return corners


def _color(rng):
    """A random light color."""
    return rng.uniform(170, 255, 3)
