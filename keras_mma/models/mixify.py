"""Put mixing points into an existing model."""

import difflib

import keras

from keras_mma.layers import FeatureMixAdapt, Mixer
from keras_mma.models.mix_model import MixModel


def mixify(model, host, at=(), name=None, **adapt):
    """A `MixModel` of the same layers and weights: training the one trains the other.

    Args:
        model: A Functional or Sequential model with one image input.
        host: A `Mixer`. Its sites become 0 (if it had it) and 1 to `len(at)`, unless it names them already.
        at: Names of the layers after which features are mixed, in the order of the network: the first is site 1.
            Each must give one map (batch, height, width, channels).
        name: Name of the new model.
        **adapt: Arguments of every `FeatureMixAdapt`.

    Returns:
        A `MixModel`.

    Raises:
        ValueError: if a name is unknown or given twice, a layer does not give a single map, the model is one
            with mixing already or has several inputs, or `host` is not a `Mixer` or names other sites.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> model = keras_mma.mixify(network, keras_mma.layers.CutMix(), at=["stage1", "stage2"])
    >>> model.inference_model().count_params() == network.count_params()
    True
    """
    at = [at] if isinstance(at, str) else list(at)
    if not isinstance(host, Mixer):
        raise ValueError(f"`host` must be a layer that draws a plan, such as SaliencyMix. Received: host={host!r}")
    if isinstance(model, MixModel):
        raise ValueError("`model` must have no mixing yet. Received: a MixModel; use its `inference_model()`")
    symbolic_inputs = getattr(model, "inputs", None) or ()
    if len(symbolic_inputs) != 1:
        raise ValueError(
            "`model` must be a built Functional or Sequential model with a single input. "
            f"Received: {type(model).__name__} with {len(symbolic_inputs)} inputs"
        )
    _check_names(model, at)
    host = _with_sites(host, len(at))

    source = model.inputs[0]
    inputs = keras.Input(batch_shape=source.shape, dtype=source.dtype, name=source.name)
    images, plan = host(inputs)
    adapt.setdefault("data_format", host.data_format)
    mixed_layers = set()

    def call(layer, *args, **kwargs):
        nonlocal plan
        args, kwargs = keras.tree.map_structure(lambda x: images if x is inputs else x, (args, kwargs))
        outputs = layer(*args, **kwargs)
        if layer.name in at:
            if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) != 4:
                raise ValueError(
                    "`at` must name layers that give one map (batch, height, width, channels). "
                    f"Received: {layer.name!r}"
                )
            if layer.name in mixed_layers:
                raise ValueError(f"`at` must name layers that are called once. Received: {layer.name!r}, called again")
            mixed_layers.add(layer.name)
            outputs, plan = FeatureMixAdapt(at.index(layer.name) + 1, **adapt)(outputs, plan)
        return outputs

    # A Sequential model has no `output` of its own.
    plain = keras.Model(model.inputs, model.outputs[0] if isinstance(model, keras.Sequential) else model.output)
    mixed = keras.models.clone_model(
        plain,
        input_tensors=keras.tree.pack_sequence_as(plain.input, [inputs]),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return MixModel(inputs, (mixed.output, plan), name=name or f"mixed_{model.name}")


def _check_names(model, at):
    names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for wanted in at:
        if wanted not in names:
            close = difflib.get_close_matches(wanted, names)
            hint = f" Did you mean {close}?" if close else ""
            raise ValueError(f"`at` must name layers of {model.name!r}.{hint} Received: {wanted!r}")
        if at.count(wanted) > 1:
            raise ValueError(f"`at` must name each layer once. Received: {wanted!r} more than once")


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
