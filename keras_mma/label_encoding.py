"""Labels as float32 vectors that can be mixed, of one head or several."""

import keras
import numpy as np
from keras import ops

from keras_mma.backend import known_shape, known_values

_WIDE = ("int64", "uint32", "uint64")


def encode(labels, classes, name="labels"):
    """Convert labels to float32 vectors; integer labels are one-hot encoded.

    Args:
        labels: One-hot or soft labels (batch, classes), or integer labels (batch,) or (batch, 1). Where `classes` is
            known, integer labels may be floats, as Keras' own layers in a pipeline make them.
        classes: Number of classes, or `None` if it is not known.
        name: Name of the labels in error messages.

    Returns:
        A float32 tensor (batch, classes). Where a graph is traced, so that the values are not known, a class index that
        is out of range or no integer gives a vector of NaN.

    Raises:
        ValueError: if the labels have another shape or dtype, are integers and `classes` is `None`, or have a value
            that is not a class index.
    """
    refuse_strings(labels, name)
    shape, dtype = known_shape(labels), keras.backend.standardize_dtype(labels.dtype)
    if shape is None:
        raise ValueError(
            f"`{name}` must have a known rank: give it by `set_shape` or an `output_signature` in a pipeline, and "
            "compile a model again before you train it on labels of another rank. "
            f"Received: {name} of unknown rank and dtype {dtype}"
        )
    received = f"Received: {name} of shape {shape} and dtype {dtype}" + (f", classes={classes}" if classes else "")
    expected = (
        f"`{name}` must be one-hot or soft labels of shape (batch, {classes or 'classes'}), "
        "or integer labels of shape (batch,) or (batch, 1)."
    )
    if len(shape) not in (1, 2):
        raise ValueError(
            f"{expected} Boxes cannot be mixed; labels that are maps belong to predictions that are maps, or are the "
            f"'segmentation_masks' of a batch in a dict. {received}"
        )
    width = shape[1] if len(shape) == 2 else 1
    if classes == 1:
        # A single output: a binary target or a regression value, already a number that can be mixed.
        check_width(labels, classes, name)
        return ops.reshape(ops.cast(labels, "float32"), (-1, 1))
    is_float = keras.backend.is_float_dtype(dtype)
    if width != 1 and (is_float or width is not None):
        check_width(labels, classes, name)
    elif classes is None and is_float:
        raise ValueError(
            f"{expected} (Keras' own layers in a pipeline convert integers to floats; with `num_classes`, these are "
            f"read as class indices. Pass `num_classes=1` for labels 0 and 1 of one output.) {received}"
        )
    elif classes is None:
        raise ValueError(
            f"`{name}` must be one-hot labels where the number of classes is not known: pass `num_classes` to the "
            f"layer, or one-hot encode them. {received}"
        )
    if width is None:
        return encode_open_width(labels, classes)
    if width != 1:
        return ops.cast(labels, "float32")
    check_range(labels, classes, name)
    return one_hot(labels, classes)


def refuse_strings(labels, name="labels"):
    """Raise a `ValueError` if labels, or leaves of a structure of labels, are strings.

    Args:
        labels: Labels in any form.
        name: Name of the labels in the error message.
    """
    for leaf in keras.tree.flatten(labels):
        dtype = getattr(leaf, "dtype", None)
        is_array = getattr(dtype, "kind", None) in ("U", "S", "O") or getattr(dtype, "name", None) == "string"
        if isinstance(leaf, (str, bytes)) or is_array:
            raise ValueError(
                f"`{name}` must be numbers. Convert names of classes to class indices, for example by "
                "`keras.layers.StringLookup(vocabulary=names, num_oov_indices=0)`. "
                f"Received: {name} of {f'dtype {dtype}' if is_array else 'strings'}"
            )


def check_width(labels, classes, name="labels"):
    """Raise a `ValueError` for labels (batch, width) that are neither class indices nor vectors of all classes.

    Args:
        labels: Labels in any form of `encode`.
        classes: Number of classes, or `None`.
        name: Name of the labels in the error message.
    """
    if len(labels.shape) == 2 and labels.shape[1] not in (None, 1, classes) and classes is not None:
        raise ValueError(
            f"`{name}` must be one-hot or soft labels of shape (batch, {classes}), or integer labels of shape (batch,) "
            f"or (batch, 1). Received: {name} of shape {tuple(labels.shape)}, classes={classes}"
        )


def check_range(labels, classes, name="labels"):
    """Raise a `ValueError` for class indices whose values are known and that are not all indices of classes.

    Args:
        labels: Labels in any form of `encode`.
        classes: Number of classes, or `None`.
        name: Name of the labels in the error message.
    """
    is_index = len(labels.shape) == 1 or (len(labels.shape) == 2 and labels.shape[1] == 1)
    values = known_values(labels) if is_index and classes not in (None, 1) else None
    if values is None:
        return
    invalid = values[~((values >= 0) & (values < classes) & (np.floor(values.astype("float64")) == values))]
    if invalid.size:
        raise ValueError(
            f"`{name}` must be class indices from 0 to {classes - 1}, because there are {classes} classes. "
            f"Received: {name} with the label {invalid.flat[0]}"
        )


def map_heads(function, y, predictions, output_names, name="y"):
    """Call a function for each label and the prediction of its head.

    Args:
        function: A function of a label, a prediction and the name of the label in error messages.
        y: Labels in the structure of the predictions. A dict may lack heads, and `None` stands for no labels.
        predictions: Predictions of all heads, tensors or symbolic tensors.
        output_names: Names of the heads, for a dict of labels of heads that are not in a dict.
        name: Name of the labels in error messages.

    Returns:
        The results in the structure of `y`.

    Raises:
        ValueError: If the structures do not fit.
    """
    if y is None:
        return None
    if isinstance(y, dict):
        if not isinstance(predictions, dict):
            predictions = dict(zip(output_names, keras.tree.flatten(predictions), strict=True))
        unknown = sorted(set(y) - set(predictions))
        if unknown:
            raise ValueError(f"`{name}` must name heads of the model, {sorted(predictions)}. Received: {unknown}")
        return {
            key: map_heads(function, value, predictions[key], output_names, f"{name}[{key!r}]")
            for key, value in y.items()
        }
    if isinstance(y, (list, tuple)) and isinstance(predictions, (list, tuple)) and len(y) == len(predictions):
        form = getattr(y, "_make", type(y))
        return form(map_heads(function, *pair, output_names, name) for pair in zip(y, predictions, strict=True))
    labels, heads = keras.tree.flatten(y), keras.tree.flatten(predictions)
    if len(labels) != len(heads):
        raise ValueError(f"`{name}` must have labels for {len(heads)} heads. Received: labels for {len(labels)}")
    results = [
        None if label is None else function(label, head, name) for label, head in zip(labels, heads, strict=True)
    ]
    return keras.tree.pack_sequence_as(y, results)


def one_hot(labels, classes):
    """Class indices of any shape as float32 vectors (number of labels, classes); NaN for what is no class index."""
    labels = ops.reshape(labels, (-1,))
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if not keras.backend.is_float_dtype(dtype):
        # Compared before they are narrowed, which would turn 2^32 + 3 into 3. JAX has no wider type by default.
        labels = ops.cast(labels, "int64" if dtype in _WIDE and keras.backend.backend() != "jax" else "int32")
    is_valid = ops.logical_and(labels >= 0, labels < classes)
    if keras.backend.is_float_dtype(dtype):
        is_valid = ops.logical_and(is_valid, labels == ops.floor(labels))
    indices = ops.cast(ops.where(is_valid, labels, 0), "int32")
    # A graph cannot raise. A vector of zeros would pass unnoticed; a NaN loss does not.
    return ops.where(is_valid[:, None], ops.one_hot(indices, classes, dtype="float32"), float("nan"))


def encode_open_width(labels, classes):
    """Encode labels of shape (batch, None): whether they are class indices or vectors turns out when the graph runs.

    Args:
        labels: Class indices (batch, 1) or vectors (batch, classes), whose width is not known.
        classes: Number of classes, or `None` if it is not known.

    Returns:
        A float32 tensor (batch, classes); NaN for labels of another width and for what is no class index.
    """
    if isinstance(labels, keras.KerasTensor):
        return keras.KerasTensor((labels.shape[0], classes), "float32")
    batch_size, width = ops.shape(labels)
    vectors = ops.cast(labels, "float32")
    if classes is None:
        # A column of floats is not a vector of classes; see `one_hot` for the NaN.
        return ops.where(width == 1, float("nan"), vectors)
    # As wide as there are classes, whatever the width is: XLA compiles what is not selected too.
    padded = ops.concatenate([vectors, ops.full((batch_size, classes), float("nan"))], axis=1)
    vectors = ops.where(width == classes, ops.reshape(padded[:, :classes], (-1, classes)), float("nan"))
    return ops.where(width == 1, one_hot(labels[:, :1], classes), vectors)
