"""Layers that are called in inference mode, such as detectors and attentions, inside a step that trains others."""


def call(layer, inputs):
    """The outputs of a layer that is called with `training=False`, inside the call of another layer or outside."""
    # Keras would pass `training=False` on to the layers that the other one calls later. Outside, the context is that of
    # the layer and ends with its call, or, if that failed before it began, here.
    context = layer._get_call_context()
    training = getattr(context, "training", None)
    try:
        return layer(inputs, training=False)
    finally:
        context.training = training
        layer._maybe_reset_call_context()
