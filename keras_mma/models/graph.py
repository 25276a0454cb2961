"""Functional graphs: walking them, checking where a plan passes, and rebuilding them around the same layers.

Keras' own tools walk a graph by `_keras_history`, `_inbound_nodes` and the attributes of a node; there is no public API
for it.
"""

import keras

from keras_mma.layers import FeatureMixer, Mixer

MIXING = (Mixer, FeatureMixer)


def features_and_plan(layer, args, kwargs):
    """The features, and the plan or `None`, among the arguments of a call of a mixing layer."""
    arguments = dict(zip(("features", "plan"), args, strict=False)) | kwargs
    features = arguments["images"] if "images" in arguments else arguments["features"]
    return features, arguments.get("plan") if isinstance(layer, FeatureMixer) else None


def plan_chain(plan):
    """The layers that a symbolic plan went through, from its mixer to the last feature mixer.

    Args:
        plan: A plan of `KerasTensor`s.

    Returns:
        A list of layers; the first is a `Mixer`, the others are `FeatureMixer`s.

    Raises:
        ValueError: If the plan does not come from a `Mixer`, or another layer than a `FeatureMixer` changed it.
    """
    chain = []
    while True:
        layer, node_index, _ = plan["weight"]._keras_history
        chain.insert(0, layer)
        if isinstance(layer, Mixer):
            return chain
        if not isinstance(layer, FeatureMixer):
            raise ValueError(
                "`outputs` must end with the plan that a mixer and its `FeatureMixAdapt` layers returned. "
                f"Received: a plan that comes from the layer {layer.name!r} ({type(layer).__name__})"
            )
        call = layer._inbound_nodes[node_index].arguments
        _, plan = features_and_plan(layer, call.args, call.kwargs)


def check_sites(predictions, plan):
    """Raise a `ValueError` unless labels that follow the plan are right for the predictions.

    The mixer's sites must match the feature mixers, and every path to the predictions must go through all of them:
    features that go around a mixing point are not mixed as the labels are.

    Args:
        predictions: Symbolic predictions of the model.
        plan: The symbolic plan that the model returns.
    """
    mixer, *feature_mixers = plan_chain(plan)
    sites = [layer.site for layer in feature_mixers]
    if len(set(sites)) < len(sites):
        raise ValueError(f"`FeatureMixAdapt` layers must have distinct sites. Received: sites={sites}")
    missing = sorted(set(mixer.sites) - set(sites) - {0})
    if missing:
        raise ValueError(
            f"Each of the `sites` of {mixer.name!r} must have a `FeatureMixAdapt` layer that its plan goes through. "
            f"Received: sites={mixer.sites} with layers for {sorted(sites)}, none for {missing}"
        )
    unreachable = sorted(set(sites) - set(mixer.sites))
    if unreachable:
        raise ValueError(
            f"`FeatureMixAdapt` layers must have a site among those of {mixer.name!r}: {mixer.sites}. "
            f"Received: site={unreachable[0]}, which never fires"
        )
    chain = [mixer, *feature_mixers]
    for layer in _layers_behind(predictions):
        if isinstance(layer, MIXING) and layer not in chain:
            raise ValueError(
                "`outputs` must end with a plan that went through every mixing layer on the way to the predictions. "
                f"Received: a plan that did not go through {layer.name!r}"
            )
        hidden = [inner.name for inner in _inner_layers(layer) if isinstance(inner, MIXING)]
        if hidden:
            raise ValueError(
                "Mixing layers must be layers of the model itself, not of a nested layer, which hides the plan. "
                f"Received: {hidden} inside the layer {layer.name!r}"
            )
    for layer in chain:
        if any(isinstance(end, keras.layers.InputLayer) for end in _layers_behind(predictions, stop=layer)):
            raise ValueError(
                f"All features that reach the predictions must go through {layer.name!r}, or they are not mixed as the "
                "labels are (a branch of a residual block is not a mixing point, the sum after it is). "
                "Received: predictions that also depend on features that go around it"
            )


def output_of(model):
    """The symbolic output of a model, in its structure."""
    # A Sequential model has no `output` attribute.
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def is_transparent(layer):
    """Whether a layer is a model that only runs its graph, so that the graph can replace the call."""
    return type(layer).call.__qualname__ in ("Functional.call", "Sequential.call") and bool(layer.inputs)


def calls_behind(outputs):
    """The calls (Keras nodes) that produce symbolic outputs, in topological order."""
    ordered, done = [], set()
    waiting = [_node_of(tensor) for tensor in reversed(keras.tree.flatten(outputs))]
    while waiting:
        node = waiting[-1]
        missing = [
            needed for tensor in reversed(node.input_tensors) if id(needed := _node_of(tensor)) not in done
        ]  # fmt: skip
        if missing and id(node) not in done:
            waiting.extend(missing)
            continue
        waiting.pop()
        if id(node) not in done:
            done.add(id(node))
            ordered.append(node)
    return ordered


def rebuild_graph(outputs, values, call, enter_nested=lambda path, layer: False, path=""):
    """Run the graph behind symbolic outputs again, with other inputs or other calls.

    Args:
        outputs: Symbolic outputs, in any structure.
        values: Values of the symbolic inputs, by the `id` of the symbolic tensor.
        call: `call(path, layer, args, kwargs)` replaces each call in the graph. It gets values instead of symbolic
            tensors and returns a value for each output of the layer, in the structure of the layer's outputs. The path
            of a layer in a nested model is `"model/layer"`.
        enter_nested: `enter_nested(path, layer)` says whether the graph of a nested model replaces the model.
        path: Path of the model that the graph belongs to.

    Returns:
        The values of the outputs, in their structure.
    """
    values = dict(values)
    for node in calls_behind(outputs):
        layer = node.operation
        if all(id(tensor) in values for tensor in node.outputs):
            continue
        name = f"{path}/{layer.name}" if path else layer.name
        args, kwargs = node.arguments.fill_in(values)
        if is_transparent(layer) and enter_nested(name, layer):
            inputs = keras.tree.flatten(args[0] if args else kwargs["inputs"])
            inner = {id(tensor): value for tensor, value in zip(layer.inputs, inputs, strict=True)}
            results = rebuild_graph(output_of(layer), inner, call, enter_nested, name)
        else:
            results = call(name, layer, args, kwargs)
        for tensor, value in zip(node.outputs, keras.tree.flatten(results), strict=True):
            values[id(tensor)] = value
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], outputs)


def paths(outputs, path=""):
    """The paths of all layers in the graph behind symbolic outputs, including those of nested models."""
    names = []
    for node in calls_behind(outputs):
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        name = f"{path}/{layer.name}" if path else layer.name
        names.append(name)
        if is_transparent(layer):
            names.extend(paths(output_of(layer), name))
    return list(dict.fromkeys(names))


def fresh_inputs(inputs):
    """New symbolic inputs like these, and the `values` of `rebuild_graph` that map the old ones to them."""
    fresh = keras.tree.map_structure(lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), inputs)
    pairs = zip(keras.tree.flatten(inputs), keras.tree.flatten(fresh), strict=True)
    return fresh, {id(old): new for old, new in pairs}


def _layers_behind(tensors, stop=None):
    """The layers that tensors depend on through features (not through plans), up to `stop`."""
    waiting, seen, layers = keras.tree.flatten(tensors), set(), []
    while waiting:
        layer, node_index, _ = waiting.pop()._keras_history
        if layer is stop or (id(layer), node_index) in seen:
            continue
        seen.add((id(layer), node_index))
        layers.append(layer)
        node = layer._inbound_nodes[node_index]
        if isinstance(layer, MIXING):
            waiting.append(features_and_plan(layer, node.arguments.args, node.arguments.kwargs)[0])
        else:
            waiting.extend(node.input_tensors)
    return layers


def _node_of(tensor):
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]


def _inner_layers(layer):
    for inner in getattr(layer, "layers", ()):
        yield inner
        yield from _inner_layers(inner)
