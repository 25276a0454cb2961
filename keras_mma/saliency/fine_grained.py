"""Fine-grained saliency (Montabone & Soto 2010), SaliencyMix's choice."""

import numpy as np
from keras import ops

from keras_mma.saliency.detector import detector, finite
from keras_mma.saliency.filters import mirror, slide
from keras_mma.saliency.grayscale import to_gray
from keras_mma.saliency.groups import in_groups

WINDOWS = (12, 24, 48, 28, 56, 112)
# Running sums go over blocks of this many pixels: few additions for each, where XLA's own need many on a processor.
_BLOCK = 16
# `on` and `off` are below 255 for each window: one float32 holds both exactly, as on + _OFF off.
_OFF = 4096.0


@detector
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
    gray = to_gray(images)
    gray = ops.where(ops.isnan(gray), 0.0, gray)  # no byte means NaN
    # As bytes, the whole batch's grey images are a fourth of what they were.
    return _of_gray(ops.cast(ops.expand_dims(gray, -1), "uint8"))


@in_groups
def _of_gray(gray):
    """The maps of grey bytes (batch, height, width, 1)."""
    gray = _blur(ops.cast(ops.squeeze(gray, -1), "float32"), times=2)
    return finite(ops.expand_dims(_normalize(_centre_surround(gray)), -1))


def _blur(gray, times=1):
    """[1 2 1] x [1 2 1] / 16, rounded to whole levels, some times over."""
    # What a symmetric filter makes of a mirrored image is mirrored: one border serves every time.
    for axis in (1, 2):
        gray = mirror(gray, times, axis)
    for _ in range(times):
        for axis in (1, 2):
            gray = slide(gray, (0.25, 0.5, 0.25), axis)
        gray = ops.floor(gray + 0.5)
    return gray


def _centre_surround(gray):
    """`on + _OFF * off`: in one number, so that compilers make one pass of the six windows and not one for each sum."""
    sizes = ops.shape(gray)[1:3]
    # A window that is longer than the image on both sides holds all of it.
    margins = [min(max(WINDOWS), size) if isinstance(size, int) else max(WINDOWS) for size in sizes]
    integral = _integral(gray, margins)
    both = 0.0
    for window in WINDOWS:
        sums, counts = integral, []
        for axis, (size, margin) in enumerate(zip(sizes, margins, strict=True), 1):
            reach = min(window, margin)
            sums = _window(sums, margin + reach, size, axis) - _window(sums, margin - reach, size, axis)
            index = ops.arange(size, dtype="int32")
            count = ops.minimum(index + reach, size - 1) - ops.maximum(index - reach, -1)
            counts.append(ops.cast(count, "float32"))
        area = counts[0][:, None] * counts[1][None, :]
        # g - m = (g area - sum) / (area - 1). The numerator is a whole number: half a unit more decides exact
        # quotients rightly however the division is rounded.
        difference = gray * area - ops.cast(sums, "float32")
        level = ops.floor((ops.abs(difference) + 0.5) / ops.maximum(area - 1.0, 1.0))
        both = both + ops.where(difference > 0.0, level, _OFF * level)
    return both


def _normalize(both):
    """The map, from `on + _OFF * off`."""
    off = ops.floor(both / _OFF)
    on = both - _OFF * off
    # The larger `off` decides which of two such numbers is larger; and with the roles changed, `on`.
    highest_off = ops.floor(_maximum(both) / _OFF)
    highest_on = ops.floor(_maximum(_OFF * on + off) / _OFF)
    sums = ops.minimum(_to_levels(on, highest_on) + _to_levels(off, highest_off), 255.0)
    return _to_levels(sums, _maximum(sums)) / 255.0


def _integral(gray, margins):
    """Sums over all rows and columns up to each pixel, int32, with margins: 0 before, the last sum after."""
    size, height, width = ops.shape(gray)
    blocks = -(-width // _BLOCK)
    # Along the rows as a matrix product, exact in any precision that holds bytes.
    rows = ops.reshape(_pad_end(gray, blocks * _BLOCK - width, 2), (-1, _BLOCK))
    rows = ops.matmul(rows, np.triu(np.ones((_BLOCK, _BLOCK), "float32")))
    rows = _join(ops.reshape(rows, (size, height, blocks, _BLOCK)), 2, (size, height, blocks * _BLOCK))
    rows = ops.cast(_window(rows, 0, width, 2), "int32")
    blocks = -(-height // _BLOCK)
    sums = ops.reshape(_pad_end(rows, blocks * _BLOCK - height, 1), (size, blocks, _BLOCK, width))
    sums = _join(ops.cumsum(sums, axis=2), 1, (size, blocks * _BLOCK, width))
    sums = _window(sums, 0, height, 1)
    for axis in (2, 1):
        shape = list(ops.shape(sums))
        length, shape[axis] = shape[axis], margins[axis - 1]
        last = ops.broadcast_to(_window(sums, length - 1, 1, axis), shape)
        sums = ops.concatenate([ops.zeros(shape, "int32"), sums, last], axis=axis)
    return sums


def _join(inside, axis, shape):
    """Running sums from those inside blocks: the totals of the blocks before are added.

    Args:
        inside: Tensor (batch, ..., blocks, _BLOCK, ...), the blocks along `axis`.
        axis: The axis of the blocks.
        shape: The shape without blocks.
    """
    total = ops.take(inside, _BLOCK - 1, axis=axis + 1)
    return ops.reshape(inside + ops.expand_dims(ops.cumsum(total, axis=axis) - total, axis + 1), shape)


def _pad_end(x, count, axis):
    if isinstance(count, int) and count == 0:
        return x
    return ops.pad(x, [(0, count if number == axis else 0) for number in range(3)])


def _window(x, start, length, axis):
    return x[:, start : start + length] if axis == 1 else x[:, :, start : start + length]


def _maximum(x):
    return ops.max(x, axis=(1, 2), keepdims=True)


def _to_levels(values, maximum):
    """Whole levels 0 to 255 by the maximum of each image."""
    return ops.floor(255.0 * (values / ops.where(maximum > 0.0, maximum, 1.0)))
