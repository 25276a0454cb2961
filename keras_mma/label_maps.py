"""Labels that are maps: encoded as class shares of each pixel, and mixed where the features were mixed."""

import keras
import numpy as np
from keras import ops

from keras_mma import label_encoding, plans, resampling
from keras_mma.backend import known_values

_NARROW = ("bool", "int8", "int16", "uint8", "uint16")


def encode(labels, shape, ignore_class=None, name="labels"):
    """Convert labels that are maps to float32 shares; class indices are one-hot encoded.

    Args:
        labels: Class indices (batch, height, width) or (batch, height, width, 1), as integers or as floats; or shares
            (batch, height, width, classes). For predictions of one class, numbers of the first two shapes.
        shape: Shape of the predictions, (batch, height, width, classes).
        ignore_class: Class index of the pixels that do not count, or `None`.
        name: Name of the labels in error messages.

    Returns:
        Float32 shares (batch, height, width, classes); and float32 (batch, height, width), 0 for the pixels that are
        ignored, whose shares are 0, and 1 for the others. The second is `None` for shares and without `ignore_class`.
        Where a graph is traced, so that the values are not known, an index out of range gives shares of NaN.

    Raises:
        ValueError: If the labels have another size or form than the predictions, the number of classes is not known,
            or a value is no class index.
    """
    check(labels, shape, ignore_class, name)
    classes = shape[3]
    if not _are_indices(labels, classes):
        return ops.cast(labels, "float32"), None
    labels = labels if len(labels.shape) == 3 else labels[..., 0]
    dtype = keras.backend.standardize_dtype(labels.dtype)
    labels = ops.cast(labels, "int32" if dtype in _NARROW else dtype)
    counted = None
    if ignore_class is not None:
        is_counted = labels != ignore_class
        labels, counted = ops.where(is_counted, labels, ops.zeros_like(labels)), ops.cast(is_counted, "float32")
    if classes == 1:
        maps = ops.expand_dims(ops.cast(labels, "float32"), -1)
    else:
        maps = ops.reshape(label_encoding.one_hot(labels, classes), (-1, *ops.shape(labels)[1:3], classes))
    return maps if counted is None else maps * ops.expand_dims(counted, -1), counted


def check(labels, shape, ignore_class=None, name="labels"):
    """Raise a `ValueError` unless labels are maps that fit the predictions, as far as their values are known.

    Args:
        labels, shape, ignore_class, name: See `encode`.
    """
    label_encoding.refuse_strings(labels, name)
    received = tuple(labels.shape)
    classes = shape[3]
    is_of_size = len(received) in (3, 4) and _agree(received[1:3], shape[1:3])
    widths = (None, 1, classes) if classes else (None, *received[3:])
    if not is_of_size or (len(received) == 4 and received[3] not in widths):
        raise ValueError(
            f"`{name}` must be maps of the size of the predictions: class indices (batch, height, width), or shares "
            f"(batch, height, width, classes), for predictions of shape {tuple(shape)}. "
            f"Received: {name} of shape {received}"
        )
    if len(received) == 4 and received[3] is None and classes != 1:
        raise ValueError(
            f"`{name}` must have a known last axis, because class indices (1) and shares ({classes}) are encoded "
            "differently: call `set_shape`, or decode masks with `channels=1`. "
            f"Received: {name} of shape {received}"
        )
    if not _are_indices(labels, classes):
        return
    if classes is None:
        raise ValueError(
            f"`{name}` must be shares where the number of classes is not known: one-hot encode them, or let the last "
            f"layer have a known number of channels. Received: {name} of shape {received}, predictions of shape "
            f"{tuple(shape)}"
        )
    _check_ignore_class(labels, ignore_class, name)
    _check_range(labels, classes, ignore_class, name)


def _are_indices(labels, classes):
    return len(labels.shape) == 3 or labels.shape[3] == 1 or classes == 1


def _agree(shape, expected):
    """Whether two shapes are the same as far as they are known."""
    return all(None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True))


def _check_ignore_class(labels, ignore_class, name):
    """Raise a `ValueError` if no label of this dtype can be the ignored class, such as -1 among unsigned integers."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if ignore_class is None or not dtype.startswith(("int", "uint")):
        return
    limits = np.iinfo(dtype)
    if not limits.min <= ignore_class <= limits.max:
        raise ValueError(
            f"`ignore_class` must be a value that labels of dtype {dtype} can have, from {limits.min} to {limits.max}. "
            f"Received: ignore_class={ignore_class}, {name} of dtype {dtype}"
        )


def _check_range(labels, classes, ignore_class, name):
    values = known_values(labels) if classes != 1 else None
    if values is None:
        return
    is_valid = (values >= 0) & (values < classes)
    if not np.issubdtype(values.dtype, np.integer):
        is_valid &= np.floor(values.astype("float64")) == values
    if ignore_class is not None:
        is_valid |= values == ignore_class
    if not is_valid.all():
        ignored = "" if ignore_class is None else f", or the ignored class {ignore_class}"
        raise ValueError(
            f"`{name}` must be class indices from 0 to {classes - 1}{ignored}, because there are {classes} classes; "
            "`compile(..., ignore_class=255)` leaves out the pixels with such an index. "
            f"Received: {name} with the label {values[~is_valid].flat[0]}"
        )


def weights(sample_weight, counted, labels):
    """The weight of each pixel.

    Args:
        sample_weight: Weights of samples (batch,) or (batch, 1), or of pixels (batch, height, width) or
            (batch, height, width, 1); or `None`.
        counted: 0 for the pixels that are ignored, 1 for the others, float32 (batch, height, width); or `None`.
        labels: Encoded labels (batch, height, width, classes).

    Returns:
        A float32 tensor (batch, height, width); `None` if there are neither weights nor ignored pixels.
    """
    if sample_weight is None:
        return counted
    shape = tuple(sample_weight.shape)
    of_pixels = len(shape) == 3 or (len(shape) == 4 and shape[3] == 1)
    of_samples = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    axes = 3 if of_pixels else 1
    if not (of_pixels or of_samples) or not _agree(shape[:axes], tuple(labels.shape[:axes])):
        raise ValueError(
            "`sample_weight` must be weights of samples, (batch,), or of pixels, (batch, height, width), for labels of "
            f"shape {tuple(labels.shape)}. Received: sample_weight of shape {shape}"
        )
    size = ops.shape(labels)[:3]
    pixels = ops.reshape(ops.cast(sample_weight, "float32"), size if of_pixels else (-1, 1, 1))
    pixels = ops.broadcast_to(pixels, size)
    return pixels if counted is None else pixels * counted


def mix(labels, counted, pixel_weights, plan):
    """Mix maps, and the weights of their pixels, by the plan's mask.

    With m the share of the sample's own image in a pixel, y its labels, w its weight, c 1, or 0 for a pixel that is
    ignored, and y', w' and c' those of the partner:

        y~ = (m c y + (1 - m) c' y') / (m c + (1 - m) c'),    w~ = m c w + (1 - m) c' w'

    A pixel that shows only what is ignored has the weight 0.

    Args:
        labels: Encoded labels (batch, height, width, classes), 0 where they are ignored.
        counted: c, float32 (batch, height, width), or `None`.
        pixel_weights: c w, float32 (batch, height, width), or `None`.
        plan: The plan. If its mask has another size than the labels, it is resized.

    Returns:
        The mixed labels and the mixed weights, in float32.
    """
    height, width = ops.shape(labels)[1:3]
    plan = {**plan, "mask": resampling.resize_mask(plan["mask"], height, width)}
    mixed = plans.mix_segmentation_masks(labels, plan)
    if counted is not None:
        share = ops.expand_dims(plans.mix_segmentation_masks(counted, plan), -1)
        mixed = mixed / ops.where(share > 0.0, share, 1.0)
    return mixed, None if pixel_weights is None else plans.mix_segmentation_masks(pixel_weights, plan)
