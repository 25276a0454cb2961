"""Losses and metrics that do not take mixed labels, or mean something else with them."""

import warnings

import keras

_NONLINEAR = {"hinge", "squaredhinge", "categoricalhinge"}
#: Losses of Keras that take class indices, beside those whose names begin with "Sparse".
_OF_INDICES = {"categoricalgeneralizedcrossentropy", "circle", "ctc"}
#: Metrics of Keras that take labels of 0 and 1: a label between them counts as 1, or as never right.
_OF_TWO_LABELS = {
    "auc",
    "binaryaccuracy",
    "binaryiou",
    "falsenegatives",
    "falsepositives",
    "precision",
    "precisionatrecall",
    "recall",
    "recallatprecision",
    "sensitivityatspecificity",
    "specificityatsensitivity",
    "truenegatives",
    "truepositives",
}


def check(loss, metrics, weighted_metrics, predictions, output_names):
    """Check the arguments of `compile`, instead of failing or training on something else inside `fit`.

    Args:
        loss, metrics, weighted_metrics: As for `keras.Model.compile`.
        predictions: Symbolic predictions of the model.
        output_names: Names of its heads.

    Raises:
        ValueError: If one of them takes class indices.
    """
    for argument, structure in (("loss", loss), ("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        _refuse_sparse(argument, structure)
    nonlinear = [name for name in _names(loss) if _plain(name) in _NONLINEAR]
    if nonlinear:
        warnings.warn(
            f"The loss {nonlinear} is not linear in the label, so that the loss of a mixed label is not the "
            "weighted mean of the losses of the two labels. Nor does Keras convert mixed labels of 0 and 1 to -1 "
            "and 1. Use a cross-entropy.",
            stacklevel=3,
        )
    by_head = [
        *_by_head(metrics, predictions, output_names),
        *_by_head(weighted_metrics, predictions, output_names),
    ]
    misleading = [name for head, own in by_head for name in _names(own) if _takes_two_labels(name, head)]
    if misleading:
        warnings.warn(
            f"The metrics {misleading} take labels of 0 and 1. With the mixed labels of training, they count any "
            "positive share as 1, or no mixed label as correct. Use them on validation data, which are not mixed. "
            "`keras_mma.metrics.DominantAccuracy` and `WeightedAccuracy` take mixed labels.",
            stacklevel=3,
        )


def _by_head(metrics, predictions, output_names):
    """Pairs of the head that metrics are of, or all heads where that cannot be told, and these metrics."""
    heads = keras.tree.flatten(predictions)
    if isinstance(metrics, dict):
        named = predictions if isinstance(predictions, dict) else {}
        named = dict(zip(output_names, heads, strict=True)) | named
        return [(named.get(name, predictions), own) for name, own in metrics.items()]
    if isinstance(metrics, (list, tuple)) and len(metrics) == len(heads):
        return list(zip(heads, metrics, strict=True))
    return [(predictions, metrics)]


def _takes_two_labels(name, head):
    # Keras reads "accuracy" as the binary one where a head has one output.
    is_binary = any(part.shape[-1] == 1 for part in keras.tree.flatten(head))
    return _plain(name) in _OF_TWO_LABELS or (is_binary and _plain(name) in ("accuracy", "acc"))


def _refuse_sparse(argument, structure):
    for metric in keras.tree.flatten(structure):
        if getattr(metric, "sparse_y_true", False):  # one-hot labels would be counted as classes 0 and 1
            raise ValueError(
                f"`{argument}` must take soft labels: use `keras.metrics.OneHotMeanIoU` or `OneHotIoU`. "
                f"Received: {argument}={type(metric).__name__}"
            )
    for name in _names(structure):
        if _plain(name).startswith(("sparsecategorical", "sparsetopk")) or _plain(name) in _OF_INDICES:
            raise ValueError(
                f"`{argument}` must take soft labels: use a categorical one; the model one-hot encodes integer "
                "labels, and `compile(..., ignore_class=255)` leaves out pixels of that class. "
                f"Received: {argument}={name}"
            )


def _names(structure):
    """The names of losses or metrics in any structure."""
    leaves = [leaf for leaf in keras.tree.flatten(structure) if leaf is not None]
    return [leaf if isinstance(leaf, str) else getattr(leaf, "__name__", type(leaf).__name__) for leaf in leaves]


def _plain(name):
    return name.lower().replace("_", "")
