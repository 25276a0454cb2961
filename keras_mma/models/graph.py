"""Walks over Functional graphs: which mixing points a plan passed, and a graph rebuilt around the same layers."""

import keras

from keras_mma.layers import FeatureMixAdapt, Mixer


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
    tensor = plan["weight"]
    while True:
        # `_keras_history` and `_inbound_nodes` are how Keras' own tools walk a graph; there is no public name.
        layer, node_index, _ = tensor._keras_history
        chain.insert(0, layer)
        if isinstance(layer, Mixer):
            return chain
        if not isinstance(layer, FeatureMixAdapt):
            raise ValueError(
                "`outputs` must end with the plan that a host drew and `FeatureMixAdapt` layers passed on. "
                f"Received: a plan that comes from the layer {layer.name!r} ({type(layer).__name__})"
            )
        arguments = layer._inbound_nodes[node_index].arguments
        tensor = (arguments.kwargs.get("plan") or arguments.args[1])["weight"]


def check_sites(inputs, predictions, plan):
    """Raise a `ValueError` unless the host's sites and the `FeatureMixAdapt` layers match.

    Args:
        inputs, predictions: Symbolic inputs and predictions of the model.
        plan: The symbolic plan it returns.
    """
    host, *adapters = plan_chain(plan)
    sites = [adapter.site for adapter in adapters]
    duplicates = sorted({site for site in sites if sites.count(site) > 1})
    if duplicates:
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
    on_path = [
        layer for layer in keras.Model(inputs, predictions).layers if isinstance(layer, (Mixer, FeatureMixAdapt))
    ]
    for layer in (host, *adapters):
        if layer not in on_path:
            raise ValueError(
                f"`outputs` must be predictions from the features that {layer.name!r} mixed. "
                "Received: predictions that do not depend on them"
            )
    for layer in on_path:
        if layer not in (host, *adapters):
            raise ValueError(
                "`outputs` must end with the plan that every mixing layer on the way to the predictions passed on. "
                f"Received: a plan that did not pass {layer.name!r}"
            )


def rebuild(inputs, outputs, call):
    """A Functional model of the same layers, each called by `call(layer, *args, **kwargs)` on fresh inputs."""
    model = keras.Model(inputs, outputs)
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
