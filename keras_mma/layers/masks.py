"""The three kinds of mask that a mixer can sample, each applied as cheaply as possible.

A mask says which share of its own image each location keeps. Broadcasting a one-channel mask over RGB images is slow in
uncompiled TensorFlow; `Uniform` and `Box` avoid building one. All three have the same methods:

    leave_out(is_mixed)               the mask, 1 everywhere for the samples where `is_mixed` is false
    find_unmixed()                    booleans (batch,), true where the mask is 1 everywhere
    mean(height, width)               float32 (batch,)
    rasterize(height, width)          float32 (batch, height, width, 1)
    apply(images, partner_images, data_format)
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_mma import moving, plans
from keras_mma.backend import xla_compiled

__all__ = ["Box", "Dense", "Uniform"]


class Uniform(NamedTuple):
    """A mask with the same share everywhere, as in MixUp.

    Args:
        lam: Float32 tensor (batch,) in [0, 1].
    """

    lam: Any
    source = None
    own_source = None

    def leave_out(self, is_mixed):
        return Uniform(ops.where(is_mixed, self.lam, 1.0))

    def find_unmixed(self):
        return self.lam == 1.0

    def mean(self, height, width):
        return self.lam

    def rasterize(self, height, width):
        return ops.broadcast_to(ops.reshape(self.lam, (-1, 1, 1, 1)), (ops.shape(self.lam)[0], height, width, 1))

    def apply(self, images, partner_images, data_format):
        lam = ops.reshape(ops.stop_gradient(self.lam), (-1, 1, 1, 1))
        dtype = keras.backend.standardize_dtype(images.dtype)
        if dtype == "float16":
            return plans.blend(images, partner_images, lam)  # the difference below could overflow
        if keras.backend.is_float_dtype(dtype):
            mixed = images + ops.cast(1.0 - lam, dtype) * (partner_images - images)
        else:
            # Each operation can reuse the buffer of the one before: no second array of this size is needed.
            own = ops.cast(images, "float32")
            mixed = own + (1.0 - lam) * (ops.cast(partner_images, "float32") - own)
            mixed = ops.cast(ops.round(mixed), dtype)
        # Where only one of the two shows, it stays bit for bit; see `plans.blend`.
        return ops.where(lam == 1.0, images, ops.where(lam == 0.0, partner_images, mixed))


class Box(NamedTuple):
    """A mask that is 0 inside a box, where the partner is pasted, and 1 outside, as in CutMix.

    Args:
        rows, columns: Pairs (start, end) of int32 tensors (batch,); `end` is not included.
        source: Optional pair of int32 tensors (batch, height) and (batch, width): the row and the column of the
            partner's image that each pixel shows.
    """

    rows: tuple
    columns: tuple
    source: Any = None
    own_source = None

    def leave_out(self, is_mixed):
        rows, columns = ((start, ops.where(is_mixed, end, start)) for start, end in (self.rows, self.columns))
        return self._replace(rows=rows, columns=columns)

    def find_unmixed(self):
        return self._area() == 0.0

    def mean(self, height, width):
        return 1.0 - self._area() / ops.cast(height * width, "float32")

    def rasterize(self, height, width):
        is_inside = ops.logical_and(inside(self.rows, height)[:, :, None], inside(self.columns, width)[:, None, :])
        return ops.expand_dims(1.0 - ops.cast(is_inside, "float32"), -1)

    def apply(self, images, partner_images, data_format):
        # No multiplication; with channels last, the channels are flattened into the columns.
        shape = ops.shape(images)
        if data_format == "channels_last":
            size, height, width, channels = shape
            rows, columns = inside(self.rows, height), ops.repeat(inside(self.columns, width), channels, axis=1)
            is_inside = ops.logical_and(rows[:, :, None], columns[:, None, :])
            flat = (size, height, width * channels)
        else:
            rows, columns = inside(self.rows, shape[2]), inside(self.columns, shape[3])
            is_inside = ops.logical_and(rows[:, None, :, None], columns[:, None, None, :])
            flat = shape
        pasted = ops.where(is_inside, ops.reshape(partner_images, flat), ops.reshape(images, flat))
        return ops.reshape(pasted, shape)

    def _area(self):
        height, width = (ops.maximum(end - start, 0) for start, end in (self.rows, self.columns))
        return ops.cast(height * width, "float32")


class Dense(NamedTuple):
    """A mask with any share at any location.

    Args:
        values: Float32 tensor (batch, height, width, 1) in [0, 1].
        source, own_source: Optional int32 tensors (batch, height, width): the pixel of the partner's image and of the
            sample's own that each pixel shows, in row-major order.
    """

    values: Any
    source: Any = None
    own_source: Any = None

    def leave_out(self, is_mixed):
        values = ops.where(ops.reshape(is_mixed, (-1, 1, 1, 1)), self.values, 1.0)
        if self.own_source is None:
            return self._replace(values=values)
        in_place = moving.in_place(*ops.shape(values)[1:3])
        own_source = ops.where(ops.reshape(is_mixed, (-1, 1, 1)), self.own_source, in_place)
        return self._replace(values=values, own_source=own_source)

    def find_unmixed(self):
        return plans.find_unmixed(self.values)

    def mean(self, height, width):
        return ops.mean(self.values, axis=(1, 2, 3))

    def rasterize(self, height, width):
        return self.values

    def apply(self, images, partner_images, data_format):
        mask = ops.stop_gradient(self.values)
        mask = mask if data_format == "channels_last" else ops.transpose(mask, (0, 3, 1, 2))
        return plans.blend(images, partner_images, mask)


@xla_compiled
def mix(images, partner, mask, data_format):
    """Mix images by a mask, as `plans.mix_images` does by a plan.

    Args:
        images: Tensor (batch, height, width, channels), or channels first.
        partner: Int32 tensor (batch,).
        mask: A `Uniform`, `Box` or `Dense` mask.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    if mask.source is None and mask.own_source is None:
        # A blend of an image with itself is that image up to rounding only.
        mask = mask.leave_out(ops.not_equal(partner, ops.arange(ops.shape(partner)[0], dtype="int32")))
    own = plans.moved(images, mask.own_source, data_format)
    return mask.apply(own, plans.partner_images(images, partner, data_format, mask.source), data_format)


def box_size(lam, height, width):
    """Height and width in pixels of boxes that cover the share `1 - lam` of an image.

    Args:
        lam: Float tensor (batch,).
        height, width: Size of the images.

    Returns:
        Two int32 tensors (batch,): floor(height sqrt(1 - lam)), floor(width sqrt(1 - lam)).
    """
    side = ops.sqrt(1.0 - lam)
    return tuple(ops.cast(ops.floor(side * ops.cast(size, "float32")), "int32") for size in (height, width))


def random_bounds(position, lengths, sizes, border="clip"):
    """Rows and columns of boxes at random positions.

    Args:
        position: Uniform random numbers in [0, 1), (2, batch).
        lengths: Height and width of the boxes, int32 tensors (batch,).
        sizes: Height and width of the images.
        border: `"clip"` draws centers in the image and clips the boxes at its border; `"inside"` draws among the
            positions at which the whole box is inside.

    Returns:
        A list of two pairs (start, end) of int32 tensors (batch,).
    """
    bounds = []
    for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        if border == "clip":
            bounds.append(interval(random_place(position[axis], size), length, size, "clip"))
        else:
            # The product in `random_place` may be rounded up.
            start = ops.minimum(random_place(position[axis], size - length + 1), size - length)
            bounds.append((start, start + length))
    return bounds


def random_place(position, size):
    """The int32 index of a uniform random number in [0, 1) on an axis of a given length."""
    return ops.cast(ops.floor(position * ops.cast(size, "float32")), "int32")


def squared_distance(position, height, width):
    """Squared distance in pixels of each pixel to a random one.

    Args:
        position: Uniform random numbers in [0, 1), (2, batch).
        height, width: Size of the images.

    Returns:
        A float32 tensor (batch, height, width, 1).
    """
    rows, columns = (
        ops.square(ops.cast(ops.arange(size, dtype="int32")[None, :] - random_place(place, size)[:, None], "float32"))
        for place, size in ((position[0], height), (position[1], width))
    )
    return (rows[:, :, None] + columns[:, None, :])[..., None]


def interval(center, length, size, border):
    """Start and end of intervals around a center, inside [0, size).

    Args:
        center, length: Int32 tensors (batch,).
        size: Length of the axis.
        border: `"shift"` moves an interval that crosses the border inside and keeps its length; `"clip"` cuts it
            off and, like the published code, makes it `2 (length // 2)` long.

    Returns:
        Two int32 tensors (batch,): start (included) and end (not included).
    """
    start = center - length // 2
    if border == "shift":
        start = ops.clip(start, 0, size - length)
        return start, start + length
    return ops.clip(start, 0, size), ops.clip(center + length // 2, 0, size)


def inside(bounds, size):
    """Which positions of an axis lie inside intervals.

    Args:
        bounds: Pair (start, end) of int32 tensors (batch,).
        size: Length of the axis.

    Returns:
        Booleans (batch, size).
    """
    index = ops.arange(size, dtype="int32")[None, :]
    start, end = bounds
    return ops.logical_and(index >= start[:, None], index < end[:, None])
