"""Put mixing points into an existing model."""

import difflib

import keras

from keras_mma.layers import FeatureMixAdapt, Mixer
from keras_mma.models import graph
from keras_mma.models.mix_model import MixModel
from keras_mma.models.mixing_points import check_single_input, mixing_points


def mixify(model, host, at=None, name=None, **adapt):
    """A `MixModel` of the same layers and weights: training the one trains the other.

    Args:
        model: A Functional or Sequential model with one image input: a network of `keras.applications`, a KerasHub
            `ImageClassifier`, your own. Nested models are looked into.
        host: A `Mixer`. Its sites become 0 (if it had it) and 1 to `len(at)`, unless it names them already.
        at: Names of the layers after which features are mixed, in the order of the network: the first is site 1.
            Each must give one map (batch, height, width, channels), or one token sequence (batch, tokens, channels)
            whose last tokens are patches on a grid. A layer inside a nested model is named as `"model/layer"`, or by
            its own name where no other layer has it. By default those that `mixing_points` suggests; `at=[]` mixes
            at the input only.
        name: Name of the new model.
        **adapt: Arguments of every `FeatureMixAdapt`.

    Returns:
        A `MixModel`.

    Raises:
        ValueError: if a name is unknown, ambiguous or given twice, a layer does not give a single map or token
            sequence, features go around it, the model is one with mixing already or has several inputs, or `host` is
            not a `Mixer` or names other sites.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> model = keras_mma.mixify(network, keras_mma.layers.CutMix(), at=["stage1", "stage2"])
    >>> model.inference_model().count_params() == network.count_params()
    True
    """
    if not isinstance(host, Mixer):
        raise ValueError(f"`host` must be a layer that draws a plan, such as SaliencyMix. Received: host={host!r}")
    if isinstance(model, MixModel):
        raise ValueError("`model` must have no mixing yet. Received: a MixModel; use its `inference_model()`")
    check_single_input(model)
    if "site" in adapt:
        raise ValueError(f"`site` of the adapters follows from the order of `at`. Received: site={adapt['site']!r}")
    if at is None:
        at = [point.name for point in mixing_points(model, host.data_format) if point.is_default]
    points = _find(model, _names(at))
    host = _with_sites(host, len(points))

    source = model.inputs[0]
    inputs = keras.Input(batch_shape=source.shape, dtype=source.dtype, name=source.name)
    images, plan = host(inputs)
    adapt.setdefault("data_format", host.data_format)
    mixed_at, paths = set(), {}

    def call(path, layer, args, kwargs):
        nonlocal plan
        other = paths.setdefault(layer.name, (path, layer))
        if other[1] is not layer:
            raise ValueError(
                "`at` must not open nested models with layers of the same name, which a model cannot hold. "
                f"Received: at={points}, which brings together {other[0]!r} and {path!r}; name points that are not "
                "nested, or other points"
            )
        outputs = layer(*args, **kwargs)
        if path not in points:
            return outputs
        if path in mixed_at:
            raise ValueError(f"`at` must name layers that are called once. Received: {path!r}, called again")
        mixed_at.add(path)
        if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) not in (3, 4):
            raise ValueError(
                "`at` must name layers that give one map (batch, height, width, channels), or one token sequence "
                f"(batch, tokens, channels) of patches on a grid. Received: {path!r}"
            )
        outputs, plan = FeatureMixAdapt(points.index(path) + 1, **adapt)(outputs, plan)
        return outputs

    def opens(path, layer):
        return any(point.startswith(path + "/") for point in points)

    outputs = graph.rerun(graph.output_of(model), {id(source): images}, call, opens)
    return MixModel(inputs, (outputs, plan), name=name or f"mixed_{model.name}")


def _names(at):
    names = [at] if isinstance(at, str) else at
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`at` must be a list of names of layers. Received: at={at!r}")
    return names


def _find(model, at):
    """The paths of the layers that are named, by their paths or, where it is clear which is meant, their names."""
    paths = graph.paths(graph.output_of(model))
    found = []
    for wanted in at:
        matches = [path for path in paths if path == wanted] or [
            path for path in paths if path.rpartition("/")[2] == wanted
        ]
        if not matches:
            names = [*paths, *(path.rpartition("/")[2] for path in paths)]
            close = list(dict.fromkeys(difflib.get_close_matches(wanted, names)))
            hint = f" Did you mean {close}?" if close else " `keras_mma.mixing_points` lists those that make sense."
            raise ValueError(f"`at` must name layers of {model.name!r}.{hint} Received: {wanted!r}")
        if len(matches) > 1:
            raise ValueError(f"`at` must say which layer is meant, one of {matches}. Received: {wanted!r}")
        if matches[0] in found:
            raise ValueError(f"`at` must name each layer once. Received: {wanted!r} more than once")
        found.append(matches[0])
    return found


def _with_sites(host, points):
    """A copy of the host with a site for each point; the host itself is left as it is."""
    features = tuple(range(1, points + 1))
    named = tuple(site for site in host.sites if site > 0)
    sites = host.sites if named == features else (0, *features)
    if named not in ((), features):
        raise ValueError(
            f"`host` must have the sites of `at`, 1 to {points}, or none but 0. Received: sites={host.sites}"
        )
    return host.copy(sites=sites)
