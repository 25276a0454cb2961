"""Robustness of an image classifier: a SavedModel in, a report out. Needs the `robustness` extra."""

from keras_mma.errors import InputError
from keras_mma.robustness.corruptions import corrupt
from keras_mma.robustness.deformations import deform
from keras_mma.robustness.evaluate import NotRepeatable, evaluate
from keras_mma.robustness.model import Classifier, load
from keras_mma.robustness.occlusion import occlude
from keras_mma.robustness.preprocess import Preprocess

__all__ = [
    "Classifier",
    "InputError",
    "NotRepeatable",
    "Preprocess",
    "corrupt",
    "deform",
    "evaluate",
    "load",
    "occlude",
]
