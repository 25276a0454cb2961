"""Fine-grained saliency (Montabone & Soto 2010), SaliencyMix's choice."""

from keras import ops

from keras_mma.saliency.filters import blur
from keras_mma.saliency.grayscale import to_gray
from keras_mma.saliency.thumbnail import on_thumbnail

WINDOWS = (12, 24, 48, 28, 56, 112)


@on_thumbnail
def fine_grained(images):
    """Centre-surround differences over six window sizes, as OpenCV's `StaticSaliencyFineGrained` computes them.

    With g the grey image after two 3 x 3 binomial blurs, and m_n the mean of the window of rows
    [y - n + 1, y + n] and columns [x - n + 1, x + n], clipped at the border, without its centre:

        on  = sum_n floor(max(g - m_n, 0)),    off = sum_n floor(max(m_n - g, 0)),    n in WINDOWS
        S   = floor(255 s / max s) / 255,    s = min(on' + off', 255),
        on' = floor(255 on / max on), off' likewise

    Two deliberate differences: a constant image, where OpenCV divides 0 by 0, gives 0 everywhere; and where
    on' + off' exceeds 255 (in about one natural crop of a hundred) OpenCV's byte wraps around and its most
    salient pixel becomes its least, while ours stays at 255.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range.
        size: Height and width of the thumbnail to work on, or `None` for the images' own.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    References:
        - S. Montabone, A. Soto, Human detection using a mobile platform and novel features derived from a
          visual saliency mechanism, Image and Vision Computing 28 (2010).
    """
    gray = _blur(_blur(to_gray(images)))
    height, width = ops.shape(gray)[1:3]
    integral = _integral(gray)
    on, off = ops.zeros_like(gray), ops.zeros_like(gray)
    for window in WINDOWS:
        rows, row_count = _windows(integral, window, height, axis=1)
        sums, column_count = _windows(rows, window, width, axis=2)
        area = row_count[:, None] * column_count[None, :]
        # g - m = (g area - sum) / (area - 1). The numerator is a whole number: half a unit more decides exact
        # quotients rightly however the division is rounded.
        difference = gray * area - ops.cast(sums, "float32")
        others = ops.maximum(area - 1.0, 1.0)
        on = on + ops.floor((ops.maximum(difference, 0.0) + 0.5) / others)
        off = off + ops.floor((ops.maximum(-difference, 0.0) + 0.5) / others)
    both = ops.minimum(_to_levels(on) + _to_levels(off), 255.0)
    return ops.expand_dims(_to_levels(both) / 255.0, -1)


def _blur(gray):
    """[1 2 1] x [1 2 1] / 16, rounded to whole levels."""
    return ops.floor(blur(gray, (0.25, 0.5, 0.25)) + 0.5)


def _integral(gray):
    """Sums over all rows above and columns to the left, with a leading row and column of zeros, exact in int32."""
    sums = ops.cumsum(ops.cumsum(ops.cast(gray, "int32"), axis=1), axis=2)
    return ops.pad(sums, ((0, 0), (1, 0), (1, 0)))


def _windows(integral, window, size, axis):
    """Sums over [i - window + 1, i + window] along an axis of an integral image, and how many pixels each holds."""
    index = ops.arange(size, dtype="int32")
    end = ops.minimum(index + (window + 1), size)
    start = ops.maximum(index - (window - 1), 0)
    sums = ops.take(integral, end, axis=axis) - ops.take(integral, start, axis=axis)
    return sums, ops.cast(end - start, "float32")


def _to_levels(values):
    """Whole levels 0 to 255 by the maximum of each image."""
    maximum = ops.max(values, axis=(1, 2), keepdims=True)
    return ops.floor(255.0 * (values / ops.where(maximum > 0.0, maximum, 1.0)))
