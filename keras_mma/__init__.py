"""Saliency-guided and feature-level mixing for Keras 3."""

from keras_mma import callbacks, layers, metrics, models, plans, saliency
from keras_mma._version import __version__
from keras_mma.models import MixModel, mixify, mixing_points

__all__ = [
    "MixModel",
    "callbacks",
    "layers",
    "metrics",
    "mixify",
    "mixing_points",
    "models",
    "plans",
    "saliency",
    "__version__",
]
