"""Detectors over groups of images that fit into a processor's cache."""

import functools

from keras import ops

from keras_mma.backend import is_compiled_for_processor, row_groups

#: Pixels of a group. A detector's intermediate maps take about 50 bytes for each.
PIXELS = 2**18


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
        if row_groups(size) > 1:
            return detector(images)  # slices of a batch that is spread over devices would travel
        limit = max(1, PIXELS // (height * width))
        if isinstance(size, int) and size <= limit:
            return detector(images)
        # Batches are mostly multiples of a power of two.
        group = 1 << (limit.bit_length() - 1)
        if not isinstance(size, int):
            group = ops.minimum(group, size)

        def look(number, maps):
            # The last group reaches back into the one before it where the size is no multiple.
            start = ops.minimum(number * group, size - group)
            part = ops.slice(images, (start, 0, 0, 0), (group, height, width, images.shape[3]))
            return ops.slice_update(maps, (start, 0, 0, 0), detector(part))

        return ops.fori_loop(0, -(-size // group), look, ops.zeros((size, height, width, 1), "float32"))

    return detect
