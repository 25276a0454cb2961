"""Detectors over groups of images that fit into a processor's cache."""

import functools
import math

from keras import ops

from keras_mma.backend import is_compiled_for_processor

#: Pixels of a group. A detector's intermediate maps take about 50 bytes for each.
PIXELS = 2**19


def in_groups(detector):
    """Let a detector work on a few images at a time where it runs on a processor.

    Over a whole batch of large images its intermediate maps go to the main memory and back, many times. Accelerators
    have the bandwidth for that, and rather see the batch at once.
    """

    @functools.wraps(detector)
    def detect(images):
        size, height, width = ops.shape(images)[:3]
        if not is_compiled_for_processor() or not isinstance(height, int) or not isinstance(width, int):
            return detector(images)
        limit = max(1, PIXELS // (height * width))
        if isinstance(size, int) and size <= limit:
            return detector(images)
        # Batches are mostly multiples of a power of two: no image is looked at twice.
        group = 2 ** int(math.log2(limit))
        if not isinstance(size, int):
            group = ops.minimum(group, size)
        groups = -(-size // group)
        # The last group reaches back into the one before it where the size is no multiple.
        starts = ops.minimum(ops.arange(groups, dtype="int32") * group, size - group)
        shape = (group, height, width, images.shape[3])
        maps = ops.map(lambda start: detector(ops.slice(images, (start, 0, 0, 0), shape)), starts)
        before = (groups - 1) * group
        if isinstance(size, int) and before + group == size:
            return ops.reshape(maps, (size, height, width, 1))
        first = ops.reshape(maps[:-1], (before, height, width, 1))
        return ops.concatenate([first, maps[-1, before + group - size :]], axis=0)

    return detect
