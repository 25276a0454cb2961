"""SaliencyMix (Uddin et al., ICLR 2021)."""

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.backend import compiled
from keras_mma.layers import arguments
from keras_mma.layers.boxes import box_size, interval, mask_outside
from keras_mma.layers.saliency_mixer import SaliencyMixer, calibrated_weight
from keras_mma.plan import roll, take_rows

#: Where the patch comes from in the partner, where it goes in the row's own image.
SCHEMES = {
    "salient_to_corresponding": ("max", None),
    "salient_to_salient": ("max", "max"),
    "salient_to_nonsalient": ("max", "min"),
    "nonsalient_to_salient": ("min", "max"),
    "nonsalient_to_nonsalient": ("min", "min"),
}


@keras.saving.register_keras_serializable("keras_mma")
class SaliencyMix(SaliencyMixer):
    """Pastes the salient box of its partner into each image.

    With lambda ~ Beta(alpha, alpha) and S the saliency of the partner, for each row:

        (i, j) = argmax S,    box = H sqrt(1 - lambda) x W sqrt(1 - lambda) around (i, j)
        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    with M 0 inside the box and 1 outside. Ties of the maximum are broken at random.

    Args:
        alpha: Parameter of the Beta distribution, positive. The paper takes 1.
        probability: Share of rows that are mixed, in [0, 1]. The paper takes 0.5 on CIFAR and 1 on ImageNet.
        detector: `"fine_grained"` (the paper's choice), `"spectral_residual"`, `"frequency_tuned"`, a name registered
            with `keras_mma.saliency.register`, a callable that takes images (batch, height, width, channels) and
            returns maps (batch, height, width, 1); or, inside a `MixModel`, an attribution of the network that is
            trained: `"activation"` or `"gradient"`.
        detector_size: Height and width of the thumbnail on which the detector works, or `None`.
        attribution_layer: Name of the layer of `"activation"`; by default the last that gives maps.
        scheme: Source in the partner and target in the own image: `"salient_to_corresponding"` (the same place;
            the paper's best), `"salient_to_salient"`, `"salient_to_nonsalient"`, `"nonsalient_to_salient"` or
            `"nonsalient_to_nonsalient"`. All but the first move the patch, and mix at the input only.
        border: `"shift"` moves a box that crosses the border inside (the paper's text), `"clip"` cuts it off (the
            authors' code).
        box: `"sample"` draws a box for each row; `"batch"` takes the first row's for all (the authors' code).
        label: `"area"` (the paper): the label's share is the area's. `"saliency"`: it is the kept share of the own
            saliency over the sum of it and the pasted share of the partner's (ours, in no paper).
        sites: Mixing points among which each step draws one: 0 the input, k `FeatureMixAdapt(site=k)`.
        partner: `"shuffle"`, `"roll"` or `"distance"` (a greedy cycle from each image to the one whose saliency is
            farthest, as GuidedMixup pairs).
        num_classes: Number of classes, for integer labels of labelled batches.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        seed: Int that makes the draws repeatable.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        images: Images (batch, height, width, channels), or a labelled batch; see `Mixer`.
        labels, sample_weight, training: See `Mixer`.

    Returns:
        `(images, plan)` for images alone, the mixed batch in its own form for a labelled one.

    Raises:
        ValueError: if an argument is out of its range or unknown, if a scheme that moves the patch is asked for
            feature sites, or for a batch of another form; see `Mixer`.

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

    def __init__(
        self,
        alpha=1.0,
        probability=1.0,
        detector="fine_grained",
        detector_size=None,
        attribution_layer=None,
        scheme="salient_to_corresponding",
        border="shift",
        box="sample",
        label="area",
        sites=(0,),
        partner="shuffle",
        num_classes=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            detector=detector,
            detector_size=detector_size,
            attribution_layer=attribution_layer,
            probability=probability,
            sites=sites,
            partner=partner,
            num_classes=num_classes,
            data_format=data_format,
            seed=seed,
            **kwargs,
        )
        self.alpha = arguments.positive("alpha", alpha)
        self.scheme = arguments.one_of("scheme", scheme, SCHEMES)
        self.border = arguments.one_of("border", border, ("shift", "clip"))
        self.box = arguments.one_of("box", box, ("sample", "batch"))
        self.label = arguments.one_of("label", label, ("area", "saliency"))
        if SCHEMES[scheme][1] is not None and self.sites != (0,):
            raise ValueError(
                "`scheme` must be 'salient_to_corresponding' when `sites` has feature sites: a plan has no place for "
                f"a patch that moves. Received: scheme={scheme!r}, sites={self.sites}"
            )

    def draw(self, images, partner, maps):
        size, height, width = self.image_size(images)
        share = sampling.beta((size,), self.alpha, self.seed_generator)
        source_extreme, target_extreme = SCHEMES[self.scheme]
        source = take_rows(self._locate(maps, source_extreme), partner)
        target = source if target_extreme is None else self._locate(maps, target_extreme)
        if self.box == "batch":
            share, source, target = (ops.broadcast_to(x[:1], ops.shape(x)) for x in (share, source, target))
        lengths = box_size(share, height, width)
        source_bounds, target_bounds = (
            [interval(place[:, axis], lengths[axis], (height, width)[axis], self.border) for axis in (0, 1)]
            for place in (source, target)
        )
        drawn = {"box": target_bounds}
        if target_extreme is not None:
            drawn["box"], drawn["shift"] = self._align(source_bounds, target_bounds)
        if self.label == "saliency":
            donor = take_rows(maps, partner)
            donor = roll(donor, drawn["shift"]) if "shift" in drawn else donor
            drawn["weight"] = calibrated_weight(maps, donor, mask_outside(*drawn["box"], height, width))
        return drawn

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "scheme": self.scheme,
            "border": self.border,
            "box": self.box,
            "label": self.label,
        }

    def _locate(self, maps, extreme):
        """Row and column of the maximum (or minimum) of each map, int32 (batch, 2), ties broken at random."""
        chance = sampling.uniform((ops.shape(maps)[0],), self.seed_generator)
        return peak(maps if extreme == "max" else -maps, chance)

    @staticmethod
    def _align(source, target):
        """Cut clipped boxes to the part that both places hold; the shift that carries one to the other."""
        bounds, shift = [], []
        for (source_start, source_end), (target_start, target_end) in zip(source, target, strict=True):
            length = ops.minimum(source_end - source_start, target_end - target_start)
            bounds.append((target_start, target_start + length))
            shift.append(target_start - source_start)
        return bounds, ops.stack(shift, axis=1)


@compiled
def peak(maps, chance):
    """Where each map is highest, drawn uniformly among ties.

    One number for each map picks the tie: first its row, then its place in the row. Nothing is drawn, sorted or
    compared by index for each pixel.

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
