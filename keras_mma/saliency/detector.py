"""What the detectors of this package have in common."""

import numpy as np
from keras import ops

from keras_mma.backend import compiled
from keras_mma.saliency.thumbnail import on_thumbnail

_LARGEST = float(np.finfo("float32").max)


def detector(function):
    """Make a detector of a pure function from images to `finite` maps: it takes `size`, and it is compiled."""
    detect = compiled(on_thumbnail(function))
    detect.is_complete = True
    return detect


def is_complete(detector):
    """Whether a callable takes `size` and gives finite maps by itself."""
    return getattr(detector, "is_complete", False)


def finite(maps):
    """Float32 maps, without NaN, infinities and negative values."""
    maps = ops.cast(maps, "float32")
    # NaN is not greater than 0 either.
    return ops.minimum(ops.where(maps > 0.0, maps, 0.0), _LARGEST)
