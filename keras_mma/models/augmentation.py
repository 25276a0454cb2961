"""Random augmentation layers inside a network: a mixer must come after those that move pixels.

Keras has no public base class for them, so they are recognized by the names of their classes.
"""

import warnings

import keras

from keras_mma.models import graph

#: Layers that move pixels. A mask that was drawn before them does not describe the images after them.
SPATIAL = {
    "AugMix",
    "RandAugment",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
}


def end_of_augmentation(model, image):
    """The path of the last random augmentation layer among the layers that the images pass before the first weights.

    Args:
        model: A Functional or Sequential model.
        image: The symbolic input that takes the images.

    Returns:
        A string, or `None` if the network does not start with augmentation.
    """
    random = [path for path, layer in _leading_chain(model, image) if _is_random(layer)]
    return random[-1] if random else None


def spatial_layers(layers, has_feature_sites):
    """The names of the layers that move pixels at random.

    Args:
        layers: Layers and operations of a graph.
        has_feature_sites: Whether features are mixed behind these layers. A flip changes the share of no mask, so it
            matters only there.

    Returns:
        A list of names.
    """
    names = SPATIAL if has_feature_sites else SPATIAL - {"RandomFlip"}
    return [inner.name for layer in layers for inner in graph.with_sublayers(layer) if _class_names(inner) & names]


def warn_of_moved_pixels(predictions, plan):
    """Warn of augmentation layers behind the mixer: the plan's mask does not describe what they return."""
    call = graph.plan_calls(plan)[0]
    behind = [other.operation for other in graph.feature_calls(predictions, stop=call)]
    moving = spatial_layers(behind, has_feature_sites=call.operation.sites != (0,))
    if moving:
        warnings.warn(
            f"{moving} move pixels at random after {call.operation.name!r} has drawn its mask, so that features and "
            "labels are not mixed by the same shares: put the mixer after them (`mixify` does, if they are the first "
            "layers of the network), or augment the images before they reach the model.",
            stacklevel=4,
        )


def _leading_chain(model, tensor, path=""):
    """Paths and layers, one after the other from the input, up to a branch or the first weights."""
    nodes = graph.calls_behind(graph.output_of(model))
    while True:
        readers = [node for node in nodes if any(value is tensor for value in node.input_tensors)]
        if len(readers) != 1 or len(readers[0].input_tensors) != 1 or len(readers[0].outputs) != 1:
            return
        layer = readers[0].operation
        name = f"{path}/{layer.name}" if path else layer.name
        if graph.has_learned_weights(layer):
            if graph.is_transparent(layer) and len(layer.inputs) == 1:
                yield from _leading_chain(layer, layer.inputs[0], name)
            return
        yield name, layer
        tensor = readers[0].outputs[0]


def _is_random(layer):
    classes = set().union(*(_class_names(inner) for inner in graph.with_sublayers(layer)))
    return bool(classes & SPATIAL) or any(name.startswith("Random") for name in classes)


def _class_names(layer):
    return {cls.__name__ for cls in type(layer).__mro__} if isinstance(layer, keras.layers.Layer) else set()
