"""Labels as float32 vectors that can be mixed."""

import keras
from keras import ops


def encode(labels, classes, name="labels"):
    """Convert labels to float32 vectors; integer labels are one-hot encoded.

    Args:
        labels: One-hot or soft labels (batch, classes), or integer labels (batch,) or (batch, 1).
        classes: Number of classes, or `None` if it is not known.
        name: Name of the labels in error messages.

    Returns:
        A float32 tensor (batch, classes). A class index out of range gives a vector of NaN.

    Raises:
        ValueError: if the labels have another shape or dtype, or are integers and `classes` is `None`.
    """
    shape, dtype = tuple(labels.shape), keras.backend.standardize_dtype(labels.dtype)
    received = f"Received: {name} of shape {shape} and dtype {dtype}" + (f", classes={classes}" if classes else "")
    expected = (
        f"`{name}` must be one-hot or soft labels of shape (batch, {classes or 'classes'}), "
        "or integer labels of shape (batch,) or (batch, 1)."
    )
    if len(shape) not in (1, 2):
        raise ValueError(f"{expected} {received}")
    if classes == 1:
        # A single output: a binary target or a regression value, already a number that can be mixed.
        if len(shape) == 2 and shape[1] != 1:
            raise ValueError(f"{expected} {received}")
        return ops.reshape(ops.cast(labels, "float32"), (-1, 1))
    is_vector = len(shape) == 2 and shape[1] != 1
    if is_vector:
        if classes is not None and shape[1] not in (None, classes):
            raise ValueError(f"{expected} {received}")
        return ops.cast(labels, "float32")
    if not (keras.backend.is_int_dtype(dtype) or dtype == "bool"):
        raise ValueError(f"{expected} {received}")
    if classes is None:
        raise ValueError(
            f"`{name}` are integers and the number of classes is not known: pass `num_classes` to the layer, "
            f"or one-hot encode them. {received}"
        )
    indices = ops.cast(ops.reshape(labels, (-1,)), "int32")
    is_valid = ops.logical_and(indices >= 0, indices < classes)
    # A graph cannot raise. A vector of zeros would pass unnoticed; a NaN loss does not.
    return ops.where(
        is_valid[:, None], ops.one_hot(ops.clip(indices, 0, classes - 1), classes, dtype="float32"), float("nan")
    )
