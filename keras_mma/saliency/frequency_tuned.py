"""Frequency-tuned saliency (Achanta et al. 2009)."""

from keras import ops

from keras_mma.saliency.detector import detector, finite
from keras_mma.saliency.filters import blur
from keras_mma.saliency.grayscale import to_rgb_bytes

# Linear RGB (BT.709 primaries, D65) to XYZ, each row divided by the white point.
_TO_XYZ = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)


@detector
def frequency_tuned(images):
    """Distance of each blurred pixel's colour from the mean colour of its image, in CIE Lab.

        S = || mean(I) - I_blurred ||_2,    scaled to a maximum of 1

    with a 5 x 5 binomial blur.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range; grey if not three channels.
        size: Height and width of the thumbnail to work on, or `None` for the images' own.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    References:
        - R. Achanta, S. Hemami, F. Estrada, S. Süsstrunk, Frequency-tuned salient region detection, CVPR 2009,
          equation 4.
    """
    lab = to_lab(to_rgb_bytes(images) / 255.0)
    mean = ops.mean(lab, axis=(1, 2), keepdims=True)
    difference = blur(lab, (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)) - mean
    saliency = ops.sqrt(ops.sum(ops.square(difference), axis=-1, keepdims=True))
    maximum = ops.max(saliency, axis=(1, 2, 3), keepdims=True)
    # A constant image leaves rounding alone.
    return finite(ops.where(maximum > 1e-3, saliency / ops.where(maximum > 1e-3, maximum, 1.0), 0.0))


def to_lab(rgb):
    """SRGB in [0, 1] to CIE L*a*b* under D65.

    Args:
        rgb: Float32 tensor (..., 3).

    Returns:
        A float32 tensor (..., 3): L in [0, 100], a and b about in [-127, 127].
    """
    linear = ops.where(rgb > 0.04045, ops.power((ops.maximum(rgb, 0.0) + 0.055) / 1.055, 2.4), rgb / 12.92)
    red, green, blue = (linear[..., channel] for channel in range(3))
    x, y, z = (_cube_root(r * red + g * green + b * blue) for r, g, b in _TO_XYZ)
    return ops.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _cube_root(t):
    """CIE's cube root, which is a line near 0."""
    limit = (6 / 29) ** 3
    return ops.where(t > limit, ops.power(ops.maximum(t, limit), 1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
