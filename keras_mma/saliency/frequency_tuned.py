"""Frequency-tuned saliency (Achanta et al. 2009)."""

from keras import ops

from keras_mma.saliency.detectors import built_in, sanitize_maps
from keras_mma.saliency.image_processing import blur, to_rgb_levels

# Linear RGB (BT.709 primaries, D65) to XYZ, each row divided by the white point.
_TO_XYZ = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)


@built_in
def frequency_tuned(images):
    """Distance of the color of each blurred pixel from the mean color of its image, in CIE Lab.

        S = || mean(I) - I_blurred ||_2,    scaled to a maximum of 1

    with a 5 x 5 binomial blur.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range; gray unless there are three channels.
        size: Height and width in pixels at which the detector works, or `None` for those of the images.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    Example:

    >>> images = np.zeros((1, 32, 32, 3))
    >>> images[:, 8:12, 20:24] = 255  # a white square
    >>> maps = keras_mma.saliency.frequency_tuned(images)
    >>> tuple(maps.shape), bool(maps[0, 10, 22, 0] > maps[0, 25, 5, 0])
    ((1, 32, 32, 1), True)

    References:
        - R. Achanta, S. Hemami, F. Estrada, S. Süsstrunk, Frequency-tuned salient region detection, CVPR 2009,
          equation 4.
    """
    rgb = to_rgb_levels(images) / 255.0
    x, y, z = (
        # Differences from the first pixel: their sums lose no digits, and in a constant image they are 0.
        blur(plane, (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16))
        - first
        - ops.mean(plane - first, axis=(1, 2), keepdims=True)
        for plane, first in zip(responses(rgb), responses(rgb[:, :1, :1]), strict=True)
    )
    # L, a and b are linear in these three planes, which are cheaper to blur.
    saliency = ops.sqrt(ops.square(116.0 * y) + ops.square(500.0 * (x - y)) + ops.square(200.0 * (y - z)))
    saliency = ops.expand_dims(saliency, -1)
    maximum = ops.max(saliency, axis=(1, 2, 3), keepdims=True)
    # On a constant image only rounding errors are left.
    return sanitize_maps(ops.where(maximum > 1e-3, saliency / ops.where(maximum > 1e-3, maximum, 1.0), 0.0))


def responses(rgb):
    """The components of CIE L*a*b*: f(X), f(Y) and f(Z).

        L = 116 f(Y) - 16,    a = 500 (f(X) - f(Y)),    b = 200 (f(Y) - f(Z))

    Args:
        rgb: sRGB in [0, 1] under D65, float32 tensor (..., 3).

    Returns:
        Three float32 tensors (...).
    """
    linear = ops.where(rgb > 0.04045, _power((ops.maximum(rgb, 0.0) + 0.055) / 1.055, 2.4), rgb / 12.92)
    red, green, blue = (linear[..., channel] for channel in range(3))
    return [_cube_root(r * red + g * green + b * blue) for r, g, b in _TO_XYZ]


def _cube_root(t):
    """CIE's cube root, which is linear near 0."""
    limit = (6 / 29) ** 3
    return ops.where(t > limit, _power(ops.maximum(t, limit), 1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)


def _power(x, exponent):
    """Power of positive numbers. On a CPU, XLA vectorizes `exp` and `log`, but not `power`."""
    return ops.exp(exponent * ops.log(x))
