"""Labeled images by name: one loader, one split and one resize for training, evaluation and study.

`load(name)` returns the `Parts` of a dataset. Each part, `train`, `validation` or `test`, is a `Dataset` that is read
at its first access.
"""

from keras_mma.datasets.arrays import file_stamp, read_npy
from keras_mma.datasets.dataset import Dataset, balanced_indices
from keras_mma.datasets.folder import FORMATS
from keras_mma.datasets.loading import NAMES, PARTS, Parts, load
from keras_mma.datasets.resizing import MAX_PIXELS, RESIZES

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "NAMES",
    "PARTS",
    "RESIZES",
    "Dataset",
    "Parts",
    "balanced_indices",
    "file_stamp",
    "load",
    "read_npy",
]
