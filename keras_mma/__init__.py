"""Saliency-guided and feature-level mixing for Keras 3."""

from keras_mma import callbacks, layers, models, plans, saliency
from keras_mma.models import MixModel, mixify, mixing_points

__version__ = "0.1.0"

__all__ = ["MixModel", "callbacks", "layers", "mixify", "mixing_points", "models", "plans", "saliency", "__version__"]
