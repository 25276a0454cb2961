"""Where in a network features can be mixed, and where it makes sense."""

import collections
import itertools
import typing

import keras

from keras_mma.layers import arguments
from keras_mma.layers.tokens import find_grid
from keras_mma.models import graph

#: Stands for a height or width that the model leaves open.
_NOMINAL_SIZE = 256
_DEFAULT_POINTS = 2


class MixingPoint(typing.NamedTuple):
    """A layer after which features can be mixed.

    Attributes:
        name: Of the layer, as `mixify` takes it; after the names of the models that it is nested in, with slashes.
        shape: Of its output without the batch: (height, width, channels), in the data format; or (tokens, channels).
        is_default: Whether `mixify` mixes here when it is not told where.
    """

    name: str
    shape: tuple
    is_default: bool


class _Cut(typing.NamedTuple):
    """A call that everything that reaches the predictions passes."""

    name: str
    shape: tuple
    size: tuple  # rows and columns
    is_merge: bool
    has_weights: bool


def mixing_points(model, data_format=None):
    """The layers of a model where mixing features makes sense, one for each resolution.

    A layer qualifies if it is called once and everything that reaches the predictions passes its output, which is
    spatial: maps of more than a pixel, or a token sequence on a grid of patches. Of the layers of one resolution it is
    the last that ends a block (where branches meet, with the activation after it), the last of all where no branches
    meet, and the first complete token sequence. By default `mixify` mixes at the first two resolutions that have
    blocks, the coarsest left out.

    Args:
        model: A Functional or Sequential model with one image input; models nested in it are looked into.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.

    Returns:
        A list of `MixingPoint`s in the order of the network.

    Raises:
        ValueError: if the model has several inputs, none yet, or a `call` of its own.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> for point in keras_mma.mixing_points(network):
    ...     print(point.name, point.shape, point.is_default)
    stage1 (32, 32, 16) True
    stage2 (16, 16, 32) True
    stage3 (8, 8, 64) False
    """
    check_single_input(model)
    data_format = arguments.data_format(data_format)
    cuts = _cuts(model, data_format)
    resolutions = [list(group) for _, group in itertools.groupby(cuts, lambda cut: cut.size)]
    chosen = [_best(group) for group in resolutions]
    ahead = list(zip(chosen, resolutions, strict=True))[: max(len(chosen) - 1, 1)]
    with_blocks = [cut for cut, group in ahead if any(other.is_merge for other in group)]
    default = (with_blocks or [cut for cut, _ in ahead])[:_DEFAULT_POINTS]
    is_open = None in model.inputs[0].shape[1:]
    return [
        MixingPoint(cut.name, _open(cut.shape, data_format) if is_open else cut.shape, cut in default) for cut in chosen
    ]


def check_single_input(model):
    """Raise a `ValueError` unless a model is a built graph with one input, and nothing but this graph."""
    inputs = getattr(model, "inputs", None) or ()
    if inputs and not graph.is_transparent(model):
        raise ValueError(
            "`model` must be a Functional or Sequential model that does what its graph does. "
            f"Received: a {type(model).__name__}, which has a `call` of its own"
        )
    if len(inputs) != 1:
        raise ValueError(
            "`model` must be a built Functional or Sequential model with a single input. "
            f"Received: {type(model).__name__} with {len(inputs)} inputs"
        )


def _open(shape, data_format):
    return (None, None, shape[-1]) if data_format == "channels_last" else (shape[0], None, None)


def _best(group):
    """The layer of one resolution where mixing makes most sense."""
    if len(group[-1].shape) == 2:  # tokens
        return next(cut for cut in group if cut.shape == group[-1].shape)
    ends = [index for index, cut in enumerate(group) if cut.is_merge]
    if not ends:
        return group[-1]
    index = ends[-1]
    # The activation that belongs to the block.
    while index + 1 < len(group) and not group[index + 1].has_weights and group[index + 1].shape == group[index].shape:
        index += 1
    return group[index]


def _cuts(model, data_format):
    """The spatial cuts of the graph after its first weights, as long as the resolution does not grow."""
    image, calls, outputs = _calls(model, data_format)
    # In an order where each call comes after those it needs, a call is a cut if no value made before it is used after.
    made = {id(image): -1} | {id(value): index for index, call in enumerate(calls) for value in call.results}
    used_until = {index: index for index in range(-1, len(calls))}
    for index, call in enumerate(calls):
        for value in call.values:
            used_until[made[id(value)]] = index
    for value in keras.tree.flatten(outputs):
        used_until[made[id(value)]] = len(calls)
    image_size = _size(image.shape, None, data_format)
    # Tokens have a grid only if the image has a size.
    token_image = None if None in model.inputs[0].shape[1:] else image_size
    times_called = collections.Counter(call.name for call in calls)
    found, smallest, reach, is_after_weights = [], image_size, used_until[-1], False
    for index, call in enumerate(calls):
        is_cut, reach = reach <= index, max(reach, used_until[index])
        is_after_weights = is_after_weights or bool(getattr(call.layer, "trainable_weights", ()))
        if not (is_cut and is_after_weights and len(call.results) == 1 and times_called[call.name] == 1):
            continue
        shape = call.results[0].shape
        size = _size(shape, token_image, data_format)
        if size is None or size == (1, 1) or any(now > before for now, before in zip(size, smallest, strict=True)):
            continue
        smallest = size
        sizes = [_size(value.shape, token_image, data_format) for value in call.values]
        is_merge = len(sizes) > 1 and all(other == size for other in sizes)
        found.append(_Cut(call.name, shape[1:], size, is_merge, bool(getattr(call.layer, "weights", ()))))
    return found


class _Call(typing.NamedTuple):
    name: str
    layer: object
    values: list  # symbolic tensors that it takes
    results: list


def _calls(model, data_format):
    """The model's symbolic image, its calls with those inside nested models, and its outputs, of known sizes."""
    calls = []

    def call(path, layer, args, kwargs):
        outputs = layer(*args, **kwargs)
        values = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, keras.KerasTensor)]
        calls.append(_Call(path, layer, values, keras.tree.flatten(outputs)))
        return outputs

    (source,) = model.inputs
    axes = (1, 2) if data_format == "channels_last" else (2, 3)
    shape = [_NOMINAL_SIZE if size is None and axis in axes else size for axis, size in enumerate(source.shape)]
    image = keras.Input(batch_shape=shape, dtype=source.dtype)
    outputs = graph.rerun(graph.output_of(model), {id(source): image}, call, opens=lambda path, layer: True)
    return image, calls, outputs


def _size(shape, image_size, data_format):
    """Rows and columns of an output, or `None` if it is not spatial."""
    if len(shape) == 4:
        size = shape[1:3] if data_format == "channels_last" else shape[2:4]
        return None if None in size else tuple(size)
    if len(shape) == 3 and image_size is not None:
        return find_grid(shape[1], *image_size)
    return None
