"""Fine-grained saliency (Montabone & Soto 2010), SaliencyMix's choice."""

import collections

import numpy as np
from keras import ops

from keras_mma.saliency.detectors import built_in, chunked, sanitize_maps
from keras_mma.saliency.image_processing import convolve, reflect_pad, to_gray

WINDOWS = (12, 24, 48, 28, 56, 112)
# Running sums are computed in blocks of this many pixels: XLA's own cumulative sum needs many more additions on a CPU.
_BLOCK = 16
# `on` and `off` are below 255 for each window, so one float32 holds both exactly, as on + _OFF off.
_OFF = 4096.0


@built_in
def fine_grained(images):
    """Center-surround differences over six window sizes, as OpenCV's `StaticSaliencyFineGrained` computes them.

    With g the gray image after two 3 x 3 binomial blurs, and m_n the mean of the window of rows
    [y - n + 1, y + n] and columns [x - n + 1, x + n], clipped at the border, without its center:

        on  = sum_n floor(max(g - m_n, 0)),    off = sum_n floor(max(m_n - g, 0)),    n in WINDOWS
        S   = floor(255 s / max s) / 255,    s = min(on' + off', 255),
        on' = floor(255 on / max on), off' likewise

    There are two deliberate differences. A constant image, for which OpenCV divides 0 by 0, gives 0 everywhere. Where
    on' + off' exceeds 255 (in about one natural crop of a hundred), OpenCV's uint8 wraps around and the most salient
    pixel becomes the least salient one; here it stays at 255.

    Args:
        images: Tensor (batch, height, width, channels) of any dtype and range.
        size: Height and width in pixels at which the detector works, or `None` for those of the images.

    Returns:
        A float32 tensor (batch, height, width, 1) in [0, 1].

    Example:

    >>> images = np.zeros((1, 32, 32, 3))
    >>> images[:, 8:12, 20:24] = 255  # a white square
    >>> maps = keras_mma.saliency.fine_grained(images)
    >>> tuple(maps.shape), bool(maps[0, 10, 22, 0] > maps[0, 25, 5, 0])
    ((1, 32, 32, 1), True)

    References:
        - S. Montabone, A. Soto, Human detection using a mobile platform and novel features derived from a
          visual saliency mechanism, Image and Vision Computing 28 (2010).
    """
    gray = to_gray(images)
    gray = ops.where(ops.isnan(gray), 0.0, gray)  # uint8 has no NaN
    # As uint8, the gray images of the batch take a fourth of the memory.
    return _detect(ops.cast(ops.expand_dims(gray, -1), "uint8"))


@chunked
def _detect(gray):
    """The maps of gray uint8 images (batch, height, width, 1)."""
    gray = _blur(ops.cast(ops.squeeze(gray, -1), "float32"), times=2)
    return sanitize_maps(ops.expand_dims(_normalize(_center_surround(gray)), -1))


def _blur(gray, times):
    """[1 2 1] x [1 2 1] / 16, rounded to integer levels, applied `times` times."""
    # A symmetric filter maps a reflected image to a reflected image: the border is padded once.
    for axis in (1, 2):
        gray = reflect_pad(gray, times, axis)
    for _ in range(times):
        for axis in (1, 2):
            gray = convolve(gray, (0.25, 0.5, 0.25), axis)
        gray = ops.floor(gray + 0.5)
    return gray


def _center_surround(gray):
    """`on + _OFF * off`: with both in one number, compilers make a single pass over the six windows."""
    sizes = ops.shape(gray)[1:3]
    # A window that reaches beyond the image on both sides contains all of it.
    margins = [min(max(WINDOWS), size) if isinstance(size, int) else max(WINDOWS) for size in sizes]
    integral = _integral(gray, margins)
    on_and_off = 0.0
    # Windows that contain all of a small image are the same one: its levels, which are integers, count several times.
    reaches = collections.Counter(tuple(min(window, margin) for margin in margins) for window in WINDOWS)
    for window_reaches, repetitions in reaches.items():
        sums = integral
        for axis, (size, margin, reach) in enumerate(zip(sizes, margins, window_reaches, strict=True), 1):
            sums = _window(sums, margin + reach, size, axis) - _window(sums, margin - reach, size, axis)
        height, width = map(_window_lengths, sizes, window_reaches)
        area = ops.multiply(height[:, None], width[None, :])
        # g - m = (g area - sum) / (area - 1). The numerator is an integer: adding half a unit makes the floor of exact
        # quotients right however the division is rounded.
        difference = gray * area - ops.cast(sums, "float32")
        level = ops.floor((ops.abs(difference) + 0.5) / ops.maximum(area - 1.0, 1.0))
        level = level if repetitions == 1 else repetitions * level
        on_and_off = on_and_off + ops.where(difference > 0.0, level, _OFF * level)
    return on_and_off


def _window_lengths(size, reach):
    """The length of the window around each place of an axis, clipped at the border, float32 (size,)."""
    # A static size needs no operations: tracing each of them takes longer than a call.
    module = np if isinstance(size, int) else ops
    index = module.arange(size, dtype="int32")
    lengths = module.minimum(index + reach, size - 1) - module.maximum(index - reach, -1)
    return lengths.astype("float32") if module is np else ops.cast(lengths, "float32")


def _normalize(on_and_off):
    """The map, from `on + _OFF * off`."""
    off = ops.floor(on_and_off / _OFF)
    on = on_and_off - _OFF * off
    # The larger `off` decides which of two such numbers is larger; with the roles exchanged, `on` does.
    highest_off = ops.floor(_maximum(on_and_off) / _OFF)
    highest_on = ops.floor(_maximum(_OFF * on + off) / _OFF)
    sums = ops.minimum(_to_levels(on, highest_on) + _to_levels(off, highest_off), 255.0)
    return _to_levels(sums, _maximum(sums)) / 255.0


def _integral(gray, margins):
    """Integral image, int32, padded by margins: with 0 before, and with the last sum after."""
    size, height, width = ops.shape(gray)
    blocks = -(-width // _BLOCK)
    # Along the rows as a matrix product, which is exact in any precision that holds 0 to 255.
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


def _join(sums, axis, shape):
    """Running sums over the axis from those within blocks: the totals of the previous blocks are added.

    Args:
        sums: Tensor (batch, ..., blocks, _BLOCK, ...), the blocks along `axis`.
        axis: The axis of the blocks.
        shape: The shape without blocks.
    """
    if sums.shape[axis] == 1:
        return ops.reshape(sums, shape)
    total = ops.take(sums, _BLOCK - 1, axis=axis + 1)
    return ops.reshape(sums + ops.expand_dims(ops.cumsum(total, axis=axis) - total, axis + 1), shape)


def _pad_end(x, count, axis):
    if isinstance(count, int) and count == 0:
        return x
    return ops.pad(x, [(0, count if number == axis else 0) for number in range(3)])


def _window(x, start, length, axis):
    return x[:, start : start + length] if axis == 1 else x[:, :, start : start + length]


def _maximum(x):
    return ops.max(x, axis=(1, 2), keepdims=True)


def _to_levels(values, maximum):
    """Integer levels 0 to 255, relative to the maximum of each image."""
    return ops.floor(255.0 * (values / ops.where(maximum > 0.0, maximum, 1.0)))
