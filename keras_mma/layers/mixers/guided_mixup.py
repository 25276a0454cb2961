"""GuidedMixup (Kang & Kim, AAAI 2023)."""

import keras
from keras import ops

from keras_mma.layers.saliency_mixer import SaliencyMixer
from keras_mma.plan import take_rows


@keras.saving.register_keras_serializable("keras_mma")
class GuidedMixup(SaliencyMixer):
    """Blends each image with its partner pixel by pixel, by the share of their saliency.

    With S scaled to a sum of 1:

        M  = S / (S + S_partner),    x~ = M x + (1 - M) x_partner
        y~ = mean(M) y + (1 - mean(M)) y_partner

    and M = 1/2 where neither is salient. Partners are far from each other in saliency, so that they hide little of each
    other.

    Args:
        probability: Share of rows that are mixed, in [0, 1].
        detector: As for `SaliencyMix`; the paper's fast version takes `"spectral_residual"`, the default.
        detector_size, attribution_layer: As for `SaliencyMix`.
        sites: Mixing points among which each step draws one: 0 the input, k `FeatureMixAdapt(site=k)`.
        partner: `"distance"` (the paper's greedy pairing, one cycle through the batch), `"shuffle"` or `"roll"`.
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
        ValueError: if an argument is out of its range or unknown, if an attribution is asked for without a network, or
            for a batch of another form; see `Mixer`.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.GuidedMixup(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612. Written from its description.
    """

    has_binary_mask = False

    def __init__(
        self,
        probability=1.0,
        detector="spectral_residual",
        detector_size=None,
        attribution_layer=None,
        sites=(0,),
        partner="distance",
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

    def draw(self, images, partner, maps):
        total = ops.sum(maps, axis=(1, 2, 3), keepdims=True)
        own = maps / ops.where(total > 0.0, total, 1.0)
        donor = take_rows(own, partner)
        both = own + donor
        mask = ops.where(both > 0.0, own / ops.where(both > 0.0, both, 1.0), 0.5)
        # A row that is its own partner is not mixed.
        is_alone = ops.reshape(partner == ops.arange(ops.shape(partner)[0], dtype="int32"), (-1, 1, 1, 1))
        return {"mask": ops.where(is_alone, 1.0, mask)}
