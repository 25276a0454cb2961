"""What a Functional or Sequential model makes of the inputs that it is called with."""

import keras
from keras import ops


def in_order(inputs, given):
    """The values that a model is called with, in the order of its inputs.

    Args:
        inputs: The symbolic inputs of the model, in their structure.
        given: The values, in that structure, or in a dict by the names of the inputs, which may have more keys.

    Returns:
        A list with a value for each input.
    """
    sources = keras.tree.flatten(inputs)
    if isinstance(given, dict) and not isinstance(inputs, dict):
        return [given[source.name] for source in sources]
    # A dict is sorted by its keys. Beside a dict of inputs, Keras does not look at them, and ignores what is left.
    return keras.tree.flatten(given)[: len(sources)]


def values_inside(model, given, call, path):
    """The values of a model's symbolic inputs for `graph.rebuild_graph`, which enters the model.

    Args:
        model: A Functional or Sequential model.
        given: What it is called with.
        call: As in `rebuild_graph`; it also gets the calls that convert a value to the dtype of its input, as the model
            does. Their paths are those of the inputs.
        path: Path of the model.

    Returns:
        The values by the `id` of the symbolic inputs.
    """
    values = {}
    # A Sequential model has a list as its `input`, but takes a dict by the name of the one input too.
    structure = model.inputs if isinstance(model, keras.Sequential) else model.input
    for source, value in zip(model.inputs, in_order(structure, given), strict=True):
        if isinstance(value, keras.KerasTensor) and value.dtype != source.dtype:
            cast = ops.cast(value, source.dtype)._keras_history[0]
            value = call(f"{path}/{source.name}", cast, (value,), {})
        values[id(source)] = value
    return values
