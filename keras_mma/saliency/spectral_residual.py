"""Spectral-residual saliency (Hou & Zhang 2007)."""

import math

from keras import ops

from keras_mma.resampling import resize
from keras_mma.saliency.detector import built_in, chunked, sanitize_maps
from keras_mma.saliency.filters import blur
from keras_mma.saliency.grayscale import to_gray

SIZE = 64
_SIGMA = 8.0


@built_in
def spectral_residual(images):
    """The part of the log spectrum that its local mean does not explain.

    With F the spectrum of the image as 64 x 64 gray levels:

        R = log|F| - mean_3x3(log|F|),    S = (G * |IFFT(exp(R) F / |F|)|)^2

    with G a 5 x 5 Gaussian of sigma 8, as in OpenCV's `StaticSaliencySpectralResidual`. The map is scaled to a
    maximum of 1 and resized to the images.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range.
        size: Height and width in pixels at which the detector works, or `None` for those of the images.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    References:
        - X. Hou, L. Zhang, Saliency detection: a spectral residual approach, CVPR 2007.
    """
    height, width = ops.shape(images)[1:3]
    small = resize(ops.expand_dims(to_gray(images), -1), SIZE, SIZE, "bilinear")
    return resize(_detect(small), height, width, "bilinear")


@chunked
def _detect(gray):
    """The maps of gray images (batch, SIZE, SIZE, 1)."""
    gray = ops.squeeze(gray, -1)
    real, imaginary = ops.fft2((gray, ops.zeros_like(gray)))
    amplitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
    log_amplitude = ops.log(ops.maximum(amplitude, 1e-6))
    residual = log_amplitude - blur(log_amplitude, [1 / 3] * 3)
    gain = ops.exp(residual) / ops.maximum(amplitude, 1e-6)
    real, imaginary = ops.ifft2((real * gain, imaginary * gain))
    magnitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
    weights = [math.exp(-(offset**2) / (2 * _SIGMA**2)) for offset in range(-2, 3)]
    saliency = ops.square(blur(magnitude, [weight / sum(weights) for weight in weights]))
    maximum = ops.max(saliency, axis=(1, 2), keepdims=True)
    return sanitize_maps(ops.expand_dims(saliency / ops.where(maximum > 0.0, maximum, 1.0), -1))
