"""Mixed batches, adapted masks and galleries of mixers."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_mma import label_encoding, plans, plotting
from keras_mma.layers.feature_mix_adapt import FeatureMixAdapt
from keras_mma.layers.mixer import Mixer
from keras_mma.models.site_features import at_input, site_features
from keras_mma.saliency import fine_grained
from keras_mma.visualization.grid import WIDTH, Column, draw_grid, in_words, show, value_range

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_CHANNELS = (1, 3, 4)


def plot_mixing(
    mixer: Any,
    images: Any,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    samples: int = 6,
    features: dict[str, Any] | None = None,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Plot samples of a mixed batch: own image, partner, saliency of the partner, mask, mixed image, and its label.

    Args:
        mixer: A `Mixer`, or a `MixModel`, whose mixer is plotted with the saliency that its network finds. The plot
            shows one training call in which the input is the site that fires and every sample is mixed.
        images: Images (batch, height, width, channels) of any dtype and range, channels first if the mixer or the
            model takes them so.
        labels: Class indices (batch,) or (batch, 1), or vectors (batch, classes), or `None`. With labels, the label of
            the mixed image is drawn as a bar below it. Float labels (batch, 1) in [0, 1] are the shares of class 1.
        class_names: Names of the classes; their indices by default.
        samples: Number of samples to plot.
        features: Optional dict from names of mixing points to their features (batch, height, width, channels); the
            mask that `FeatureMixAdapt` adapts to each is plotted too.
        path: PNG file to which the plot is saved, or `None`.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If `images` is not a batch of images, `mixer` is neither a `Mixer` nor a `MixModel`, there are more
            or fewer labels than images, or fewer class names than classes.

    Example:

    >>> images, labels = np.random.randint(0, 256, (8, 32, 48, 3), "uint8"), np.arange(8) % 2
    >>> from keras_mma import visualization
    >>> figure = visualization.plot_mixing(
    ...     keras_mma.layers.SaliencyMix(), images, labels, class_names=["cat", "dog"], samples=3)
    >>> [axis.get_title() for axis in figure.axes[:5]]
    ['own image', 'partner', "partner's saliency", 'mask (white: own)', 'mixed']
    """
    images = _images(images)
    if isinstance(mixer, Mixer):
        if mixer.data_format == "channels_first" and images.shape[1] not in _CHANNELS and images.shape[-1] in _CHANNELS:
            raise ValueError(
                "`images` must be (batch, channels, height, width) for a mixer of channels first. "
                f"Received: shape {images.shape}"
            )
        received = _channels_last(images, mixer.data_format)
    else:
        sites = site_features(
            mixer, "mixer", "a `Mixer`, such as `MixUp()`, or a `MixModel`, such as `mixify(network, MixUp())`"
        )
        mixer = sites.mixer
        received = _channels_last(sites.model(images, training=False)[0], mixer.data_format)
    mixed, plan, saliency = _mix(mixer, received)
    partner = plan["partner"]
    bars, notes = None, _weight_notes(plan["weight"])
    if labels is not None:
        bars = _mixed_labels(labels, plan, class_names)
        notes = [in_words(label, class_names) for label in bars]
    columns = [
        Column("own image", received),
        Column("partner", received[partner]),
        Column("partner's saliency", saliency[partner], "saliency"),
        Column("mask (white: own)", plan["mask"], "mask"),
        Column("mixed", mixed, notes=notes, bars=bars),
    ]
    for name, maps in (features or {}).items():
        mask = _numpy(FeatureMixAdapt(1, data_format="channels_last").mask(ops.convert_to_tensor(maps), plan))
        columns.append(Column(f"MMA at {name}", mask, "mask", _weight_notes(mask.mean((1, 2, 3)))))
    return draw_grid(columns, min(samples, len(images)), path)


def plot_adaptation(model: Any, images: Any, samples: int = 4, path: str | os.PathLike | None = None) -> "Figure":
    """Plot how the mask of the mixer is adapted at each site, with the features of the network as it is trained.

    Args:
        model: A `MixModel` with at least one `FeatureMixAdapt`.
        images: Images (batch, height, width, channels), as the model takes them.
        samples: Number of samples to plot.
        path: PNG file to which the plot is saved, or `None`.

    Returns:
        The matplotlib figure. Below the mixed image and the mixer's mask stands the mixer's weight; below an adapted
        mask, the weight that its site gives the label.

    Raises:
        ValueError: If `model` is not a `MixModel`, or has no mixing points.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, input_shape=(32, 48, 3))
    >>> model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(), at=["stage1"])
    >>> from keras_mma import visualization
    >>> figure = visualization.plot_adaptation(model, np.random.randint(0, 256, (4, 32, 48, 3)), samples=2)
    >>> [axis.get_title() for axis in figure.axes[4:7]]
    ['site 1: own attention', "partner's attention", 'adapted mask']
    """
    sites = site_features(model)
    if not sites.layers:
        raise ValueError("`model` must mix features, as `FeatureMixAdapt` does. Received: one that mixes at the input")
    features = sites.model(_images(images), training=False)
    received = _channels_last(features[0], sites.mixer.data_format)
    mixed, plan, _ = _mix(sites.mixer, received)
    partner = plan["partner"]
    weights = _weight_notes(plan["weight"])
    columns = [
        Column("own image", received),
        Column("partner", received[partner]),
        Column("mixed at the input", mixed, notes=weights),
        Column("mixer's mask", plan["mask"], "mask", weights),
    ]
    tensors = keras.tree.map_structure(ops.convert_to_tensor, plan)
    for site, layer in sites.layers.items():
        values = ops.convert_to_tensor(features[site])
        mask = _numpy(layer.mask(values, tensors))
        title = f"site {site}: adapted mask"
        if getattr(layer, "attention", None) is not None:
            attention = _numpy(attention_of(layer, values, tensors))
            columns.append(Column(f"site {site}: own attention", attention, "attention"))
            columns.append(Column("partner's attention", attention[partner], "attention"))
            title = "adapted mask"
        notes = _weight_notes(site_weights(layer, mask, plan["weight"]))
        # A mask over channels is drawn as a row of them.
        mask = mask.reshape(len(mask), 1, -1, 1) if mask.shape[1:3] == (1, 1) else mask
        columns.append(Column(title, mask, "mask", notes))
    return draw_grid(columns, min(samples, len(received)), path)


def plot_gallery(
    mixers: dict[str, Mixer],
    images: Any,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Plot the same images through several mixers, a row for each.

    Args:
        mixers: Dict from names to `Mixer`s.
        images: Images (batch, height, width, channels) of any dtype and range; all are plotted.
        labels: Class indices (batch,) or (batch, 1), or vectors (batch, classes), or `None`.
        class_names: Names of the classes; their indices by default.
        path: PNG file to which the plot is saved, or `None`.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: If `images` is not a batch of images.
    """
    images = _images(images)
    scale, height = value_range(images), WIDTH * images.shape[1] / images.shape[2]
    rows: dict[str, tuple[Any, Any]] = {"images": (images, None if labels is None else _one_hot(labels, class_names))}
    for name, mixer in mixers.items():
        mixed, plan, _ = _mix(mixer, images)
        weights = None if labels is None else _mixed_labels(labels, plan, class_names)
        rows[name] = mixed, weights
    with plotting.style():
        figure = plotting.new_figure(WIDTH * len(images) + 0.4, (height + 0.25) * len(rows) + 0.2)
        axes = figure.subplots(len(rows), len(images), squeeze=False)
        for line, (name, (pictures, bars)) in zip(axes, rows.items(), strict=True):
            line[0].set_ylabel(name, fontsize=8)
            for sample, axis in enumerate(line):
                show(axis, pictures[sample], scale)
                if bars is not None:
                    axis.set_xlabel(in_words(bars[sample], class_names), fontsize=7)
    plotting.save(figure, path)
    return figure


def show_mixing(
    mixer: Any,
    images: Any,
    samples: int = 6,
    features: dict[str, Any] | None = None,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """`plot_mixing` without labels.

    Args:
        mixer, images, samples, features, path: See `plot_mixing`.

    Returns:
        The matplotlib figure.
    """
    return plot_mixing(mixer, images, samples=samples, features=features, path=path)


def attention_of(layer: FeatureMixAdapt, features: Any, plan: dict) -> Any:
    """The attention by which a `FeatureMixAdapt` adapts masks.

    Args:
        layer: The layer.
        features: Its features.
        plan: A plan.

    Returns:
        A float32 tensor (batch, height, width, 1).
    """
    return layer._attend(layer.to_maps(features, plan))


def site_weights(layer: Any, mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weights of the samples' own labels when a site fires.

    Args:
        layer: A layer at a feature site.
        mask: Its mask (batch, height, width, 1 or channels).
        weight: The weights of the mixer (batch,).

    Returns:
        Weights (batch,).
    """
    return weight if layer.label == "mixer" else mask.mean((1, 2, 3))


def _weight_notes(weights: np.ndarray) -> list[str]:
    return [f"weight {weight:.2f}" for weight in weights]


def _mix(mixer: Mixer, images: np.ndarray) -> tuple[np.ndarray, dict, np.ndarray]:
    """Mixed images, plan and saliency of a call at the input that mixes every sample."""
    mixer = at_input(mixer, data_format="channels_last")
    mixed, plan = mixer(images, training=True)
    find_saliency = fine_grained if mixer.detector is None else mixer.saliency_maps
    saliency = _numpy(find_saliency(ops.convert_to_tensor(images)))
    return _numpy(mixed), {name: _numpy(value) for name, value in plan.items()}, saliency


def _one_hot(labels: Any, class_names: Sequence[str] | None) -> np.ndarray:
    labels = np.asarray(labels)
    is_integer = np.issubdtype(labels.dtype, np.integer)
    are_shares = labels.ndim == 2 and labels.shape[-1] == 1 and labels.dtype.kind == "f"
    if are_shares and 0 <= labels.min() <= labels.max() <= 1 and (class_names is None or len(class_names) == 2):
        labels = np.concatenate([1 - labels, labels], -1)
    are_indices = labels.ndim == 1 or (labels.shape[-1] == 1 and (is_integer or class_names is not None))
    least = int(labels.max()) + 1 if are_indices else labels.shape[-1]
    count = least if class_names is None else len(class_names)
    if count < least or (not are_indices and count > least):
        raise ValueError(f"`class_names` must have the names of {least} classes. Received: {count} names")
    if are_indices:
        count = max(count, 2)  # a label of one class is read as the value of one output
    return _numpy(label_encoding.encode(ops.convert_to_tensor(labels), count, "labels"))


def encode_labels(labels: Any, class_names: Sequence[str] | None, count: int) -> np.ndarray:
    """Labels of `count` images as vectors, see `plot_mixing`; a `ValueError` if they do not fit."""
    encoded = _one_hot(labels, class_names)
    if len(encoded) != count:
        raise ValueError(f"`labels` must be as many as the images, {count}. Received: {len(encoded)}")
    return encoded


def _mixed_labels(labels: Any, plan: dict, class_names: Sequence[str] | None) -> np.ndarray:
    encoded = encode_labels(labels, class_names, len(plan["weight"]))
    return _numpy(plans.mix_labels(ops.convert_to_tensor(encoded), plan))


def _images(images: Any) -> np.ndarray:
    images = _numpy(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"`images` must be a batch (batch, height, width, channels). Received: shape {tuple(images.shape)}"
        )
    return images


def _channels_last(values: Any, data_format: str) -> np.ndarray:
    values = _numpy(values)
    return values if data_format == "channels_last" else values.transpose(0, 2, 3, 1)


def _numpy(values: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(values))
