"""Labels of several heads, and the check of labels before the first step."""

import functools
import inspect

import keras

from keras_mma import label_encoding, label_maps


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
        return type(y)(
            map_heads(function, *pair, output_names, name) for pair in zip(y, predictions, strict=True)
        )  # fmt: skip
    labels, heads = keras.tree.flatten(y), keras.tree.flatten(predictions)
    if len(labels) != len(heads):
        raise ValueError(f"`{name}` must have labels for {len(heads)} heads. Received: labels for {len(labels)}")
    results = [
        None if label is None else function(label, head, name) for label, head in zip(labels, heads, strict=True)
    ]
    return keras.tree.pack_sequence_as(y, results)


def check_head(predictions, name="y"):
    """Raise a `ValueError` for labels of predictions that are neither vectors nor maps.

    Args:
        predictions: Predictions of one head, or their symbolic tensor.
        name: Name of the labels in the error message.
    """
    if len(predictions.shape) not in (1, 2, 4):
        raise ValueError(
            f"`{name}` must be labels of predictions (batch, classes) or (batch, height, width, classes). Others, such "
            f"as boxes, cannot be mixed. Received: predictions of shape {tuple(predictions.shape)}"
        )


def refuse_sparse(argument, structure):
    """Refuse losses that take class indices at `compile`, instead of failing with a shape error inside `fit`."""
    for leaf in keras.tree.flatten(structure):
        name = leaf if isinstance(leaf, str) else getattr(leaf, "__name__", type(leaf).__name__)
        if name.lower().replace("_", "").startswith(("sparsecategorical", "sparsetopk")):
            raise ValueError(
                f"`{argument}` must take soft labels: use its categorical form; the model one-hot encodes integer "
                "labels, and `compile(..., ignore_class=255)` leaves out pixels of that class. "
                f"Received: {argument}={name}"
            )


def _checked(method):
    """A method of `keras.Model` that first checks the labels among its arguments, as far as their values are known."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(self, *args, **kwargs):
        arguments = signature.bind(self, *args, **kwargs).arguments
        self.check_labels(arguments.get("y"))
        self._check_class_weight(arguments.get("class_weight"))
        validation = arguments.get("validation_data")
        if isinstance(validation, (list, tuple)) and len(validation) > 1:
            self.check_labels(validation[1], "validation_data[1]")
        return method(self, *args, **kwargs)

    return checked


class LabelChecks:
    """A mixin, placed before `keras.Model`, that checks labels before a step changes the weights.

    Compiled steps cannot raise: a class index that is out of range makes the loss NaN and, one step later, the weights.
    Labels of a `tf.data.Dataset` are not read for it.
    """

    fit = _checked(keras.Model.fit)
    evaluate = _checked(keras.Model.evaluate)
    train_on_batch = _checked(keras.Model.train_on_batch)
    test_on_batch = _checked(keras.Model.test_on_batch)

    def _check_class_weight(self, class_weight):
        """Raise a `ValueError` for class weights of maps, which Keras cannot convert to weights of pixels."""
        if class_weight is not None and any(map(label_maps.is_map, keras.tree.flatten(self.output[0]))):
            raise ValueError(
                "`class_weight` must be `None` for predictions that are maps: pass weights of pixels, "
                "`sample_weight=np.array(weights)[labels]`. "
                f"Received: class_weight={class_weight}"
            )

    def check_labels(self, y, name="y"):
        """Raise a `ValueError` if labels whose values are known are out of range, or are strings."""
        if isinstance(y, (dict, list, tuple)) or hasattr(y, "shape"):
            label_encoding.refuse_strings(y, name)
        if y is None or not all(leaf is None or hasattr(leaf, "shape") for leaf in keras.tree.flatten(y)):
            return

        def check(label, head, name):
            check_head(head, name)
            if label_maps.is_map(head):
                label_maps.check(label, head.shape, self.ignore_class, name)
            else:
                label_encoding.check_range(label, head.shape[-1], name)

        map_heads(check, y, self.output[0], self.output_names, name)
