"""Random numbers of each image: neither the batch size nor the other images change them."""

import zlib

import numpy as np


def generators(seed, part, indices):
    """A random generator for each image.

    Args:
        seed: Non-negative integer, the seed of the whole evaluation.
        part: Name of the part that draws, such as `"corruption/fog/3"`.
        indices: Indices of the images in their dataset.

    Returns:
        List of `numpy.random.Generator`.
    """
    return [np.random.default_rng([seed, zlib.crc32(part.encode()), int(index)]) for index in indices]
