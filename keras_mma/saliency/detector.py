"""What the detectors of this package have in common."""

import numpy as np
from keras import ops

from keras_mma.backend import compiled
from keras_mma.saliency.thumbnail import on_thumbnail

# By identity: a user's wrapper of one of them, to which its attributes were copied, is none.
_BUILT_IN = []
_LARGEST = float(np.finfo("float32").max)


def detector(function):
    """Make a detector of a pure function from images to `finite` maps: it takes `size`, and it is compiled."""
    detect = compiled(on_thumbnail(function))
    _BUILT_IN.append(detect)
    return detect


def is_built_in(detector):
    """Whether a callable is a detector of this package, which takes `size` and gives finite maps by itself."""
    return any(detector is known for known in _BUILT_IN)


def finite(maps):
    """Float32 maps, without NaN, infinities and negative values."""
    maps = ops.cast(maps, "float32")
    # NaN is not greater than 0 either.
    return ops.minimum(ops.where(maps > 0.0, maps, 0.0), _LARGEST)
