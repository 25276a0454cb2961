"""The noise map of SaliencyMix's published code: floats that OpenCV's fine-grained detector reads as bytes."""

from keras import ops

from keras_mma.saliency.detectors import built_in, sanitize_maps
from keras_mma.saliency.fine_grained import WINDOWS
from keras_mma.saliency.image_processing import blur, is_rgb, to_levels

# The published code standardizes CIFAR's images by these levels before it looks for saliency.
_MEAN, _STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
# The published code passes RGB images to a function that expects BGR.
_GRAY_WEIGHTS = (0.114, 0.587, 0.299)


@built_in
def fine_grained_misread(images):
    """The saliency map that the published code of SaliencyMix computes, which is nearly noise.

    That code passes standardized float images to OpenCV's `StaticSaliencyFineGrained`, which expects uint8. OpenCV
    converts nothing: the image stays float32 while it is reduced to gray and blurred, and the value at the center of
    each window is then read as the byte of that index in the row. A row of width W is thereby replaced by the bytes
    of its first W / 4 floats. With g the gray image after the blurs, b its bytes and m_n the mean of the window as in
    `fine_grained`, but of floats and minus b at the center:

        on  = sum_n floor(max(b - m_n, 0)) mod 256,    off = sum_n floor(max(m_n - b, 0)) mod 256
        S   = floor(255 s / max(on', off')) / 255 mod 256 / 255,    s = on' + off'
        on' = floor(255 on / max on), off' likewise

    It exists for one ablation, `SaliencyMix(detector="fine_grained_misread", border="clip", box="batch",
    ties="first")`; use `fine_grained` for anything else. The two low bytes of a float depend on how its last digits
    were rounded, so that the maps are equal to OpenCV's only where the arithmetic is exact.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range. Levels 0 to 255 are standardized by
            the published mean and standard deviation of CIFAR-10. Three channels are read as BGR, as published, and
            any other number is averaged.
        size: Height and width in pixels at which the detector works, or `None` for those of the images.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    Example:

    >>> maps = keras_mma.saliency.fine_grained_misread(np.random.randint(0, 256, (1, 32, 32, 3), "uint8"))
    >>> tuple(maps.shape)
    (1, 32, 32, 1)

    References:
        - A. F. M. S. Uddin et al., SaliencyMix: a saliency guided data augmentation strategy for better
          regularization, ICLR 2021, arXiv:2006.01791; github.com/afm-shahab-uddin/SaliencyMix at 9ee02b8.
    """
    levels = to_levels(images) / 255.0
    if is_rgb(images):
        mean, std = (ops.convert_to_tensor(values, "float32") / 255.0 for values in (_MEAN, _STD))
        gray = ops.sum((levels - mean) / std * ops.convert_to_tensor(_GRAY_WEIGHTS, "float32"), axis=-1)
    else:
        gray = (ops.mean(levels, axis=-1) - sum(_MEAN) / 765.0) / (sum(_STD) / 765.0)
    return sanitize_maps(ops.expand_dims(misread(gray), -1))


def misread(gray):
    """The map of float32 images (batch, height, width), before they are blurred."""
    for _ in range(2):
        gray = blur(gray, (0.25, 0.5, 0.25))
    height, width = ops.shape(gray)[1:]
    bytes_ = ops.cast(row_bytes(gray), "float32")
    on = off = 0.0
    for window in WINDOWS:
        rows, columns = _within(window, height), _within(window, width)
        total = ops.matmul(ops.matmul(rows, gray), ops.transpose(columns))
        area = ops.sum(rows, axis=1)[:, None] * ops.sum(columns, axis=1)
        mean = (total - bytes_) / ops.maximum(area - 1.0, 1.0)
        on = on + _to_uint8(bytes_ - mean)
        off = off + _to_uint8(mean - bytes_)
    on, off = (_to_uint8(255.0 * (x / _at_least_one(_maximum(x)))) for x in (on, off))
    return _to_uint8(255.0 * (on + off) / _at_least_one(ops.maximum(_maximum(on), _maximum(off)))) / 255.0


def row_bytes(values):
    """The first bytes of each row, as many as it has values: little-endian, int32 (batch, height, width)."""
    size, height, width = ops.shape(values)
    # The last axis is static: on TensorFlow `view` takes no other.
    bits = ops.view(ops.expand_dims(values[:, :, : (width + 3) // 4], -1), dtype="int32")
    parts = [ops.bitwise_and(ops.right_shift(bits, shift), 255) for shift in (0, 8, 16, 24)]
    return ops.reshape(ops.concatenate(parts, axis=-1), (size, height, -1))[:, :, :width]


def _within(window, length):
    """Matrix (length, length): 1 where the column belongs to the window of the row."""
    index = ops.arange(length, dtype="int32")
    offset = index[None, :] - index[:, None]
    return ops.cast(ops.logical_and(offset > -window, offset <= window), "float32")


def _to_uint8(values):
    """A cast to uint8 in C: positive values are rounded down and wrap around, others become 0."""
    return ops.mod(ops.floor(ops.maximum(values, 0.0)), 256.0)


def _maximum(values):
    return ops.max(values, axis=(1, 2), keepdims=True)


def _at_least_one(maximum):
    """A maximum of 0 is that of zeros: OpenCV casts 0 / 0 to 0."""
    return ops.maximum(maximum, 1.0)
