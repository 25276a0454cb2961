"""Walks over Functional graphs: what a plan and the predictions passed, and a graph run anew around the same layers.

`_keras_history`, `_inbound_nodes` and what a node holds are how Keras' own tools walk a graph; there is no public name
for it.
"""

import keras

from keras_mma.layers import FeatureMixAdapt, Mixer

MIXING = (Mixer, FeatureMixAdapt)


def features_and_plan(layer, args, kwargs):
    """The features, and the plan or `None`, among the arguments of a call of a mixing layer."""
    given = dict(zip(("features", "plan"), args, strict=False)) | kwargs
    features = given["images"] if "images" in given else given["features"]
    return features, given.get("plan") if isinstance(layer, FeatureMixAdapt) else None


def plan_chain(plan):
    """The layers that a symbolic plan passed, from its host to the last `FeatureMixAdapt`.

    Args:
        plan: A plan of `KerasTensor`s.

    Returns:
        A list of layers, the first of them a `Mixer`.

    Raises:
        ValueError: if the plan does not come from a `Mixer`, or something else than `FeatureMixAdapt` changed it.
    """
    chain = []
    while True:
        layer, node_index, _ = plan["weight"]._keras_history
        chain.insert(0, layer)
        if isinstance(layer, Mixer):
            return chain
        if not isinstance(layer, FeatureMixAdapt):
            raise ValueError(
                "`outputs` must end with the plan that a host drew and `FeatureMixAdapt` layers passed on. "
                f"Received: a plan that comes from the layer {layer.name!r} ({type(layer).__name__})"
            )
        call = layer._inbound_nodes[node_index].arguments
        _, plan = features_and_plan(layer, call.args, call.kwargs)


def check_sites(predictions, plan):
    """Raise a `ValueError` unless the labels that follow the plan are right for the predictions.

    The host's sites and the `FeatureMixAdapt` layers must match, and all that reaches the predictions must have passed
    every one of them: what goes around a mixing point is not mixed as the labels are.

    Args:
        predictions: Symbolic predictions of the model.
        plan: The symbolic plan it returns.
    """
    host, *adapters = plan_chain(plan)
    sites = [adapter.site for adapter in adapters]
    if len(set(sites)) < len(sites):
        raise ValueError(f"`FeatureMixAdapt` layers must have different sites. Received: sites={sites}")
    missing = sorted(set(host.sites) - set(sites) - {0})
    if missing:
        raise ValueError(
            f"`sites` of {host.name!r} must each have a `FeatureMixAdapt` layer that its plan passes. "
            f"Received: sites={host.sites} with layers for {sorted(sites)}, none for {missing}"
        )
    unreachable = sorted(set(sites) - set(host.sites))
    if unreachable:
        raise ValueError(
            f"`FeatureMixAdapt` layers must have a site among those of {host.name!r}: {host.sites}. "
            f"Received: site={unreachable[0]}, which never fires"
        )
    chain = [host, *adapters]
    for layer in _layers_behind(predictions):
        if isinstance(layer, MIXING) and layer not in chain:
            raise ValueError(
                "`outputs` must end with the plan that every mixing layer on the way to the predictions passed on. "
                f"Received: a plan that did not pass {layer.name!r}"
            )
        hidden = [inner.name for inner in _inner_layers(layer) if isinstance(inner, MIXING)]
        if hidden:
            raise ValueError(
                "Mixing layers must stand in the model itself, where its plan can pass them. "
                f"Received: {hidden} inside the layer {layer.name!r}"
            )
    for layer in chain:
        if any(isinstance(end, keras.layers.InputLayer) for end in _layers_behind(predictions, stop=layer)):
            raise ValueError(
                f"All features that reach the predictions must pass {layer.name!r}, or they are not mixed as the "
                "labels are (a branch of a residual block is no mixing point, the sum after it is). "
                "Received: predictions that also depend on features that go around it"
            )


def output_of(model):
    """The symbolic output of a model, in its structure."""
    # A Sequential model has no `output` of its own.
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def is_transparent(layer):
    """Whether a layer is a model whose call is nothing but its graph, so that the graph may be run in its place."""
    return type(layer).call.__qualname__ in ("Functional.call", "Sequential.call") and bool(layer.inputs)


def calls_behind(outputs):
    """The calls (Keras' nodes) that symbolic outputs come from, each after those whose results it takes."""
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


def rerun(outputs, known, call, opens=lambda path, layer: False, path=""):
    """Run the graph behind symbolic outputs once more.

    Args:
        outputs: Symbolic outputs, in any structure.
        known: Values of symbolic inputs, by the `id` of the symbolic tensor.
        call: Called as `call(path, layer, args, kwargs)` for every call in the graph, with values in place of symbolic
            tensors; returns a value for each output of the layer, in the layer's structure. The path of a layer is its
            name, after those of the models that it is nested in, with slashes between.
        opens: Of `(path, layer)`, whether the graph of a nested model is run in place of the model.
        path: Where the outputs' graph is nested.

    Returns:
        The values of the outputs, in their structure.
    """
    values = dict(known)
    for node in calls_behind(outputs):
        layer = node.operation
        if all(id(tensor) in values for tensor in node.outputs):
            continue
        name = f"{path}/{layer.name}" if path else layer.name
        args, kwargs = node.arguments.fill_in(values)
        if is_transparent(layer) and opens(name, layer):
            given = keras.tree.flatten(args[0] if args else kwargs["inputs"])
            inner = {id(tensor): value for tensor, value in zip(layer.inputs, given, strict=True)}
            results = rerun(output_of(layer), inner, call, opens, name)
        else:
            results = call(name, layer, args, kwargs)
        for tensor, value in zip(node.outputs, keras.tree.flatten(results), strict=True):
            values[id(tensor)] = value
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], outputs)


def paths(outputs, path=""):
    """The paths of all layers in the graph behind symbolic outputs, those of nested models included."""
    found = []
    for node in calls_behind(outputs):
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        name = f"{path}/{layer.name}" if path else layer.name
        found.append(name)
        if is_transparent(layer):
            found.extend(paths(output_of(layer), name))
    return list(dict.fromkeys(found))


def fresh_inputs(inputs):
    """Symbolic inputs like these, and `known` for `rerun`."""
    fresh = keras.tree.map_structure(lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), inputs)
    pairs = zip(keras.tree.flatten(inputs), keras.tree.flatten(fresh), strict=True)
    return fresh, {id(old): new for old, new in pairs}


def _layers_behind(tensors, stop=None):
    """The operations that tensors come from by way of features, not of plans, and not beyond `stop`."""
    waiting, seen, found = keras.tree.flatten(tensors), set(), []
    while waiting:
        layer, node_index, _ = waiting.pop()._keras_history
        if layer is stop or (id(layer), node_index) in seen:
            continue
        seen.add((id(layer), node_index))
        found.append(layer)
        node = layer._inbound_nodes[node_index]
        if isinstance(layer, MIXING):
            waiting.append(features_and_plan(layer, node.arguments.args, node.arguments.kwargs)[0])
        else:
            waiting.extend(node.input_tensors)
    return found


def _node_of(tensor):
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]


def _inner_layers(layer):
    for inner in getattr(layer, "layers", ()):
        yield inner
        yield from _inner_layers(inner)
