"""Accuracy under mixed labels. With labels of one class, as in evaluation, both metrics are the usual accuracy."""

from typing import Any

import keras
from keras import ops

from keras_mma import label_encoding

__all__ = ["DominantAccuracy", "WeightedAccuracy"]


def _vectors(y_true: Any, y_pred: Any) -> Any:
    """Labels as vectors; class indices (batch,) or (batch, 1) are one-hot encoded, with NaN for what is none."""
    classes = y_pred.shape[-1]
    if len(y_true.shape) < len(y_pred.shape):
        y_true = ops.expand_dims(y_true, -1)
    width = y_true.shape[-1]
    if width not in (None, 1, classes) and classes is not None:
        raise ValueError(
            f"`y_true` must hold class indices, or a share for each class of `y_pred` in its last axis, {classes}. "
            f"Received: y_true of shape {tuple(y_true.shape)}, y_pred of shape {tuple(y_pred.shape)}"
        )
    if classes == 1:
        return ops.reshape(ops.cast(y_true, "float32"), ops.shape(y_pred))
    if width is None:
        rows = ops.reshape(y_true, (-1, ops.shape(y_true)[-1]))
        return ops.reshape(label_encoding.encode_open_width(rows, classes), ops.shape(y_pred))
    if width != 1:
        return ops.cast(y_true, "float32")
    label_encoding.check_range(y_true, classes, "y_true")
    return ops.reshape(label_encoding.one_hot(y_true, classes), ops.shape(y_pred))


def _without_ignored(y_true: Any, weight: Any) -> Any:
    """Labels with 0 where the weight is 0: a label that is ignored need be no class, and NaN times 0 is NaN."""
    while len(weight.shape) > max(len(y_true.shape), 1) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    while len(weight.shape) < len(y_true.shape):
        weight = ops.expand_dims(weight, -1)
    return ops.where(weight == 0, ops.zeros_like(y_true), y_true)


def _with_two_columns(y_true: Any, y_pred: Any, threshold: float) -> tuple[Any, Any]:
    """Labels and predictions as vectors; of a single output, those of both classes."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    y_true = _vectors(y_true, y_pred)
    if y_pred.shape[-1] != 1:
        return y_true, y_pred
    is_positive = ops.cast(y_pred > threshold, "float32")
    return tuple(ops.concatenate([1.0 - x, x], -1) for x in (y_true, is_positive))


def _dominant(y_true: Any, y_pred: Any, threshold: float) -> Any:
    y_true, y_pred = _with_two_columns(y_true, y_pred, threshold)
    is_right = ops.cast(ops.equal(ops.argmax(y_true, -1), ops.argmax(y_pred, -1)), "float32")
    return ops.where(ops.any(ops.isnan(y_true), -1), float("nan"), is_right)


def _weighted(y_true: Any, y_pred: Any, threshold: float) -> Any:
    y_true, y_pred = _with_two_columns(y_true, y_pred, threshold)
    predicted = ops.one_hot(ops.argmax(y_pred, -1), y_pred.shape[-1], dtype="float32")
    return ops.sum(y_true * predicted, -1)


class _MixedLabelAccuracy(keras.metrics.MeanMetricWrapper):
    """The mean of a function of labels and predictions; higher is better."""

    def __init__(self, function: Any, threshold: float, name: str, dtype: Any) -> None:
        super().__init__(fn=function, name=name, dtype=dtype, threshold=threshold)
        self.threshold = threshold
        self._direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if sample_weight is not None:
            y_true = _without_ignored(ops.convert_to_tensor(y_true), ops.convert_to_tensor(sample_weight))
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict:
        return {"threshold": self.threshold, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("keras_mma")
class DominantAccuracy(_MixedLabelAccuracy):
    """Share of samples whose predicted class is the class with the largest share of the label.

    It is what `"accuracy"` computes for label vectors, under a name that says so. A network that finds both classes of
    an image that is mixed half and half still misses the dominant one in half of the cases.

    Args:
        name: Name of the metric.
        dtype: Its dtype.
        threshold: For networks with one output: the prediction above which the class is 1; 0 for logits.

    Call arguments:
        y_true: Labels (batch, classes), or class indices (batch,) or (batch, 1).
        y_pred: Predictions (batch, classes), logits or probabilities; (batch, 1) for two classes.
        sample_weight: Weights (batch,), or `None`.

    Returns:
        A scalar in [0, 1]; NaN where a graph is traced, so that values are not known, and the label of a sample with a
        weight is no class index (with several outputs).

    Raises:
        ValueError: If the shapes do not agree, or, where the values are known, such a label is no class index.

    Example:

    >>> metric = keras_mma.metrics.DominantAccuracy()
    >>> float(metric(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([[0.9, 0.1], [0.9, 0.1]])))
    0.5

    References:
        - H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018, arXiv:1710.09412: mixed labels.
    """

    def __init__(self, name: str = "dominant_accuracy", dtype: Any = None, *, threshold: float = 0.5) -> None:
        super().__init__(_dominant, threshold, name, dtype)


@keras.saving.register_keras_serializable("keras_mma")
class WeightedAccuracy(_MixedLabelAccuracy):
    """Mean share that the label gives to the predicted class.

    A prediction of the class with 0.3 of the label counts 0.3. The best that a network can reach is the mean of the
    largest shares.

    Args:
        name: Name of the metric.
        dtype: Its dtype.
        threshold: For networks with one output: the prediction above which the class is 1; 0 for logits.

    Call arguments:
        y_true: Labels (batch, classes), or class indices (batch,) or (batch, 1).
        y_pred: Predictions (batch, classes), logits or probabilities; (batch, 1) for two classes.
        sample_weight: Weights (batch,), or `None`.

    Returns:
        A scalar in [0, 1]; NaN where a graph is traced, so that values are not known, and the label of a sample with a
        weight is no class index (with several outputs).

    Raises:
        ValueError: If the shapes do not agree, or, where the values are known, such a label is no class index.

    Example:

    >>> metric = keras_mma.metrics.WeightedAccuracy()
    >>> round(float(metric(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[0.9, 0.1], [0.9, 0.1]]))), 3)
    0.5

    References:
        - H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018, arXiv:1710.09412: mixed labels.
    """

    def __init__(self, name: str = "weighted_accuracy", dtype: Any = None, *, threshold: float = 0.5) -> None:
        super().__init__(_weighted, threshold, name, dtype)
