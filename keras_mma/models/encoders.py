"""Encoders of KerasHub's vision transformers: their blocks as layers of the graph, to mix features between them.

KerasHub has no public classes for them. Each is recognized by the name of its module and its class, and its call is
repeated here as calls of its layers.
"""

import inspect

import keras


@keras.saving.register_keras_serializable("keras_mma")
class FirstOutput(keras.layers.Layer):
    """A layer that returns the first output of another one, whose weights it shares.

    Args:
        layer: The other layer.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(**{"name": layer.name, "dtype": layer.dtype_policy, **kwargs})
        self.layer = layer

    def call(self, inputs, training=None):
        return self.layer(inputs, training=training)[0]

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self):
        layer = loadable(keras.saving.serialize_keras_object(self.layer), self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def _vit(encoder):
    return [encoder.dropout, *encoder.encoder_layers, encoder.layer_norm]


def _deit(encoder):
    # A block also returns attention scores or `None`, which is not an output of a graph.
    return [*map(FirstOutput, encoder.encoder_layers), encoder.layer_norm]


#: For each encoder, a function from the encoder to the layers that it calls one after the other.
ENCODERS = {
    ("keras_hub.src.models.vit.vit_layers", "ViTEncoder"): _vit,
    ("keras_hub.src.models.deit.deit_layers", "DeiTEncoder"): _deit,
}
_BLOCKS = {"ViTEncoderBlock", "DeiTEncoderBlock"}
_MODULES = ("keras_hub.src.models.vit.", "keras_hub.src.models.deit.")


def is_encoder(layer):
    """Whether a layer is one of `ENCODERS`."""
    return (type(layer).__module__, type(layer).__name__) in ENCODERS


def is_known(layer):
    """Whether a layer is an encoder with the structure that `layers_of` knows."""
    try:
        return is_encoder(layer) and bool(layers_of(layer))
    except ValueError:
        return False


def is_block(layer):
    """Whether a layer is a block of an encoder."""
    return type(getattr(layer, "layer", layer)).__name__ in _BLOCKS


def layers_of(encoder):
    """The layers that an encoder calls one after the other.

    Raises:
        ValueError: If the encoder has another structure than that of the KerasHub versions which are supported.
    """
    wanted = (
        f"{encoder.name!r} must have the layers of a {type(encoder).__name__} of KerasHub 0.32, for features to be "
        "mixed inside it. Received: a version "
    )
    try:
        layers = ENCODERS[type(encoder).__module__, type(encoder).__name__](encoder)
    except AttributeError as error:
        raise ValueError(f"{wanted}without them ({error})") from error
    called = {id(getattr(layer, "layer", layer)) for layer in layers}
    others = [x.name for x in encoder._flatten_layers(include_self=False, recursive=False) if id(x) not in called]
    if others:
        raise ValueError(f"{wanted}with others: {others}")
    return layers


def rerun(encoder, args, kwargs, call):
    """The outputs of an encoder, from calls of its layers.

    Args:
        encoder: One of `ENCODERS`.
        args, kwargs: The arguments of its call.
        call: `call(layer, features)` calls one of its layers.

    Returns:
        The outputs in the structure of those of the encoder.

    Raises:
        ValueError: If the call has other arguments than features, such as an attention mask.
    """
    inputs = [*args, *kwargs.values()]
    others = [value for value in inputs[1:] if value is not None and value is not False]
    if others:
        raise ValueError(
            f"{encoder.name!r} must be called on features alone, for features to be mixed inside it. "
            f"Received: a call with {len(others)} more arguments"
        )
    x = inputs[0]
    for layer in layers_of(encoder):
        x = call(layer, x)
    if type(encoder).__name__ == "DeiTEncoder":
        return x, None, None  # which its backbone does not use
    return x


def is_of_hub(layer):
    """Whether KerasHub defines the class of a layer, which may be loadable as a part of a whole backbone only."""
    return type(layer).__module__.partition(".")[0] == "keras_hub"


def complete(layer):
    """Set the attribute of a layer that its `get_config` reads and KerasHub 0.32 does not set."""
    if type(layer).__name__ == "DeiTEncoder" and is_encoder(layer) and not hasattr(layer, "key_dim"):
        layer.key_dim = layer.hidden_dim // layer.num_heads


def loadable(serialized, layer):
    """A serialized layer with a config that its constructor accepts.

    Configs of layers of KerasHub 0.32 hold values that the constructor computes and does not accept, and lack some of
    its arguments, because KerasHub saves whole backbones only.

    Args:
        serialized: What Keras serialized the layer as, a dict.
        layer: The layer, or `None` for an operation.
    """
    if not type(layer).__module__.startswith(_MODULES):
        return serialized
    names = set(inspect.signature(type(layer).__init__).parameters) - {"self", "kwargs"}
    known = names | {"name", "trainable", "dtype"}
    config = {name: value for name, value in serialized["config"].items() if name in known}
    others = {name: getattr(layer, name, None) for name in names - set(config)}
    return {**serialized, "config": config | {name: value for name, value in others.items() if value is not None}}
