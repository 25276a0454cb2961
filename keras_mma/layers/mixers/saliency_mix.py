"""SaliencyMix (Uddin et al., ICLR 2021)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mma import moving, sampling
from keras_mma.backend import xla_compiled
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer
from keras_mma.plans import take_partner

#: Extremes of saliency at the center of the box, in the partner and in the sample's own image (`None`: same position).
SCHEMES = {
    "salient_to_corresponding": ("max", None),
    "salient_to_salient": ("max", "max"),
    "salient_to_nonsalient": ("max", "min"),
    "nonsalient_to_salient": ("min", "max"),
    "nonsalient_to_nonsalient": ("min", "min"),
}


@keras.saving.register_keras_serializable("keras_mma")
class SaliencyMix(Mixer):
    """Pastes a box around the most salient pixel of each image's partner into the image.

    With lam ~ Beta(alpha, alpha) and S the saliency of the partner, for each sample:

        (i, j) = argmax S,    box = H sqrt(1 - lam) x W sqrt(1 - lam) around (i, j)
        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    with M 0 inside the box and 1 outside.

    Args:
        alpha: Parameter of the Beta distribution, positive. The authors' code uses 1.
        scheme: Where the box is taken from in the partner, and where it is pasted in the sample's own image:
            `"salient_to_corresponding"` (the same position; the default), `"salient_to_salient"`,
            `"salient_to_nonsalient"`, `"nonsalient_to_salient"` or `"nonsalient_to_nonsalient"`. All except the first
            move the box and mix at the input only.
        border: `"shift"` moves a box that crosses the border into the image (the paper's text), `"clip"` cuts it off
            (the authors' code).
        box: `"sample"` uses a box for each sample; `"batch"` uses the box of the first sample for all, and mixes either
            the whole batch or none of it (the authors' code).
        ties: `"random"` breaks ties of the maximum at random; `"first"` uses the first maximum in row-major order (the
            authors' code).
        detector: As for `Mixer`; `"fine_grained"`, the default, is the paper's choice. `"fine_grained_misread"` is what
            the authors' code computes, which is nearly noise.
        **kwargs: Arguments of `Mixer`: `probability` (the authors' code uses 0.5 on CIFAR and 1 on ImageNet), `sites`,
            `partner`, `label`, `seed`, ... See `Mixer` for the call.

    Raises:
        ValueError: If an argument is out of range, or a scheme that moves the box is combined with feature sites.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.arange(8) % 4
    >>> mixer = keras_mma.layers.SaliencyMix(num_classes=4, seed=1)
    >>> images, labels = mixer(images, labels)
    >>> tuple(labels.shape)
    (8, 4)

    References:
        - A. F. M. S. Uddin et al., SaliencyMix: a saliency guided data augmentation strategy for better
          regularization, ICLR 2021, arXiv:2006.01791, section 3.
    """

    has_binary_mask = uses_saliency = True

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        scheme: str = "salient_to_corresponding",
        border: str = "shift",
        box: str = "sample",
        ties: str = "random",
        detector: str | Callable | None = "fine_grained",
        **kwargs: Any,
    ) -> None:
        super().__init__(detector=detector, **kwargs)
        self.alpha = alpha
        self.scheme = arguments.choice("scheme", scheme, SCHEMES)
        self.border = arguments.choice("border", border, ("shift", "clip"))
        self.box = arguments.choice("box", box, ("sample", "batch"))
        self.draws_per_batch = box == "batch"
        self.ties = arguments.choice("ties", ties, ("random", "first"))
        self.is_input_only = SCHEMES[scheme][1] is not None
        if self.is_input_only and self.sites != (0,):
            raise ValueError(
                "`scheme` must be 'salient_to_corresponding' when `sites` has feature sites, because a plan cannot "
                f"describe a box that moves. Received: scheme={scheme!r}, sites={self.sites}"
            )

    def sample_mask(self, images, partner, maps):
        sizes = self.image_size(ops.shape(images))
        lam = sampling.beta((ops.shape(images)[0],), self.step_value("alpha"), self.seed_generator)
        source_extreme, target_extreme = SCHEMES[self.scheme]
        source = take_partner(self._locate(maps, source_extreme), partner)
        target = source if target_extreme is None else self._locate(maps, target_extreme)
        lam, source, target = map(self.shared, (lam, source, target))
        lengths = masks.box_size(lam, *sizes)
        source_bounds, target_bounds = (
            [masks.interval(center[:, axis], lengths[axis], sizes[axis], self.border) for axis in (0, 1)]
            for center in (source, target)
        )
        if target_extreme is None:
            return masks.Box(*target_bounds)
        # Boxes that are clipped stay around their centers, boxes that are shifted keep their size.
        shifts = [target[:, axis] - source[:, axis] for axis in (0, 1)]
        if self.border == "shift":
            shifts = [to[0] - origin[0] for to, origin in zip(target_bounds, source_bounds, strict=True)]
        return move(source_bounds, target_bounds, shifts, sizes)

    def get_config(self):
        names = ("alpha", "scheme", "border", "box", "ties")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _locate(self, maps, extreme):
        """Row and column of the maximum (or minimum) of each map, int32 (batch, 2)."""
        chance = ops.zeros((ops.shape(maps)[0],))
        if self.ties == "random":
            chance = sampling.uniform((ops.shape(maps)[0],), self.seed_generator)
        return peak(maps if extreme == "max" else -maps, chance)


def move(source, target, shifts, sizes):
    """The box that moves from its source by `shifts`, cut off where it leaves its target."""
    bounds = [
        (ops.maximum(to[0], origin[0] + shift), ops.minimum(to[1], origin[1] + shift))
        for origin, to, shift in zip(source, target, shifts, strict=True)
    ]
    return masks.Box(*bounds, source=tuple(map(moving.rolled, shifts, sizes)))


@xla_compiled
def peak(maps, chance):
    """Position of the maximum of each map; ties are broken uniformly.

    One random number per map selects among the ties: first the row, then the position in the row. Nothing is drawn,
    sorted or compared for each pixel.

    Args:
        maps: Tensor (batch, height, width, 1), finite.
        chance: Uniform random numbers in [0, 1), (batch,).

    Returns:
        Int32 tensor (batch, 2): row and column.
    """
    maps = ops.squeeze(maps, -1)
    highest = ops.max(maps, axis=(1, 2), keepdims=True)
    in_row = ops.sum(ops.cast(maps == highest, "int32"), axis=2)
    up_to_row = ops.cumsum(in_row, axis=1)
    total = up_to_row[:, -1:]
    rank = ops.cast(ops.floor(chance[:, None] * ops.cast(total, "float32")), "int32")
    rank = ops.minimum(rank, ops.cast(total - 1, "int32"))
    is_before = up_to_row <= rank
    row = ops.sum(ops.cast(is_before, "int32"), axis=1)
    rank = rank - ops.sum(ops.where(is_before, in_row, 0), axis=1, keepdims=True)
    in_column = ops.cast(ops.take_along_axis(maps, row[:, None, None], axis=1) == highest, "int32")
    column = ops.sum(ops.cast(ops.cumsum(ops.squeeze(in_column, 1), axis=1) <= rank, "int32"), axis=1)
    return ops.cast(ops.stack([row, column], axis=1), "int32")
