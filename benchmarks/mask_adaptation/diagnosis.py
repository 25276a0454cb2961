"""The measures of adapted masks in a network, for every mixing point and every setting."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

import keras_mma
from benchmarks.mask_adaptation import measures
from keras_mma.errors import InputError
from keras_mma.layers import tokens
from keras_mma.layers.feature_mix_adapt import activation, normalize
from keras_mma.models import graph
from keras_mma.resampling import resize
from keras_mma.saliency import fine_grained

#: Bars that a default must keep at every stage: the figure, and the limit that it must not exceed or fall below.
BARS = {"jump": ("at most", 0.5), "spread": ("at least", 0.9), "correlation": ("at least", 0.5)}


class Stage(NamedTuple):
    """A mixing point of a network.

    Args:
        name: Name of its layer.
        block: Model from its features to those of the next point; for the last point, to the last spatial output.
            `None` if there is none.
        next_name: Name of the layer at which the block ends, or `None`.
    """

    name: str
    block: Any
    next_name: str | None


class Network:
    """A network taken apart at its mixing points, in inference mode.

    Args:
        network: A Functional or Sequential model with one image input.
        at: Names of mixing points in the order of the network; by default all that `keras_mma.mixing_points` lists.

    Raises:
        InputError: If a name is no layer of the network that returns feature maps or token sequences.
    """

    def __init__(self, network, at=None):
        at = list(at or (point.name for point in keras_mma.mixing_points(network)))
        tensors, image = _tensors(network)
        self.image_size = tuple(image.shape[1:3])
        spatial = [name for name, tensor in tensors.items() if self._is_spatial(tensor)]
        for name in at:
            if name not in spatial:
                raise InputError(
                    f"`at` must name layers with feature maps, such as {', '.join(spatial[-3:])}. Received: {name}"
                )
        ends = [*at[1:], spatial[-1] if spatial[-1] != at[-1] else None]
        self.stages = [
            Stage(name, end and keras.Model(tensors[name], tensors[end]), end)
            for name, end in zip(at, ends, strict=True)
        ]
        self._features = keras.Model(image, [tensors[name] for name in at])

    def features(self, images):
        """The features of images at every mixing point, in a list."""
        return list(keras.tree.flatten(self._features(images, training=False)))

    def to_maps(self, features):
        """Features as maps (batch, height, width, channels)."""
        if len(features.shape) == 4:
            return features
        return tokens.to_maps(features, tokens.find_grid(features.shape[1], *self.image_size))

    def _is_spatial(self, tensor):
        if len(tensor.shape) == 4:
            return tuple(tensor.shape[1:3]) != (1, 1)
        return len(tensor.shape) == 3 and tokens.find_grid(tensor.shape[1], *self.image_size) is not None


def _tensors(network):
    """The symbolic outputs of all layers by path, those of nested models included, and the symbolic image."""
    tensors = {}

    def call(path, layer, args, kwargs):
        tensors[path] = layer(*args, **kwargs)
        return tensors[path]

    image, values = graph.fresh_inputs(network.inputs[0])
    graph.rebuild_graph(graph.output_of(network), values, call, lambda path, layer: True)
    single = {path: tensor for path, tensor in tensors.items() if isinstance(tensor, keras.KerasTensor)}
    return single, image


def diagnose(network, images, mixer, settings, at=None, batch_size=100, with_distortion=True):
    """Measure the adapted masks of every setting at every mixing point.

    Args:
        network: The network, see `Network`.
        images: Array (n, height, width, channels), what the network takes. A last batch of one image is left out.
        mixer: A `Mixer`. All samples are mixed; one plan is drawn for each batch, for all settings and points.
        settings: List of `Setting`s.
        at: Names of the mixing points, see `Network`.
        batch_size: Number of images that are mixed with each other.
        with_distortion: Whether to run the blocks, which takes most of the time.

    Returns:
        Dict with `stages` (the names of the points), `blocks` (for each stage, the layer at which its block ends, or
        `None`), `mixer_spread` (the standard deviation of the mixer's weights), `images` (their number),
        `mismatch` (for each stage, the mean correlation of the pooled saliency and the attention of an image, and the
        standard deviation of the attention) and `rows`, see `summarize`.
    """
    parts = Network(network, at)
    mixer = attach(network, mixer)
    sums, mismatch, weights = {}, {stage.name: [] for stage in parts.stages}, []
    for start in range(0, len(images) - 1, batch_size):
        batch = ops.convert_to_tensor(images[start : start + batch_size])
        _, plan = mixer(batch, training=True)
        saliency = (fine_grained if mixer.detector is None else mixer.saliency_maps)(batch)
        weights.append(ops.convert_to_numpy(plan["weight"]))
        for stage, features in zip(parts.stages, parts.features(batch), strict=True):
            view = _View(parts, stage, features, plan, with_distortion)
            mismatch[stage.name].append(view.mismatch(saliency))
            for setting in settings:
                for name, values in view.measure(setting).items():
                    sums.setdefault((setting, stage.name), {}).setdefault(name, []).append(values)
    weights = np.concatenate(weights)
    return {
        "stages": [stage.name for stage in parts.stages],
        "blocks": {stage.name: stage.next_name for stage in parts.stages},
        "images": len(weights),
        "mixer_spread": float(weights.std()),
        "mismatch": [
            {"stage": name, "correlation": _mean(values[0]), "attention_deviation": _mean(values[1])}
            for name, values in ((name, np.concatenate(batches, axis=1)) for name, batches in mismatch.items())
        ],
        "rows": [
            {"setting": setting.name, "spelling": setting.spelling, "stage": stage}
            | summarize({name: np.concatenate(values) for name, values in batches.items()}, weights)
            for (setting, stage), batches in sums.items()
        ],
    }


class _View:
    """One batch at one mixing point."""

    def __init__(self, parts, stage, features, plan, with_distortion):
        self.parts, self.stage, self.features, self.plan = parts, stage, features, plan
        maps = parts.to_maps(features)
        self.size = tuple(maps.shape[1:3])
        self.partner = ops.convert_to_numpy(plan["partner"])
        self.attention = _plane(normalize(activation(maps)))
        self.difference = self.attention - self.attention[self.partner]
        self.mask = _plane(resize(plan["mask"], *self.size, "area"))
        is_own, is_partner = self.mask > 1 - 1e-6, self.mask < 1e-6
        self.side = is_own.astype("int8") - is_partner.astype("int8")
        # A soft mask, such as that of GuidedMixup, has no edge: all cells count for the correlation.
        has_edge = bool((is_own | is_partner).any())
        self.cells = (is_own, is_partner) if has_edge else (self.mask > 0.5, self.mask <= 0.5)
        self.own = None
        if with_distortion and stage.block is not None:
            self.own = ops.convert_to_numpy(self._through_block(features))

    def mismatch(self, saliency):
        """Correlation of saliency and attention, and the deviation of the attention, (2, batch)."""
        pooled = _plane(resize(saliency, *self.size, "area"))
        return np.stack([measures.correlation(pooled, self.attention), self.attention.std((1, 2))])

    def measure(self, setting):
        """The measures of each sample, in a dict of arrays (batch,)."""
        plan, layer = self.plan, setting.layer
        adapted = layer.mask(self.features, plan)
        mask = _plane(adapted)
        jump, pairs = measures.jump(mask, self.side)
        step, hard = measures.neighbor_differences(mask)
        values = {
            "difference": np.abs(mask - self.mask).mean((1, 2)),
            "soft": measures.soft_share(mask),
            "jump": jump,
            "pairs": pairs,
            "step": step,
            "hard": hard,
            "weight": mask.mean((1, 2)) if layer.label == "adapted" else ops.convert_to_numpy(plan["weight"]),
        }
        for name, cells in zip(("own", "partner"), self.cells, strict=True):
            values[f"correlation_{name}"] = measures.correlation(mask, self.difference, cells)
            values[f"deviation_{name}"] = measures.deviation(mask, cells)
        if self.own is not None:
            values |= self._distortion(layer, plan, adapted)
        return values

    def _distortion(self, layer, plan, adapted):
        mixed, _ = layer(self.features, {**plan, "site": ops.convert_to_tensor(1, "int32")}, training=True)
        mixed = ops.convert_to_numpy(self._through_block(mixed))
        size = self.own.shape[1:3]
        values = measures.distortion(mixed, self.own, self.own[self.partner], _plane(resize(adapted, *size, "area")))
        near = measures.near_edge(_plane(resize(self.plan["mask"], *size, "nearest")) > 0.5)
        sums = {"magnitude": np.abs(self.own).mean((1, 2, 3))}
        for name, cells in (("near", near), ("rest", ~near), ("all", np.ones_like(near))):
            sums |= {f"distortion_{name}": (values * cells).sum((1, 2)), f"cells_{name}": cells.sum((1, 2))}
        return sums

    def _through_block(self, features):
        return self.parts.to_maps(self.stage.block(features, training=False))


def summarize(values, mixer_weights):
    """The figures of a setting at a stage.

    Args:
        values: Dict of arrays (n,), the measures of all samples.
        mixer_weights: The mixer's weights (n,).

    Returns:
        Dict of floats, or `None` where a figure is not defined: `difference` (mean of |M - m|), `soft` (share of cells
        with 0.1 < M < 0.9), `jump` (mean over pairs of cells across the edge), `step` and `hard` (mean absolute
        difference of neighbors, and share of those that differ by more than 1/2), `spread` (standard deviation of the
        weights, relative to that of the mixer), `correlation` (of M and A_own - A_partner within one side of a sample,
        mean over sides and samples), `deviation` (of M within one side of a sample), `distortion_near`,
        `distortion_rest` and `distortion_all` (relative to the mean magnitude of the block's output).
    """
    spread = mixer_weights.std()
    figures = {
        "difference": _mean(values["difference"]),
        "soft": _mean(values["soft"]),
        "jump": _ratio(values["jump"].sum(), values["pairs"].sum()),
        "step": _mean(values["step"]),
        "hard": _mean(values["hard"]),
        "spread": _ratio(values["weight"].std(), spread) if spread > 1e-6 else None,
        "correlation": _mean(np.concatenate([values["correlation_own"], values["correlation_partner"]])),
        "deviation": _mean(np.concatenate([values["deviation_own"], values["deviation_partner"]])),
    }
    for name in ("near", "rest", "all"):
        mean = (
            _ratio(values[f"distortion_{name}"].sum(), values[f"cells_{name}"].sum()) if "magnitude" in values else None
        )
        figures[f"distortion_{name}"] = None if mean is None else _ratio(mean, values["magnitude"].mean())
    return figures


def meets(row):
    """Dict from the names of the bars to whether a row keeps them; `None` where the figure is not defined."""
    verdicts = {}
    for name, (kind, limit) in BARS.items():
        value = row[name]
        verdicts[name] = None if value is None else bool(value <= limit if kind == "at most" else value >= limit)
    return verdicts


def meets_all(rows):
    """Whether rows, those of one setting at all stages, keep all bars that are defined."""
    return all(verdict is not False for row in rows for verdict in meets(row).values())


def attach(network, mixer):
    """A copy of the mixer with every sample mixed at the input, and with the network if it uses an attribution."""
    return keras_mma.mixify(network, mixer.copy(probability=1.0, sites=(0,)), at=[]).mixer


def _plane(maps):
    return ops.convert_to_numpy(maps)[..., 0]


def _mean(values):
    values = np.asarray(values)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _ratio(value, reference):
    return float(value / reference) if reference else None
