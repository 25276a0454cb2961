"""Detectors on thumbnails."""

import functools
import numbers

from keras import ops

from keras_mma.resampling import resize
from keras_mma.saliency.grayscale import to_bytes


def on_thumbnail(detector):
    """Give a detector the argument `size`: the height and width at which it looks, its map resized back.

    The thumbnail has levels 0 to 255 whatever the range of the images, so that the range does not matter here either.
    """

    @functools.wraps(detector)
    def detect(images, size=None):
        if size is None:
            return detector(images)
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"`size` must be a whole number of pixels from 1, or None. Received: size={size!r}")
        size = int(size)
        height, width = ops.shape(images)[1:3]
        small = ops.floor(resize(to_bytes(images), size, size, "area") + 0.5)
        return resize(detector(small), height, width, "bilinear")

    del detect.__wrapped__  # its signature has no `size`
    return detect
