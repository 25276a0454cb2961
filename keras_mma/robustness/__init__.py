"""Robustness of an image classifier: a SavedModel in, a report out. Needs the `robustness` extra."""

from keras_mma.errors import InputError
from keras_mma.robustness.classifier import Classifier, Preprocess, load
from keras_mma.robustness.comparison import compare
from keras_mma.robustness.evaluation import NotRepeatable, evaluate
from keras_mma.robustness.options import Options
from keras_mma.robustness.perturbations import corrupt, deform, occlude
from keras_mma.robustness.report import headlines

__all__ = [
    "Classifier",
    "InputError",
    "NotRepeatable",
    "Options",
    "Preprocess",
    "compare",
    "corrupt",
    "deform",
    "evaluate",
    "headlines",
    "load",
    "occlude",
]
