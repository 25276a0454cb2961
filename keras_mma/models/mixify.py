"""Add mixing to an existing model."""

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_mma import layers
from keras_mma.layers import configs
from keras_mma.models import encoders, graph
from keras_mma.models.augmentation import end_of_augmentation
from keras_mma.models.mix_model import MixModel
from keras_mma.models.mixing_points import find_image, mixing_points, why_none

_STEPS = [
    *("train_step", "test_step", "make_train_function", "make_test_function", "compute_loss", "compute_metrics"),
    *(["compute_loss_and_updates"] if hasattr(keras.Model, "compute_loss_and_updates") else []),  # JAX
]


def mixify(
    model: keras.Model,
    mixer: Any,
    at: Sequence[str] | None = None,
    name: str | None = None,
    adapter: type | None = None,
    image: str | None = None,
    **adapt: Any,
) -> Any:
    """Build a `MixModel` that shares the layers and weights of a model: training one trains the other.

    If the network starts with random augmentation layers or crops, such as `keras.layers.RandomFlip` and
    `keras.layers.CenterCrop`, images are mixed after them.

    Args:
        model: A Functional or Sequential model: a network of `keras.applications`, a KerasHub `ImageClassifier` or
            `ImageSegmenter`, or your own. Mixing points may be inside nested models. Predictions may be vectors, maps
            (batch, height, width, classes), or several of these.
        mixer: A `Mixer`. It is copied; the copy, `MixModel.mixer`, mixes at the input and after each layer of `at`
            (sites 0 to `len(at)`). To mix features only, pass a mixer with the sites 1 to `len(at)`.
        at: Names of the layers after which features are mixed, in the order of the network: the first is site 1.
            Each must return one feature map (batch, height, width, channels), or one token sequence
            (batch, tokens, channels) that ends with patches on a grid. A layer inside a nested model is named
            `"model/layer"`, or by its own name if that is unique. By default, the points that `mixing_points` marks as
            default, and none for mixers that move or resize the image; `at=[]` mixes at the input only.
        name: Name of the new model.
        adapter: The layer that mixes features at each point, a subclass of `FeatureMixer` such as `CatchUpMix`;
            `FeatureMixAdapt` by default.
        image: Name of the input that takes the images, if the model has several. The other inputs go through a
            `FollowPlan`.
        **adapt: Arguments of every `adapter` layer.

    Returns:
        A `MixModel`.

    Raises:
        ValueError: If `at` has an unknown, ambiguous or repeated name, or names a layer that does not return a single
            feature map or token sequence or that a connection bypasses. If `model` has mixing layers already, overrides
            the steps of training, has several inputs of which `image` names none, or another input that `FollowPlan`
            cannot mix. If `mixer` is not a `Mixer` or has other sites, or `adapter` is not a `FeatureMixer`.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> model = keras_mma.mixify(network, keras_mma.layers.CutMix(), at=["stage1", "stage2"])
    >>> model.inference_model().count_params() == network.count_params()
    True
    """
    _check_mixer(mixer)
    adapter = layers.FeatureMixAdapt if adapter is None else adapter
    if not isinstance(adapter, type) or not issubclass(adapter, layers.FeatureMixer):
        raise ValueError(
            f"`adapter` must be a subclass of `FeatureMixer`, such as `CatchUpMix`. Received: adapter={adapter!r}"
        )
    if isinstance(model, MixModel):
        raise ValueError("`model` must not have mixing already. Received: a MixModel; use its `inference_model()`")
    source = find_image(model, image)
    _refuse_own_steps(model)
    if "site" in adapt:
        raise ValueError(
            f"`site` must not be passed: it follows from the order of `at`. Received: site={adapt['site']!r}"
        )
    if at is None and mixer.is_input_only:
        at = []
    if at is None:
        at = [point.name for point in mixing_points(model, mixer.data_format, image) if point.is_default]
        if not at:
            warnings.warn(
                f"{model.name!r} is mixed at the input only: {why_none(model)}. Pass `at=[]` if that is intended, or "
                "the names of layers.",
                stacklevel=2,
            )
    points = _find(model, _names(at))
    unused = {} if points else {name: value for name, value in adapt.items() if name != "data_format"}
    if unused:
        given = ", ".join(f"{name}={value!r}" for name, value in unused.items())
        raise ValueError(
            f"`at` must name a layer after which features are mixed, because `{next(iter(unused))}` is an argument of "
            f"the layers that mix them. Received: {given}, at={at}"
        )
    mixer = _with_sites(mixer, len(points))

    # A dict stays one, because Keras warns of an input in another structure.
    is_alone = len(model.inputs) == 1 and (isinstance(model, keras.Sequential) or not isinstance(model.input, dict))
    inputs, fresh = graph.fresh_inputs(source if is_alone else model.input)
    others = {other.name: fresh[id(other)] for other in model.inputs if other is not source}
    augmented_at = end_of_augmentation(model, source, mixer.data_format)
    images, plan = (fresh[id(source)], None) if augmented_at else mixer(fresh[id(source)])
    adapt.setdefault("data_format", mixer.data_format)
    mixed_at: set[str] = set()
    paths: dict[str, str] = {}

    held = [each.detector for each in (mixer, *getattr(mixer, "mixers", ()))]

    def own(value):
        """A value, or a copy of a layer that the mixer or another mixing point has."""
        is_held = any(value is other for other in held)
        held.append(value)
        return configs.copied(value) if is_held and isinstance(value, keras.layers.Layer) else value

    def call(path, layer, args, kwargs):
        nonlocal plan
        if isinstance(layer, keras.layers.InputLayer):  # not the images
            follow = layers.FollowPlan(data_format=mixer.data_format, name=f"follow_{layer.name}")
            return follow(others[layer.name], plan)
        other = paths.setdefault(layer.name, (path, layer))
        if other[1] is not layer:
            raise ValueError(
                "`at` must not reach into nested models that have layers of the same name, because the layers of a "
                f"model need unique names. Received: at={points}, which brings together {other[0]!r} and {path!r}; "
                "use points that are not nested, or other points"
            )
        outputs = layer(*args, **kwargs)
        if path == augmented_at:
            outputs, plan = mixer(outputs)
        if path not in points:
            return outputs
        if path in mixed_at:
            raise ValueError(f"`at` must name layers that are called once. Received: {path!r}, which is called again")
        mixed_at.add(path)
        if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) not in (3, 4):
            raise ValueError(
                "`at` must name layers that return one feature map (batch, height, width, channels), or one token "
                f"sequence (batch, tokens, channels) of patches on a grid. Received: {path!r}"
            )
        mixing = adapter(points.index(path) + 1, **{name: own(value) for name, value in adapt.items()})
        outputs, plan = mixing(outputs, plan)
        return outputs

    def enter_nested(path, layer):
        return any(place.startswith(path + "/") for place in (*points, augmented_at or ""))

    # What precedes the points comes first, so that an input that is used behind them follows the plan that they return.
    preceding = [] if not others else _outputs_of(model, [augmented_at, *points])
    *_, outputs = graph.rebuild_graph([*preceding, graph.output_of(model)], {id(source): images}, call, enter_nested)
    mixed = MixModel(inputs, (outputs, plan), name=name or f"mixed_{model.name}")
    mixed.share_weight_files(model)
    return mixed


def _outputs_of(model, paths):
    """The symbolic outputs of layers, or of the nested models that they are in."""
    names = {path.partition("/")[0] for path in paths if path}
    calls = graph.calls_behind(graph.output_of(model))
    return [list(call.outputs) for call in calls if call.operation.name in names]


def _check_mixer(mixer):
    if isinstance(mixer, layers.Mixer):
        return
    if isinstance(mixer, type) and issubclass(mixer, layers.Mixer):
        raise ValueError(
            f"`mixer` must be an instance: use {mixer.__name__}(). Received: the class {mixer.__qualname__}"
        )
    same_name = getattr(layers, type(mixer).__name__, None)
    hint = f"Keras' own layer has the same name as `keras_mma.layers.{same_name.__name__}`. " if same_name else ""
    raise ValueError(
        f"`mixer` must be a `Mixer`, such as SaliencyMix. {hint}Received: mixer={mixer!r} of {type(mixer).__module__}"
    )


def _refuse_own_steps(model):
    own = [
        name for name in _STEPS if name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)
    ]
    if own:
        raise ValueError(
            f"`model` must not override the steps of training, which the new model would not have: mixify "
            "`keras.Model(model.input, model.output)`, and build your own subclass of `MixModel` from the `input` and "
            "`output` of the result. Its `compute_loss` gets the original labels and `y_pred=(predictions, plan)`; "
            f"`MixModel.follow_plan` mixes the labels. Received: a {type(model).__name__}, which overrides {own}"
        )


def _names(at):
    names = [at] if isinstance(at, str) else at
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`at` must be a list of names of layers. Received: at={at!r}")
    return names


def _find(model, at):
    """The paths of the named layers. A layer is named by its path, or by its name where that is unique."""
    paths = graph.layers_by_path(graph.output_of(model))
    points = []
    for wanted in at:
        matches = [path for path in paths if path == wanted] or [
            path for path in paths if path.rpartition("/")[2] == wanted
        ]
        if not matches:
            for path, layer in paths.items():
                if encoders.is_encoder(layer) and wanted.startswith(f"{path}/"):
                    encoders.layers_of(layer)  # raises if its structure is not known
            names = [*paths, *(path.rpartition("/")[2] for path in paths)]
            close = list(dict.fromkeys(difflib.get_close_matches(wanted, names)))
            hint = f" Did you mean {close}?" if close else " `keras_mma.mixing_points` lists the candidates."
            raise ValueError(f"`at` must name layers of {model.name!r}.{hint} Received: {wanted!r}")
        if len(matches) > 1:
            raise ValueError(f"`at` must be unambiguous: use one of {matches}. Received: {wanted!r}")
        if matches[0] in points:
            raise ValueError(f"`at` must name each layer once. Received: {wanted!r} more than once")
        points.append(matches[0])
    return points


def _with_sites(mixer, points):
    """A copy of the mixer with a site for each point."""
    features = tuple(range(1, points + 1))
    named = tuple(site for site in mixer.sites if site > 0)
    is_complete = tuple(sorted(named)) == features
    sites = mixer.sites if is_complete else (0, *features)
    if named and not is_complete:
        raise ValueError(
            f"`mixer` must have the sites of `at`, 1 to {points}, or only 0. Received: sites={mixer.sites}"
        )
    copy = mixer.copy(sites=sites)
    if not mixer._inbound_nodes:  # otherwise it is the mixer of another model, which assignments do change
        for original in (mixer, *getattr(mixer, "mixers", ())):
            original.copied_into = (
                "the model that `mixify` built from a copy of it: set it on the `mixer` of that model"
            )
    return copy
