"""Losses and metrics that do not take mixed labels, or mean something else with them."""

import warnings

import keras

_NONLINEAR = {"hinge", "squaredhinge", "categoricalhinge"}
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


def check(loss, metrics, weighted_metrics, predictions):
    """Check the arguments of `compile`, instead of failing or training on something else inside `fit`.

    Args:
        loss, metrics, weighted_metrics: As for `keras.Model.compile`.
        predictions: Symbolic predictions of the model.

    Raises:
        ValueError: If one of them takes class indices.
    """
    for argument, structure in (("loss", loss), ("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        _refuse_sparse(argument, structure)
    nonlinear = [name for name in _names(loss) if _plain(name) in _NONLINEAR]
    if nonlinear:
        warnings.warn(
            f"The loss {nonlinear} is not linear in the label, so that the loss of a mixed label is not the mixed "
            "loss, and mixed labels of 0 and 1 are not converted to -1 and 1: use a cross-entropy.",
            stacklevel=3,
        )
    # Keras reads "accuracy" as the binary one where a head has one output.
    is_binary = any(head.shape[-1] == 1 for head in keras.tree.flatten(predictions))
    names = _OF_TWO_LABELS | ({"accuracy", "acc"} if is_binary else set())
    misleading = [name for name in _names([metrics, weighted_metrics]) if _plain(name) in names]
    if misleading:
        warnings.warn(
            f"The metrics {misleading} take labels of 0 and 1. With the mixed labels of training, they count any share "
            "as 1, or as never right: read them on validation data, which are not mixed. "
            "`keras_mma.metrics.DominantAccuracy` and `WeightedAccuracy` take mixed labels.",
            stacklevel=3,
        )


def _refuse_sparse(argument, structure):
    for name in _names(structure):
        if _plain(name).startswith(("sparsecategorical", "sparsetopk")):
            raise ValueError(
                f"`{argument}` must take soft labels: use its categorical form; the model one-hot encodes integer "
                "labels, and `compile(..., ignore_class=255)` leaves out pixels of that class. "
                f"Received: {argument}={name}"
            )


def _names(structure):
    """The names of losses or metrics in any structure."""
    leaves = [leaf for leaf in keras.tree.flatten(structure) if leaf is not None]
    return [leaf if isinstance(leaf, str) else getattr(leaf, "__name__", type(leaf).__name__) for leaf in leaves]


def _plain(name):
    return name.lower().replace("_", "")
