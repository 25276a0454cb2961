"""Spectral-residual saliency (Hou & Zhang 2007)."""

from keras import ops

from keras_mma.resampling import resize
from keras_mma.saliency.detectors import built_in, chunked, sanitize_maps
from keras_mma.saliency.image_processing import blur, edge_pad, gaussian, reflect_pad, separable, to_gray

SIZE = 64
MAX_SIZE = 128


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

    Example:

    >>> images = np.zeros((1, 32, 32, 3))
    >>> images[:, 8:12, 20:24] = 255  # a white square
    >>> maps = keras_mma.saliency.spectral_residual(images)
    >>> tuple(maps.shape), bool(maps[0, 10, 22, 0] > maps[0, 25, 5, 0])
    ((1, 32, 32, 1), True)

    References:
        - X. Hou, L. Zhang, Saliency detection: a spectral residual approach, CVPR 2007.
    """
    height, width = ops.shape(images)[1:3]
    small = resize(ops.expand_dims(to_gray(images), -1), SIZE, SIZE, "bilinear")
    return resize(_detect_squared(small), height, width, "bilinear")


@built_in
def smooth_spectral_residual(images):
    """The spectral residual at the resolution of the image, as the authors of GuidedMixup compute it.

    With F the spectrum of the gray levels:

        R = log|F| - mean_3x3(log|F|),    S = G * |IFFT(exp(R) F / |F|)|

    with G a 7 x 7 Gaussian of sigma 3. Unlike `spectral_residual`, the map is not squared. Sides above 128 pixels are
    reduced to 128. The map is scaled to a maximum of 1.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range.
        size: Height and width in pixels at which the detector works, or `None` for those of the images.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    Example:

    >>> images = np.zeros((1, 32, 32, 3))
    >>> images[:, 8:12, 20:24] = 255  # a white square
    >>> maps = keras_mma.saliency.smooth_spectral_residual(images)
    >>> tuple(maps.shape), bool(maps[0, 10, 22, 0] > maps[0, 25, 5, 0])
    ((1, 32, 32, 1), True)

    References:
        - X. Hou, L. Zhang, Saliency detection: a spectral residual approach, CVPR 2007.
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612.
    """
    height, width = ops.shape(images)[1:3]
    gray = ops.expand_dims(to_gray(images), -1)
    # Static sides stay Python integers.
    sides = (min(side, MAX_SIZE) if isinstance(side, int) else ops.minimum(side, MAX_SIZE) for side in (height, width))
    small = resize(gray, *sides)
    return resize(_detect_smooth(small), height, width, "bilinear")


@chunked
def _detect_squared(gray):
    """The maps of gray images (batch, SIZE, SIZE, 1)."""
    magnitude = _magnitude(ops.squeeze(gray, -1), reflect_pad)
    return _normalize(ops.square(blur(magnitude, gaussian(5, 8.0))))


@chunked
def _detect_smooth(gray):
    """The maps of gray images (batch, height, width, 1)."""
    return _normalize(blur(_magnitude(ops.squeeze(gray, -1), edge_pad), gaussian(7, 3.0)))


def _magnitude(gray, pad):
    """|IFFT(exp(R) F / |F|)|."""
    real, imaginary = ops.fft2((gray, ops.zeros_like(gray)))
    amplitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
    log_amplitude = ops.log(ops.maximum(amplitude, 1e-6))
    residual = log_amplitude - separable(log_amplitude, [1 / 3] * 3, pad)
    gain = ops.exp(residual) / ops.maximum(amplitude, 1e-6)
    real, imaginary = ops.ifft2((real * gain, imaginary * gain))
    return ops.sqrt(ops.square(real) + ops.square(imaginary))


def _normalize(saliency):
    maximum = ops.max(saliency, axis=(1, 2), keepdims=True)
    return sanitize_maps(ops.expand_dims(saliency / ops.where(maximum > 0.0, maximum, 1.0), -1))
