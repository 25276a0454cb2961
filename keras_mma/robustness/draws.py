"""Random numbers that belong to an image: neither the batch size nor which other images are looked at changes them."""

import zlib

import numpy as np


def generator(seed, part, index):
    """The generator of one image in one part of the evaluation.

    Args:
        seed: The seed of the whole evaluation, an int from 0.
        part: Name of the part, such as `"corruption/fog/3"`.
        index: Number of the image in its data set.

    Returns:
        A `numpy.random.Generator`.
    """
    return np.random.default_rng([seed, zlib.crc32(part.encode()), int(index)])


def generators(seed, part, indices):
    """One `generator` for each index."""
    return [generator(seed, part, index) for index in indices]
