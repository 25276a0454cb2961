"""Saliency detectors: images (batch, height, width, channels) to maps (batch, height, width, 1)."""

from keras_mma.saliency.detectors import Detector, get, names, register
from keras_mma.saliency.fine_grained import fine_grained
from keras_mma.saliency.fine_grained_misread import fine_grained_misread
from keras_mma.saliency.frequency_tuned import frequency_tuned
from keras_mma.saliency.spectral_residual import smooth_spectral_residual, spectral_residual

__all__ = [
    "Detector",
    "fine_grained",
    "fine_grained_misread",
    "frequency_tuned",
    "get",
    "names",
    "register",
    "smooth_spectral_residual",
    "spectral_residual",
]
