"""Augmentation layers and crops inside a network: a mixer must come after those that move or cut off pixels.

Keras has no public base class for random layers, so they are recognized by the names of their classes.
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


_CROPS = {"CenterCrop", "Cropping2D"}


def end_of_augmentation(model, image, data_format):
    """The path of the last random or cropping layer among the layers that the images pass before the first weights.

    Args:
        model: A Functional or Sequential model.
        image: The symbolic input that takes the images.
        data_format: Their data format.

    Returns:
        A string, or `None` if the network does not start with augmentation or crops.
    """
    chain = _leading_chain(model, image)
    paths = [path for path, node in chain if _is_random(node.operation) or _crops_of(node, data_format)]
    return paths[-1] if paths else None


def warn_of_moved_pixels(predictions, plan):
    """Warn of augmentation layers and crops behind the mixer: the plan's mask does not describe what they return.

    Args:
        predictions, plan: Symbolic outputs of a `MixModel`.
    """
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
    cropping = crops(predictions, call.operation.data_format, stop=call)
    if cropping:
        warnings.warn(
            f"{cropping} cut off a part of what {call.operation.name!r} has mixed, so that labels keep the shares of "
            "the whole image: put the mixer after them (`mixify` does, if they are among the first layers of the "
            "network), or crop the images before they reach the model.",
            stacklevel=4,
        )


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


def crops(outputs, data_format, stop=None):
    """The names of the layers that cut off a fixed part of the images or feature maps that all features go through.

    A crop in a branch, as in residual blocks of NASNet, is none of them.

    Args:
        outputs: Symbolic outputs.
        data_format: That of the images.
        stop: The call (Keras node) of the mixer, or `None` for the whole graph.

    Returns:
        A list of names.
    """
    names = []
    for node in graph.feature_calls(outputs, stop):
        inner = _crops_of(node, data_format)
        if inner and graph.passes_all(outputs, node):
            names += inner
    return names


def _crops_of(node, data_format):
    """The names of the layers that crop in a call: the layer itself, or those of a nested model or `Pipeline`."""
    layer = node.operation
    if graph.is_transparent(layer):
        return crops(graph.output_of(layer), data_format)
    if "Pipeline" in _class_names(layer):
        return [inner.name for inner in layer.layers if _class_names(inner) & _CROPS]
    source, result = node.input_tensors[:1], node.outputs[:1]
    if not source or len(source[0].shape) != 4 or len(result[0].shape) != 4:
        return []
    before, after = tuple(source[0].shape[1:]), tuple(result[0].shape[1:])
    if _class_names(layer) & _CROPS:
        is_crop = before != after or None in after
    elif type(layer).__name__ == "GetItem":  # x[..., :3] keeps the shares
        axes = (0, 1) if data_format == "channels_last" else (1, 2)
        keys = _keys(node.arguments.args[1])
        is_crop = any(_cuts(keys[axis], before[axis]) for axis in axes)
    else:
        is_crop = getattr(layer, "crop_to_aspect_ratio", False) and not _have_same_aspect(before, after)
    return [layer.name] if is_crop else []


def _keys(key):
    """The slice of each of the three axes of images in `x[key]`, where `x` is a batch."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    for place in [place for place, item in enumerate(keys) if item is Ellipsis]:  # at most one; `in` compares arrays
        keys[place : place + 1] = [slice(None)] * (5 - len(keys))
    return [*keys, *[slice(None)] * (4 - len(keys))][1:]


def _cuts(key, before):
    """Whether a slice leaves out a part of an axis; `x[::2]` leaves out single rows only, which keeps the shares."""
    if not isinstance(key, slice):
        return False
    if before is None:
        return key.start not in (None, 0) or key.stop is not None
    try:
        kept = range(*key.indices(before))
    except TypeError:  # symbolic ends
        return True
    return not kept or min(kept) >= abs(kept.step) or before - 1 - max(kept) >= abs(kept.step)


def _have_same_aspect(before, after):
    """Whether images of two sizes have one aspect, in either data format."""
    (height, width), (new_height, new_width) = (
        size[:2] if before[2] == after[2] else size[1:] for size in (before, after)
    )  # fmt: skip
    return None not in (height, width) and height * new_width == width * new_height


def _leading_chain(model, tensor, path=""):
    """Paths and calls (Keras nodes), one after the other from the input, up to a branch or the first weights."""
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
        yield name, readers[0]
        tensor = readers[0].outputs[0]


def _is_random(layer):
    classes = set().union(*(_class_names(inner) for inner in graph.with_sublayers(layer)))
    return bool(classes & SPATIAL) or any(name.startswith("Random") for name in classes)


def _class_names(layer):
    return {cls.__name__ for cls in type(layer).__mro__} if isinstance(layer, keras.layers.Layer) else set()
