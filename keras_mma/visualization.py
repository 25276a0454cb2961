"""Pictures of mixed batches and training curves. Requires matplotlib (the `viz` extra)."""

from pathlib import Path

import numpy as np
from keras import ops

from keras_mma.layers.feature_mix_adapt import FeatureMixAdapt
from keras_mma.saliency import fine_grained


def show_mixing(mixer, images, samples=6, features=None, path=None):
    """Plot samples of a mixed batch: own image, partner, saliency of the partner, mask, mixed image.

    Args:
        mixer: A `Mixer`. The plot shows one training call in which the input is the site that fires and every sample is
            mixed.
        images: Images (batch, height, width, channels) of any dtype and range.
        samples: Number of samples to plot.
        features: Optional dict from names of mixing points to their features (batch, height, width, channels); the
            mask that `FeatureMixAdapt` adapts to each is plotted too.
        path: File to which the plot is saved, or `None`.

    Returns:
        The matplotlib figure.
    """
    from matplotlib.figure import Figure  # no global state, no window

    images = ops.convert_to_numpy(images)
    mixer = mixer.copy(sites=(0,), probability=1.0, data_format="channels_last")
    mixed, plan = mixer(images, training=True)
    find_saliency = fine_grained if mixer.detector is None else mixer.saliency_maps
    saliency = ops.convert_to_numpy(find_saliency(ops.convert_to_tensor(images)))
    partner = ops.convert_to_numpy(plan["partner"])
    columns = {
        "own image": images,
        "partner": images[partner],
        "partner's saliency": saliency[partner],
        "mask (white: own)": ops.convert_to_numpy(plan["mask"]),
        "mixed": ops.convert_to_numpy(mixed),
    }
    weights = {"mixed": ops.convert_to_numpy(plan["weight"])}
    for name, maps in (features or {}).items():
        mask = ops.convert_to_numpy(FeatureMixAdapt(1, data_format="channels_last").mask(maps, plan))
        columns[f"MMA at {name}"], weights[f"MMA at {name}"] = mask, mask.mean((1, 2, 3))
    samples = min(samples, len(images))
    figure = Figure(figsize=(1.6 * len(columns), 1.75 * samples + 0.3), layout="constrained")
    axes = figure.subplots(samples, len(columns), squeeze=False)
    scale = _range(images)
    for sample in range(samples):
        for axis, (title, values) in zip(axes[sample], columns.items(), strict=True):
            is_map = title not in ("own image", "partner", "mixed")
            limits = (0, max(float(values[sample].max()), 1e-6)) if "saliency" in title else (0, 1)
            picture = (
                values[sample] if is_map else np.clip((values[sample].astype("float32") - scale[0]) / scale[1], 0, 1)
            )
            gray = picture.shape[-1] != 3
            axis.imshow(
                picture[..., 0] if gray else picture,
                cmap="magma" if "saliency" in title else "gray",
                vmin=limits[0],
                vmax=limits[1],
                interpolation="nearest",
            )
            axis.set_xticks([])
            axis.set_yticks([])
            if sample == 0:
                axis.set_title(title, fontsize=8)
            if title in weights:
                axis.set_xlabel(f"weight {weights[title][sample]:.2f}", fontsize=7)
    _save(figure, path)
    return figure


def show_history(history, path=None):
    """Plot training curves.

    Args:
        history: Dict of lists, as `History.history`.
        path: File to which the plot is saved, or `None`.

    Returns:
        The matplotlib figure: one panel for the loss, one for each other metric, training and validation in each.
    """
    from matplotlib.figure import Figure

    names = [name for name in history if not name.startswith("val_") and name not in ("epoch", "learning_rate")]
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "training (mixed labels)"), (f"val_{name}", "validation")):
            if key in history:
                axis.plot(np.arange(1, len(history[key]) + 1), history[key], marker=".", label=label)
        axis.set(xlabel="epoch", title=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    _save(figure, path)
    return figure


def _range(images):
    low, high = float(images.min()), float(images.max())
    return (0.0, 255.0) if low >= 0 and high > 1 else (0.0, 1.0) if low >= 0 else (low, max(high - low, 1e-6))


def _save(figure, path):
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
