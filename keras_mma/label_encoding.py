"""Labels as float32 rows that can be mixed."""

import keras
from keras import ops


def encode(labels, classes, name="labels"):
    """Turn labels into float32 rows, one-hot encoding integer class numbers.

    Args:
        labels: One-hot or soft labels (batch, classes), or integer class numbers (batch,) or (batch, 1).
        classes: Number of classes, or `None` where it is not known.
        name: What error messages call the labels.

    Returns:
        A float32 tensor (batch, classes). The row of a number that is no class is NaN.

    Raises:
        ValueError: if the labels have another shape or dtype, or are integers while `classes` is `None`.
    """
    shape, dtype = tuple(labels.shape), keras.backend.standardize_dtype(labels.dtype)
    received = f"Received: {name} of shape {shape} and dtype {dtype}" + (f", classes={classes}" if classes else "")
    expected = (
        f"`{name}` must be one-hot or soft labels of shape (batch, {classes or 'classes'}), "
        "or integer class numbers of shape (batch,) or (batch, 1)."
    )
    if len(shape) not in (1, 2):
        raise ValueError(f"{expected} {received}")
    if classes == 1:
        # One output: a binary target or a regression value, already a number that can be mixed.
        if len(shape) == 2 and shape[1] != 1:
            raise ValueError(f"{expected} {received}")
        return ops.reshape(ops.cast(labels, "float32"), (-1, 1))
    is_row = len(shape) == 2 and shape[1] != 1
    if is_row:
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
    numbers = ops.cast(ops.reshape(labels, (-1,)), "int32")
    is_class = ops.logical_and(numbers >= 0, numbers < classes)
    # A graph cannot raise. A row of zeros would go unnoticed, a loss that is not a number does not.
    return ops.where(
        is_class[:, None], ops.one_hot(ops.clip(numbers, 0, classes - 1), classes, dtype="float32"), float("nan")
    )
