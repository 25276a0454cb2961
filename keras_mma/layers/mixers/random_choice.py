"""A mixer chosen at random among several."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mma import plans, sampling
from keras_mma.layers import arguments, configs, masks
from keras_mma.layers.mixer import Mixer
from keras_mma.layers.mixers.cut_mix import CutMix
from keras_mma.layers.mixers.mix_up import MixUp


@keras.saving.register_keras_serializable("keras_mma")
class RandomChoice(Mixer):
    """Mixes each batch, or each sample, by one of several mixers.

    By default, each batch is mixed by MixUp with alpha = 0.8 or by CutMix with alpha = 1, with equal probabilities, as
    timm switches between them.

    Args:
        mixers: List of `Mixer`s. Their `sites`, `data_format` and `num_classes` are ignored; their `probability`
            applies when they are chosen. All draws come from the seed of this layer.
        probabilities: Probability of each mixer, non-negative numbers with a sum of 1; equal by default.
        per: `"step"` chooses one mixer for the whole batch, and only its saliency is computed. `"sample"` chooses one
            for each sample.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `seed`, ... See `Mixer` for the call. Pass `partner`,
            `detector` and `label="saliency"` to the mixers instead, but `label="sumix"` and `ignore_zero_weight` to
            this layer.

    Raises:
        ValueError: If `mixers` is not a list of mixers, one of them moves or resizes the image or has an argument that
            belongs to this layer, the probabilities do not match, or this layer is passed one of theirs.

    Example:

    >>> mixers = [keras_mma.layers.MixUp(alpha=0.2), keras_mma.layers.SaliencyMix()]
    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.RandomChoice(mixers, probabilities=[0.3, 0.7], seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - R. Wightman, H. Touvron, H. Jégou, ResNet strikes back: an improved training procedure in timm, 2021,
          arXiv:2110.00476, section 2: MixUp or CutMix for each batch.
    """

    def __init__(
        self, mixers: Any = None, *, probabilities: Sequence[float] | None = None, per: str = "step", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if self.partner != "shuffle" or self.label == "saliency" or self.detector is not None:
            raise ValueError(
                "`partner`, `detector` and `label='saliency'` must be passed to the mixers of a RandomChoice, not to "
                f"it. Received: partner={self.partner!r}, detector={self.detector!r}, label={self.label!r}"
            )
        mixers = [MixUp(alpha=0.8), CutMix(alpha=1.0)] if mixers is None else mixers
        if not isinstance(mixers, (list, tuple)) or not mixers or not all(isinstance(m, Mixer) for m in mixers):
            raise ValueError(f"`mixers` must be a list of at least one `Mixer`. Received: mixers={mixers!r}")
        if any(isinstance(mixer, RandomChoice) for mixer in mixers):
            raise ValueError(
                "`mixers` must not contain another RandomChoice: list its mixers, with the products of the "
                "probabilities. "
                f"Received: mixers={mixers!r}"
            )
        for mixer in mixers:
            if mixer.is_input_only:
                raise ValueError(f"`mixers` must not move or resize the image. Received: {mixer.name!r}, which does")
            if mixer.label == "sumix" or mixer.ignore_zero_weight:
                raise ValueError(
                    "`label='sumix'` and `ignore_zero_weight` must be passed to a RandomChoice, not to its mixers. "
                    f"Received: {mixer.name!r} with one of them"
                )
        if probabilities is None:
            probabilities = [1 / len(mixers)] * len(mixers)
        probabilities = [arguments.fraction("probabilities", probability) for probability in probabilities]
        if len(probabilities) != len(mixers) or abs(sum(probabilities) - 1) > 1e-6:
            raise ValueError(
                f"`probabilities` must be {len(mixers)} numbers with a sum of 1. Received: {probabilities}"
            )
        # Copied: the choice must not change the mixers that it was given.
        self.mixers: list[Mixer] = []
        for mixer in mixers:
            is_shared = any(mixer.detector is other.detector for other in self.mixers)
            is_layer = isinstance(mixer.detector, keras.layers.Layer)
            own = {"detector": configs.copied(mixer.detector)} if is_shared and is_layer else {}
            self.mixers.append(mixer.copy(sites=(0,), data_format=self.data_format, **own))
        for mixer, copy in zip(mixers, self.mixers, strict=True):
            # Those of a model, and the copies that another choice has made, are still in use themselves.
            if not mixer._inbound_nodes and not getattr(mixer, "is_in_choice", False):
                mixer.copied_into = f"the copy of it in {self.name!r}: set it in `mixers` of that layer"
            copy.is_in_choice = copy.built = True  # built, because it is never called as a layer
        self.probabilities = tuple(probabilities)
        self.per = arguments.choice("per", per, ("step", "sample"))
        self.has_binary_mask = all(mixer.has_binary_mask for mixer in self.mixers)

    def sample(self, images):
        batch_size = ops.shape(images)[0]
        shape = () if self.per == "step" else (batch_size,)
        index = sampling.choice(tuple(range(len(self.mixers))), self.probabilities, self.seed_generator, shape)
        # Drawn here, because a branch must not update the state of a generator.
        seeds = [self.seed_generator.next() for _ in self.mixers]
        branches = [self._branch(images, *pair) for pair in zip(self.mixers, seeds, strict=True)]
        if self.per == "step":
            partner, mask, weight = ops.switch(index, branches)
        else:
            partner, mask, weight = select(index, [branch() for branch in branches])
        is_mixed = self.sample_is_mixed(batch_size)
        if is_mixed is not None:
            mask, weight = masks.Dense(mask).leave_out(is_mixed).values, ops.where(is_mixed, weight, 1.0)
        return partner, masks.Dense(mask), weight

    @property
    def is_pure(self):
        return super().is_pure and all(mixer.is_pure for mixer in self.mixers)

    def attributing_mixers(self):
        return [inner for mixer in self.mixers for inner in mixer.attributing_mixers()]

    def get_config(self):
        return {
            **super().get_config(),
            "mixers": [configs.serialize(mixer) for mixer in self.mixers],
            "probabilities": list(self.probabilities),
            "per": self.per,
        }

    @classmethod
    def from_config(cls, config):
        mixers = [keras.saving.deserialize_keras_object(mixer) for mixer in config["mixers"]]
        return super().from_config({**config, "mixers": mixers})

    def _branch(self, images, mixer, seed):
        height, width = self.image_size(ops.shape(images))

        def sample():
            with sampling.branch(seed):
                partner, mask, weight = mixer.sample(images)
            if mask.source is not None or mask.own_source is not None:
                raise ValueError(f"`mixers` must not move or resize the image. Received: {mixer.name!r}, which does")
            partner = plans.active_partner(partner, mask.find_unmixed())
            return partner, mask.rasterize(height, width), weight

        return sample


def select(index, samples):
    """The partner, mask and weight of each sample from those of several mixers.

    Args:
        index: Int32 tensor (batch,), the mixer of each sample.
        samples: For each mixer, its partners (batch,), masks (batch, height, width, 1) and weights (batch,).

    Returns:
        Partners, masks and weights of the same shapes.
    """
    partner, mask, weight = samples[0]
    for number, (other_partner, other_mask, other_weight) in enumerate(samples[1:], 1):
        is_chosen = index == number
        partner = ops.where(is_chosen, other_partner, partner)
        mask = ops.where(ops.reshape(is_chosen, (-1, 1, 1, 1)), other_mask, mask)
        weight = ops.where(is_chosen, other_weight, weight)
    return partner, mask, weight
