"""Where in a network features can be mixed, and where it is useful."""

import collections
import itertools
import operator
import typing

import keras

from keras_mma.layers import arguments
from keras_mma.layers.tokens import find_grid
from keras_mma.models import encoders, graph

#: Replaces a height or width that the model leaves open.
_NOMINAL_SIZE = 256
_DEFAULT_POINTS = 2


class MixingPoint(typing.NamedTuple):
    """A layer after which features can be mixed.

    Attributes:
        name: Name of the layer as `mixify` takes it; `"model/layer"` for a layer inside a nested model.
        shape: Shape of its output without the batch axis: (height, width, channels) in the data format, or
            (tokens, channels).
        is_default: Whether `mixify` mixes here by default.
    """

    name: str
    shape: tuple
    is_default: bool


class _Cut(typing.NamedTuple):
    """A call that every path to the predictions goes through."""

    name: str
    shape: tuple
    size: tuple  # rows and columns
    is_merge: bool
    has_weights: bool
    is_block: bool  # a block of an encoder
    attentions: int  # calls of attention layers so far


def mixing_points(model: keras.Model, data_format: str | None = None, image: str | None = None) -> list[MixingPoint]:
    """List the layers of a model after which mixing features is useful, one per resolution.

    A layer qualifies if it is called once, every path to the predictions goes through its output, and the output is
    spatial: feature maps of more than one pixel, or a token sequence on a grid of patches. No layer from the first one
    with weights up to it may enlarge the feature maps. If the predictions are maps, a layer with weights must follow
    it. In a network for segmentation, skip connections bypass most inner layers, so that only layers before the first
    skip connection qualify. Among the
    layers of one resolution, the point is the last one that ends a block (where branches meet, with the activation
    after it), the last of all if no branches meet, or the first complete token sequence. In a transformer, the end of
    each block is listed too: a layer of the encoders of KerasHub's ViT and DeiT, or the last sum before the next
    `keras.layers.MultiHeadAttention`. By default, `mixify` mixes at the first two resolutions that have blocks, except
    the coarsest (which is not left out where the network enlarges it again).

    Args:
        model: A Functional or Sequential model. Layers of nested models are included.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        image: Name of the input that takes the images, if the model has several.

    Returns:
        A list of `MixingPoint`s in the order of the network.

    Raises:
        ValueError: If the model has several inputs and `image` is none of them, is not built, or overrides `call`.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> for point in keras_mma.mixing_points(network):
    ...     print(point.name, point.shape, point.is_default)
    stage1 (32, 32, 16) True
    stage2 (16, 16, 32) True
    stage3 (8, 8, 64) False
    """
    source = find_image(model, image)
    data_format = arguments.data_format(data_format)
    cuts, is_enlarged = _cuts(model, source, data_format)
    resolutions = [list(group) for _, group in itertools.groupby(cuts, lambda cut: cut.size)]
    chosen = [_best(group) for group in resolutions]
    blocks = [cut for group in resolutions for cut in _block_ends(group)]
    ahead = list(zip(chosen, resolutions, strict=True))[: len(chosen) if is_enlarged else max(len(chosen) - 1, 1)]
    with_blocks = [cut for cut, group in ahead if any(other.is_merge for other in group)]
    default = (with_blocks or [cut for cut, _ in ahead])[:_DEFAULT_POINTS]
    is_open = None in source.shape[1:]
    return [
        MixingPoint(cut.name, _open(cut.shape, data_format) if is_open else cut.shape, cut in default)
        for cut in cuts
        if cut in chosen or cut in blocks
    ]


def why_none(model):
    """Why a model has no mixing points, as a text for an error message."""
    opaque = [
        path
        for path, layer in graph.layers_by_path(graph.output_of(model)).items()
        if isinstance(layer, keras.Model) and not graph.is_transparent(layer)
    ]
    if opaque:
        return f"{opaque} are models without a graph of layers, because they define `call` themselves"
    return (
        "no layer returns feature maps of more than one pixel, or tokens on a grid, that every path from the input to "
        "the predictions goes through"
    )


def find_image(model, image=None):
    """The symbolic input of a model that takes the images.

    Args:
        model: A Functional or Sequential model.
        image: Its name; needed if the model has several inputs.

    Raises:
        ValueError: If there is no such input, or the model is not a built graph or overrides `call`.
    """
    inputs = getattr(model, "inputs", None) or ()
    if isinstance(model, keras.Sequential) and not inputs:
        raise ValueError(
            "`model` must be built first: pass `keras.Input(shape)` as its first layer, or call "
            f"`model.build((None, height, width, channels))`. Received: {model.name!r}, which is not built"
        )
    if inputs and not graph.is_transparent(model):
        raise ValueError(
            "`model` must be a Functional or Sequential model that only runs its graph. "
            f"Received: a {type(model).__name__}, which overrides `call`"
        )
    names = [source.name for source in inputs]
    if not inputs or (len(inputs) > 1 and image is None):
        raise ValueError(
            "`model` must be a built Functional or Sequential model with a single input, or `image` must name the one "
            f"that takes the images. Received: {type(model).__name__} with {len(inputs)} inputs {names}"
        )
    if image is not None and image not in names:
        raise ValueError(f"`image` must name an input of {model.name!r}, one of {names}. Received: image={image!r}")
    return inputs[0] if image is None else inputs[names.index(image)]


def _open(shape, data_format):
    return (None, None, shape[-1]) if data_format == "channels_last" else (shape[0], None, None)


def _best(group):
    """The layer of one resolution after which mixing is most useful."""
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


def _block_ends(group):
    """The layers of one resolution that end the blocks of a transformer."""
    tokens = [cut for cut in group if len(cut.shape) == 2]
    last_sums = {cut.attentions: cut for cut in tokens if cut.is_merge and cut.attentions}
    return [*(cut for cut in tokens if cut.is_block), *last_sums.values()]


def _cuts(model, source, data_format):
    """The spatial cuts between the first and the last weights, as long as the resolution does not grow.

    Values that do not depend on the images may go around a cut: they follow the plan on their own.

    Args:
        source: The input of the model that takes the images.

    Returns:
        A list of `_Cut`s, and whether the resolution grows somewhere.
    """
    image, calls, outputs = _calls(model, source, data_format)
    # In topological order, a call is a cut if no value computed before it is used after it.
    computed_at = {id(image): -1} | {id(value): index for index, call in enumerate(calls) for value in call.results}
    used_until = {index: index for index in range(-1, len(calls))}
    for index, call in enumerate(calls):
        for value in call.values:
            used_until[computed_at.get(id(value), index)] = index
    for value in keras.tree.flatten(outputs):
        if id(value) in computed_at:
            used_until[computed_at[id(value)]] = len(calls)
    image_size = _size(image.shape, None, data_format)
    # Tokens have a grid only if the image size is known.
    token_image = None if None in source.shape[1:] else image_size
    times_called, paths = collections.Counter(call.name for call in calls), graph.layers_by_path(graph.output_of(model))
    last_weights = max((index for index, call in enumerate(calls) if graph.has_learned_weights(call.layer)), default=0)
    has_spatial_output = any(_size(value.shape, None, data_format) for value in keras.tree.flatten(outputs))
    end = last_weights if has_spatial_output else len(calls)
    growing = [index for index, call in enumerate(calls) if _grows(call, token_image, data_format)]
    first_weights = next((index for index, call in enumerate(calls) if graph.has_learned_weights(call.layer)), 0)
    for index in growing:
        if index < first_weights:  # the network sees images that are enlarged, such as by `Resizing`
            image_size = _size(calls[index].results[0].shape, None, data_format) or image_size
    growing = [index for index in growing if index >= first_weights]
    cuts, smallest, reach, is_after_weights, attentions = [], image_size, used_until[-1], False, 0
    for index, call in enumerate(calls[: min([end, *growing])]):
        attentions += isinstance(call.layer, keras.layers.MultiHeadAttention)
        is_cut, reach = reach <= index, max(reach, used_until[index])
        is_after_weights = is_after_weights or graph.has_learned_weights(call.layer)
        if not (is_cut and is_after_weights and len(call.results) == 1 and times_called[call.name] == 1):
            continue
        if call.name not in paths:  # an input of a nested model, whose value is cast
            continue
        shape = call.results[0].shape
        size = _size(shape, token_image, data_format)
        if size is None or size == (1, 1) or any(new > old for new, old in zip(size, smallest, strict=True)):
            continue
        smallest = size
        sizes = [_size(value.shape, token_image, data_format) for value in call.values]
        is_merge = len(sizes) > 1 and all(other == size for other in sizes)
        has_weights = bool(getattr(call.layer, "weights", ()))
        is_block = encoders.is_block(call.layer)
        cuts.append(_Cut(call.name, shape[1:], size, is_merge, has_weights, is_block, attentions))
    return cuts, bool(growing)


def _grows(call, token_image, data_format):
    """Whether a call returns larger maps than it gets, other than by padding or by spreading a single pixel."""
    if type(call.layer).__name__ in ("Pad", "ZeroPadding2D"):
        return False
    before, after = (
        {_size(value.shape, token_image, data_format) for value in values} - {None, (1, 1)}
        for values in (call.values, call.results)
    )
    return bool(before) and any(all(any(map(operator.gt, new, old)) for old in before) for new in after)


class _Call(typing.NamedTuple):
    name: str
    layer: object
    values: list  # symbolic inputs
    results: list


def _calls(model, source, data_format):
    """The symbolic image of a model, the calls that depend on it, including those of nested models, and its outputs.

    All sizes are static.
    """
    calls = []

    def call(path, layer, args, kwargs):
        outputs = layer(*args, **kwargs)
        values = [value for value in keras.tree.flatten((args, kwargs)) if id(value) in depending]
        if values:
            calls.append(_Call(path, layer, values, keras.tree.flatten(outputs)))
            depending.update({id(value): value for value in calls[-1].results})
        return outputs

    axes = (1, 2) if data_format == "channels_last" else (2, 3)
    shape = [_NOMINAL_SIZE if size is None and axis in axes else size for axis, size in enumerate(source.shape)]
    image = keras.Input(batch_shape=shape, dtype=source.dtype)
    depending = {id(image): image}
    others = {id(other): keras.Input(batch_shape=other.shape, dtype=other.dtype) for other in model.inputs}
    outputs = graph.rebuild_graph(graph.output_of(model), {**others, id(source): image}, call, graph.enter_all)
    return image, calls, outputs


def _size(shape, image_size, data_format):
    """Rows and columns of an output, or `None` if it is not spatial."""
    if len(shape) == 4:
        size = shape[1:3] if data_format == "channels_last" else shape[2:4]
        return None if None in size else tuple(size)
    if len(shape) == 3 and image_size is not None:
        return find_grid(shape[1], *image_size)
    return None
