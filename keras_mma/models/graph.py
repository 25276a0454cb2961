"""Functional graphs: walking them, checking where a plan passes, and rebuilding them around the same layers.

Keras' own tools walk a graph by `_keras_history`, `_inbound_nodes` and the attributes of a node; there is no public API
for it.
"""

import keras

from keras_mma import plans
from keras_mma.layers import FeatureMixer, FollowPlan, Mixer
from keras_mma.models import encoders, model_inputs

MIXING = (Mixer, FeatureMixer)


def features_and_plan(layer, args, kwargs):
    """The features, and the plan or `None`, among the arguments of a call of a mixing layer or a `FollowPlan`."""
    arguments = dict(zip(("features", "plan"), args, strict=False)) | kwargs
    features = next(arguments[name] for name in ("images", "other", "features") if name in arguments)
    return features, None if isinstance(layer, Mixer) else arguments.get("plan")


def without_mixing(layer, args, kwargs):
    """What a mixing layer or a `FollowPlan` returns where nothing is mixed.

    The features are unchanged. A plan is only used by layers that are left out: any plan will do.
    """
    features, plan = features_and_plan(layer, args, kwargs)
    return features if isinstance(layer, FollowPlan) else (features, plan or plans.spec(None, None, None))


def plan_calls(plan):
    """The calls (Keras nodes) that a symbolic plan went through, from its mixer to the last feature mixer.

    Args:
        plan: A plan of `KerasTensor`s.

    Returns:
        A list of nodes; the layer of the first is a `Mixer`, those of the others are `FeatureMixer`s.

    Raises:
        ValueError: If the plan does not come from a `Mixer`, or another layer than a `FeatureMixer` changed it.
    """
    calls = []
    while True:
        node = _node_of(plan["weight"])
        layer = node.operation
        if not isinstance(layer, MIXING):
            raise ValueError(
                "`outputs` must end with the plan that a mixer and its `FeatureMixAdapt` layers returned. "
                f"Received: a plan that comes from the layer {layer.name!r} ({type(layer).__name__})"
            )
        changed = sorted(key for key, tensor in plan.items() if _node_of(tensor) is not node)
        if changed:
            raise ValueError(
                "A plan must stay as a mixer or a `FeatureMixAdapt` layer returned it, because features and labels "
                f"both follow it. Received: a plan whose {changed} come from another call than its 'weight'"
            )
        calls.insert(0, node)
        if isinstance(layer, Mixer):
            return calls
        _, plan = features_and_plan(layer, node.arguments.args, node.arguments.kwargs)


def check_sites(predictions, plan):
    """Raise a `ValueError` unless labels that follow the plan are right for the predictions.

    The mixer's sites must match the feature mixers, and every path to the predictions must go through all of them, each
    called once: features that go around a mixing point are not mixed as the labels are.

    Args:
        predictions: Symbolic predictions of the model.
        plan: The symbolic plan that the model returns.
    """
    chain = plan_calls(plan)
    mixer, *feature_mixers = (call.operation for call in chain)
    _check_numbers(mixer, [layer.site for layer in feature_mixers])
    for call in feature_calls(predictions):
        layer = call.operation
        if isinstance(layer, MIXING) and call not in chain:
            is_repeated = any(layer is other.operation for other in chain)
            raise ValueError(
                "`outputs` must end with a plan that went through every mixing layer on the way to the predictions. "
                f"Received: a plan that did not go through {layer.name!r}"
                + (", which is called more than once: call each mixing layer once" if is_repeated else "")
            )
        hidden = [inner.name for inner in with_sublayers(layer)[1:] if isinstance(inner, MIXING)]
        if hidden and not isinstance(layer, MIXING):  # a mixer may consist of others
            raise ValueError(
                "Mixing layers must be layers of the model itself, not of a nested layer, which hides the plan. "
                f"Received: {hidden} inside the layer {layer.name!r}"
            )
    _attach_followers(predictions, chain)
    for call in chain:
        ends = [end.operation for end in feature_calls(predictions, stop=call)]
        around = [end.name for end in ends if isinstance(end, keras.layers.InputLayer)]
        if around:
            raise ValueError(
                f"All features that reach the predictions must go through {call.operation.name!r}; those that bypass "
                "it are not mixed as the labels are. Mix after the sum at the end of a residual block, not inside a "
                "branch, and not at a layer that a skip connection bypasses; `keras_mma.mixing_points` lists the "
                "layers that qualify. A further input must go through `FollowPlan` with the plan of the place where it "
                "is used. "
                f"Received: predictions that also depend on features that go around it, from the input {around[0]!r}"
            )


def _attach_followers(predictions, chain):
    """Tell each `FollowPlan` which sites are in front of it.

    Raises:
        ValueError: If one of them follows another plan, is called more than once, or cannot follow the mixer.
    """
    mixer, calls = chain[0].operation, feature_calls(predictions)
    followers = [call for call in calls if isinstance(call.operation, FollowPlan)]
    for call in followers:
        layer = call.operation
        in_front = _followed_calls(call)
        if any(own is not other for own, other in zip(in_front, chain, strict=False)) or len(in_front) > len(chain):
            raise ValueError(f"`plan` must be that of the model's own mixer. Received: another plan in {layer.name!r}")
        if sum(other.operation is layer for other in followers) > 1:
            raise ValueError(f"A `FollowPlan` must be called once. Received: {layer.name!r}, which is called again")
        if mixer.is_input_only and len(call.outputs[0].shape) == 4:
            raise ValueError(
                f"`other` must not be maps for the mixer {mixer.name!r}, which moves or resizes the partner's image, "
                f"because a plan does not hold displacements. Received: maps in {layer.name!r}"
            )
        layer.sites = (0, *(other.operation.site for other in in_front[1:]))


def _followed_calls(call):
    """The calls that the plan of a `FollowPlan` went through."""
    return plan_calls(features_and_plan(call.operation, call.arguments.args, call.arguments.kwargs)[1])


def _check_numbers(mixer, sites):
    """Raise a `ValueError` unless the sites of the feature mixers are those of the mixer, which may be in a model."""
    if mixer.ignore_zero_weight:
        raise ValueError(
            "`ignore_zero_weight` requires labeled batches with sample weights, because a mixer inside a model sees "
            f"the images alone. Received: {mixer.name!r} in a `MixModel`"
        )
    if len(set(sites)) < len(sites):
        raise ValueError(f"Layers such as `FeatureMixAdapt` must have distinct sites. Received: sites={sites}")
    missing = sorted(set(mixer.sites) - set(sites) - {0})
    if missing:
        raise ValueError(
            f"Each of the `sites` of {mixer.name!r} must have a layer such as `FeatureMixAdapt` that its plan goes "
            f"through. Received: sites={mixer.sites} with layers for {sorted(sites)}, none for {missing}"
        )
    unreachable = sorted(set(sites) - set(mixer.sites))
    if unreachable:
        raise ValueError(
            f"Layers such as `FeatureMixAdapt` must have a site among those of {mixer.name!r}: {mixer.sites}. "
            f"Received: site={unreachable[0]}, which never fires"
        )


def output_of(model):
    """The symbolic output of a model, in its structure."""
    # A Sequential model has no `output` attribute.
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def is_transparent(layer):
    """Whether a layer is a model that only runs its graph, so that the graph can replace the call."""
    return type(layer).call.__qualname__ in ("Functional.call", "Sequential.call") and bool(layer.inputs)


def has_learned_weights(layer):
    """Whether a layer has weights that training changes, or would change if the layer were not frozen."""
    # The weights of `Normalization` are statistics of the data.
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, keras.layers.Normalization)


def with_sublayers(layer):
    """A layer and all layers inside it, held in whatever way."""
    return layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else [layer]


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
            of a layer in a nested model is `"model/layer"`, and that of an input whose value is cast `"model/input"`.
        enter_nested: `enter_nested(path, layer)` says whether the graph of a nested model replaces the model, and the
            layers of an encoder replace the encoder (see `encoders`).
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
            inner = model_inputs.values_inside(layer, args[0] if args else kwargs["inputs"], call, name)
            results = rebuild_graph(output_of(layer), inner, call, enter_nested, name)
        elif encoders.is_encoder(layer) and enter_nested(name, layer):
            results = encoders.rerun(
                layer, args, kwargs, lambda part, x, name=name: call(f"{name}/{part.name}", part, (x,), {})
            )
        else:
            results = call(name, layer, args, kwargs)
        for tensor, value in zip(node.outputs, keras.tree.flatten(results), strict=True):
            values[id(tensor)] = value
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], outputs)


def enter_all(path, layer):
    """For `rebuild_graph`: enter every nested model and every encoder whose structure is known."""
    return not encoders.is_encoder(layer) or encoders.is_known(layer)


def layers_by_path(outputs, path=""):
    """All layers in the graph behind symbolic outputs by their paths, including those of nested models."""
    layers = {}
    for node in calls_behind(outputs):
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        name = f"{path}/{layer.name}" if path else layer.name
        layers.setdefault(name, layer)
        if is_transparent(layer):
            layers |= layers_by_path(output_of(layer), name)
        elif encoders.is_known(layer):
            layers |= {f"{name}/{part.name}": part for part in encoders.layers_of(layer)}
    return layers


def fresh_inputs(inputs):
    """New symbolic inputs like these, and the `values` of `rebuild_graph` that map the old ones to them."""

    def fresh_input(x):
        optional = getattr(x._keras_history.operation, "optional", False)
        return keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name, optional=optional)

    fresh = keras.tree.map_structure(fresh_input, inputs)
    pairs = zip(keras.tree.flatten(inputs), keras.tree.flatten(fresh), strict=True)
    return fresh, {id(old): new for old, new in pairs}


def feature_calls(tensors, stop=None):
    """The calls (Keras nodes) that tensors depend on through features (not through plans), up to the call `stop`.

    A `FollowPlan` whose plan went through `stop` mixes as `stop` does, so it is an end too.
    """
    waiting, calls = keras.tree.flatten(tensors), {}
    while waiting:
        node = _node_of(waiting.pop())
        if node is stop or id(node) in calls:
            continue
        is_follower = isinstance(node.operation, FollowPlan)
        if is_follower and stop is not None and stop in _followed_calls(node):
            continue
        calls[id(node)] = node
        if is_follower or isinstance(node.operation, MIXING):
            waiting.append(features_and_plan(node.operation, node.arguments.args, node.arguments.kwargs)[0])
        else:
            waiting.extend(node.input_tensors)
    return list(calls.values())


def passes_all(tensors, call):
    """Whether all features that tensors depend on go through a call (Keras node)."""
    return not any(isinstance(end.operation, keras.layers.InputLayer) for end in feature_calls(tensors, stop=call))


def _node_of(tensor):
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]
