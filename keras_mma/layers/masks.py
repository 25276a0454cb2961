"""The forms in which hosts draw masks, and for each the cheapest way to mix by it.

| key | value | the mask |
|---|---|---|
| `mask` | float32 (batch, height, width, 1) | itself |
| `share` | float32 (batch,) | the same everywhere |
| `box` | a pair (rows, columns) of pairs (start, end) of int32 (batch,) | 0 inside the box, 1 outside |

A mask of one channel is dear to multiply with images of three where nothing is compiled: a share and a box go without.
"""

import keras
from keras import ops

from keras_mma import plan as plans
from keras_mma.backend import compiled
from keras_mma.layers.boxes import inside, mask_outside

FORMS = ("mask", "share", "box")


def form(drawn):
    """The one form of what a host drew.

    Raises:
        ValueError: if there is none, or more than one.
    """
    given = [name for name in FORMS if name in drawn]
    if len(given) != 1:
        raise ValueError(f"`draw` must return one of {list(FORMS)}. Received: {sorted(drawn)}")
    return given[0]


def keep_unmixed(drawn, is_mixed):
    """What a host drew, with some rows left alone.

    Args:
        drawn: What the host drew.
        is_mixed: Booleans (batch,), false for the rows to leave.
    """
    name, kept = form(drawn), dict(drawn)
    if name == "mask":
        kept["mask"] = ops.where(ops.reshape(is_mixed, (-1, 1, 1, 1)), drawn["mask"], 1.0)
    elif name == "share":
        kept["share"] = ops.where(is_mixed, drawn["share"], 1.0)
    else:
        kept["box"] = [(start, ops.where(is_mixed, end, start)) for start, end in drawn["box"]]
    if "weight" in kept:
        kept["weight"] = ops.where(is_mixed, kept["weight"], 1.0)
    return kept


def describe(drawn, height, width):
    """The mask, the label's share and the rows that are left alone.

    Args:
        drawn: What the host drew.
        height, width: Size of the images.

    Returns:
        `mask`, float32 (batch, height, width, 1); `weight`, float32 (batch,), the mask's mean unless the host drew it;
        and Booleans (batch,), true where the mask is 1 everywhere.
    """
    name = form(drawn)
    if name == "mask":
        mask = drawn["mask"]
        mean, is_unmixed = None, ops.min(mask, axis=(1, 2, 3)) == 1.0
    elif name == "share":
        share = drawn["share"]
        mask = ops.broadcast_to(ops.reshape(share, (-1, 1, 1, 1)), (ops.shape(share)[0], height, width, 1))
        mean, is_unmixed = share, share == 1.0
    else:
        mask = mask_outside(*drawn["box"], height, width)
        sides = [ops.maximum(end - start, 0) for start, end in drawn["box"]]
        area = ops.cast(sides[0] * sides[1], "float32")
        mean, is_unmixed = 1.0 - area / ops.cast(height * width, "float32"), area == 0.0
    if "weight" in drawn:
        return mask, drawn["weight"], is_unmixed
    return mask, ops.mean(mask, axis=(1, 2, 3)) if mean is None else mean, is_unmixed


@compiled
def mix(images, partner, drawn, data_format):
    """`mask x + (1 - mask) x[partner]`, as `plan.mix_images` does it.

    Args:
        images: Tensor (batch, height, width, channels), or channels first.
        partner: Int32 tensor (batch,).
        drawn: What the host drew.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    donors = plans.donors(images, partner, data_format, drawn.get("shift"))
    name = form(drawn)
    if name == "box":
        return _paste(images, donors, drawn["box"], data_format)
    if name == "share":
        share = ops.reshape(ops.stop_gradient(drawn["share"]), (-1, 1, 1, 1))
        return _blend_evenly(images, donors, share)
    mask = ops.stop_gradient(drawn["mask"])
    return plans.blend(images, donors, mask if data_format == "channels_last" else ops.transpose(mask, (0, 3, 1, 2)))


def _paste(images, donors, box, data_format):
    """The donor inside the box: nothing is multiplied, and the channels count as columns."""
    shape = ops.shape(images)
    if data_format == "channels_last":
        size, height, width, channels = shape
        rows, columns = inside(box[0], height), ops.repeat(inside(box[1], width), channels, axis=1)
        is_inside = ops.logical_and(rows[:, :, None], columns[:, None, :])
        flat = (size, height, width * channels)
    else:
        rows, columns = inside(box[0], shape[2]), inside(box[1], shape[3])
        is_inside = ops.logical_and(rows[:, None, :, None], columns[:, None, None, :])
        flat = shape
    return ops.reshape(ops.where(is_inside, ops.reshape(donors, flat), ops.reshape(images, flat)), shape)


def _blend_evenly(images, donors, share):
    dtype = keras.backend.standardize_dtype(images.dtype)
    if dtype == "float16":
        return plans.blend(images, donors, share)  # the difference below could overflow
    if keras.backend.is_float_dtype(dtype):
        return images + ops.cast(1.0 - share, dtype) * (donors - images)
    # Each step works on what the one before left, and no second array of this size is needed.
    images, donors = ops.cast(images, "float32"), ops.cast(donors, "float32")
    return ops.cast(ops.round(images + (1.0 - share) * (donors - images)), dtype)
