"""Watch mixing while a model trains."""

import contextlib
import csv
import importlib.util
import io
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_mma import files, plans, plotting
from keras_mma.callbacks.site_counts import SiteCounts
from keras_mma.models.site_features import at_input, site_features

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# The time from one report to the next, relative to that of a report.
_TIMES = 20


class MixingMonitor(keras.callbacks.Callback):
    """Writes pictures of mixed images and of adapted masks, and figures about them, while a `MixModel` trains.

    Both come from the images that are passed, a copy of the mixer, and the features of the network at the end of an
    epoch. Training is not disturbed: its draws are the same with and without the callback.

    The figures of an epoch are `site{k}/rate`, the share of the training steps since the last report in which site k
    fired; the mean and the standard deviation of the mixer's weights; and, for each `FeatureMixAdapt` at site k, the
    two issues that mask adaptation is meant to solve:

    - `site{k}/edge_jump`: mean absolute difference of the adapted mask between neighboring cells of which one lies
      inside and one outside of the mixer's region, 1 for a hard boundary;
    - `site{k}/mismatch`: 1 minus the correlation of the partner's saliency at the input with its attention at the site,
      only for mixers with a detector;

    and the mean and standard deviation of the weights there.

    Args:
        images: Images (batch, height, width, channels), as the model takes them; at least two. All of them go through
            the network at once in each report, so pass one batch.
        log_dir: Folder. With TensorFlow and the `tensorboard` package, events for TensorBoard are written there;
            otherwise `mixing.csv` and PNG files.
        labels: Labels of the images, drawn below the mixed images; see `keras_mma.visualization.plot_mixing`.
        class_names: Names of the classes.
        frequency: Number of epochs from one report to the next, a positive integer; the first is that of epoch 1. By
            default, a report waits for 20 times the duration of the last one, so that all reports after the first
            take at most 5 % of the time. With several workers, pass a number, so that all report at once.
        samples: Number of samples in the pictures; 0 writes none and needs no matplotlib.
        tensorboard: Whether to write events for TensorBoard; by default where both packages are installed.

    Raises:
        ValueError: If an argument is out of range, or, when training starts, if the model is not a `MixModel`,
            matplotlib is missing, or the labels do not fit.

    Example:

    >>> import tempfile
    >>> images, labels = np.random.uniform(0, 1, (8, 16, 16, 3)), np.eye(3)[np.arange(8) % 3]
    >>> network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=3)
    >>> model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(), at=["stage1"])
    >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    >>> monitor = keras_mma.callbacks.MixingMonitor(images, tempfile.mkdtemp(), samples=0)
    >>> history = model.fit(images, labels, verbose=0, callbacks=[monitor])
    >>> sorted(monitor.figures[0])[:3]
    ['epoch', 'mixer/weight_mean', 'mixer/weight_std']
    """

    def __init__(
        self,
        images: Any,
        log_dir: str | os.PathLike,
        *,
        labels: Any = None,
        class_names: Any = None,
        frequency: int | None = None,
        samples: int = 4,
        tensorboard: bool | None = None,
    ) -> None:
        super().__init__()
        self.images = np.asarray(images)
        if self.images.ndim != 4 or len(self.images) < 2:
            raise ValueError(
                "`images` must be a batch (batch, height, width, channels) of at least two. "
                f"Received: shape {self.images.shape}"
            )
        for name, value, least in (("frequency", frequency, 1), ("samples", samples, 0)):
            if name == "frequency" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                kind = "a positive" if least else "a non-negative"
                raise ValueError(f"`{name}` must be {kind} integer. Received: {name}={value!r}")
        packages = ("tensorflow", "tensorboard")
        missing = [name for name in packages if not importlib.util.find_spec(name)]
        if tensorboard and missing:
            raise ValueError(
                f"`tensorboard` needs {' and '.join(missing)}: pip install {' '.join(missing)}, or pass False. "
                "Received: tensorboard=True"
            )
        tensorboard = not missing if tensorboard is None else tensorboard
        self.log_dir, self.labels, self.class_names = Path(log_dir), labels, class_names
        if self.log_dir.exists() and not self.log_dir.is_dir():
            raise ValueError(f"`log_dir` must be a folder. Received: the file {self.log_dir}")
        self.frequency, self.samples, self.tensorboard = frequency, samples, tensorboard
        #: The figures of the last training, a dict for each report.
        self.figures: list[dict[str, float]] = []
        self._earlier: list[dict] = []
        self._writer: Any = None
        self._counts: Any = None
        self._last, self._cost = 0.0, 0.0

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        site_features(model)  # raises for other models
        if len(model.inputs) > 1:
            raise ValueError(f"`MixingMonitor` needs a model with one input. Received: {len(model.inputs)} inputs")
        shape, own = tuple(model.inputs[0].shape[1:]), self.images.shape[1:]
        if len(shape) != 3 or any(None not in pair and pair[0] != pair[1] for pair in zip(shape, own, strict=True)):
            raise ValueError(f"`images` must have the shape of the model's input, {shape}. Received: shape {own}")
        if self.samples:
            plotting.require()
            if self.labels is not None:
                from keras_mma.visualization.mixing import encode_labels

                encode_labels(self.labels, self.class_names, len(self.images))

    def _count_sites(self) -> None:
        """Count how often each site fires. `set_model` is too early: `evaluate` and `predict` call it too."""
        others = self._others(self.model)
        strategy = getattr(self.model, "distribute_strategy", None)  # of TensorFlow
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            self._counts = SiteCounts(sorted(self.model.mixer.sites))
        self.model.set_plan_metrics(*others, self._counts)

    def _others(self, model: Any) -> list:
        """The plan metrics of the model that are not those of this callback."""
        return [metric for metric in model.plan_metrics if metric is not self._counts]

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._count_sites()
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.figures, self._earlier, self._last, self._cost = [], [], 0.0, 0.0
        if self.tensorboard:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        table = self.log_dir / "mixing.csv"
        if table.exists():
            with table.open(newline="") as file:
                self._earlier = list(csv.DictReader(file))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        start = time.perf_counter()
        is_early = start - self._last < _TIMES * self._cost if self.frequency is None else epoch % self.frequency
        if not is_early:
            # A copy of a mixer without a seed draws one, from the numbers by which Keras shuffles a `PyDataset`.
            state = random.getstate()
            self._report(epoch)
            random.setstate(state)
            self._last = time.perf_counter()
            self._cost = self._last - start

    def _report(self, epoch: int) -> None:
        self.figures.append({"epoch": epoch + 1, **self._counts.rates(), **measure(self.model, self.images)})
        pictures = self._pictures() if self.samples else {}
        if self._writer is not None:
            self._write_events(epoch + 1, pictures)
            return
        for name, figure in pictures.items():
            plotting.save(figure, self.log_dir / f"{name}-{epoch + 1:04d}.png")
        # A training that was resumed goes on with the table.
        first = self.figures[0]["epoch"]
        earlier = [row for row in self._earlier if (row.get("epoch") or "").isdecimal() and int(row["epoch"]) < first]
        rows = [*earlier, *self.figures]
        table = io.StringIO(newline="")
        # Some figures are missing where they mean nothing, such as the jump across the edge of a mask without one.
        writer = csv.DictWriter(table, dict.fromkeys(name for row in rows for name in row), restval="")
        writer.writeheader()
        writer.writerows(rows)
        files.write(self.log_dir / "mixing.csv", table.getvalue())

    def on_train_end(self, logs: dict | None = None) -> None:
        self.model.set_plan_metrics(*self._others(self.model))
        if self._writer is not None:
            self._writer.close()

    def _pictures(self) -> dict[str, "Figure"]:
        from keras_mma import visualization

        mixing = visualization.plot_mixing(self.model, self.images, self.labels, self.class_names, self.samples)
        pictures = {"mixing": mixing}
        if site_features(self.model).layers:
            pictures["adaptation"] = visualization.plot_adaptation(self.model, self.images, self.samples)
        return pictures

    def _write_events(self, step: int, pictures: dict[str, "Figure"]) -> None:
        import tensorflow as tf

        with self._writer.as_default(step=step):
            for name, value in self.figures[-1].items():
                if name != "epoch":
                    tf.summary.scalar(name, value)
            for name, figure in pictures.items():
                tf.summary.image(name, tf.image.decode_png(plotting.png(figure), channels=3)[None])
        self._writer.flush()


def measure(model: Any, images: Any) -> dict[str, float]:
    """The figures of `MixingMonitor` for one draw of the mixer.

    Args:
        model: A `MixModel`.
        images: Images (batch, height, width, channels).

    Returns:
        Dict from names to numbers.
    """
    from keras_mma.visualization.mixing import attention_of, site_weights

    sites = site_features(model)
    features = sites.model(images, training=False)
    mixer = at_input(sites.mixer)
    _, plan = mixer(features[0], training=True)
    plan = dict(plan)
    weight = ops.convert_to_numpy(plan["weight"])
    figures = {"mixer/weight_mean": float(weight.mean()), "mixer/weight_std": float(weight.std())}
    saliency = None
    if mixer.detector is not None:
        saliency = ops.convert_to_numpy(plans.take_partner(mixer.saliency_maps(features[0]), plan["partner"]))[..., 0]
    own = ops.convert_to_numpy(plan["mask"])[..., 0]
    for site, layer in sites.layers.items():
        mask = ops.convert_to_numpy(layer.mask(features[site], plan))
        if mask.shape[-1] == 1 and mask.shape[1:3] != (1, 1):
            jump = edge_jump(mask[..., 0], nearest(own, mask.shape[1:3]) >= 0.5)
            if jump is not None:
                figures[f"site{site}/edge_jump"] = jump
        if saliency is not None and getattr(layer, "attention", None) is not None:
            attention = ops.convert_to_numpy(
                plans.take_partner(attention_of(layer, features[site], plan), plan["partner"])
            )[..., 0]
            correlation = mean_correlation(nearest(saliency, attention.shape[1:3]), attention)
            if correlation is not None:
                figures[f"site{site}/mismatch"] = 1 - correlation
        weights = site_weights(layer, mask, weight)
        figures[f"site{site}/weight_mean"] = float(weights.mean())
        figures[f"site{site}/weight_std"] = float(weights.std())
    return figures


def nearest(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps (batch, height, width) at another size: the value at the center of each cell."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, maps.shape[1:], strict=True))
    return maps[:, rows][:, :, columns]


def edge_jump(mask: np.ndarray, inside: np.ndarray) -> float | None:
    """Mean absolute difference of a mask (batch, height, width) across the edge of a region; `None` without an edge."""
    jumps = [
        np.abs(np.diff(mask, axis=axis))[
            inside.take(range(1, inside.shape[axis]), axis) != inside.take(range(inside.shape[axis] - 1), axis)
        ]
        for axis in (1, 2)
    ]
    differences = np.concatenate(jumps)
    return float(differences.mean()) if len(differences) else None


def mean_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Mean over the samples of the correlation of two maps (batch, height, width); constant maps are left out."""
    values = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True) if x.std() > 0 and y.std() > 0]
    return float(np.mean(values)) if values else None
