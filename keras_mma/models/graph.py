"""Walks over Functional graphs: what a plan and the predictions passed, and a graph rebuilt around the same layers.

`_keras_history` and `_inbound_nodes` are how Keras' own tools walk a graph; there is no public name for it.
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


def rebuild(inputs, outputs, call):
    """A Functional model of the same layers, each called by `call(layer, *args, **kwargs)` on fresh inputs."""
    model = keras.Model(inputs, outputs)
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


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


def _inner_layers(layer):
    for inner in getattr(layer, "layers", ()):
        yield inner
        yield from _inner_layers(inner)
