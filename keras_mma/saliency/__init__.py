"""Saliency detectors: images (batch, height, width, channels) to maps (batch, height, width, 1)."""

from keras_mma.saliency.fine_grained import fine_grained
from keras_mma.saliency.registry import get
from keras_mma.saliency.spectral_residual import spectral_residual

__all__ = ["fine_grained", "get", "spectral_residual"]
