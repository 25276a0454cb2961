"""GuidedMixup (Kang & Kim, AAAI 2023)."""

import keras
from keras import ops

from keras_mma.layers import masks
from keras_mma.layers.mixer import Mixer
from keras_mma.plans import take_partner


@keras.saving.register_keras_serializable("keras_mma")
class GuidedMixup(Mixer):
    """Blends each image with its partner pixel by pixel, by their shares of saliency.

    With S normalized to a sum of 1:

        M  = S / (S + S_partner),    x~ = M x + (1 - M) x_partner
        y~ = mean(M) y + (1 - mean(M)) y_partner

    and M = 1/2 where both are 0. Partners are far from each other in saliency, so that they hide little of each other.

    Args:
        detector: As for `Mixer`; the paper's fast version uses `"spectral_residual"`, the default.
        partner: As for `Mixer`; `"distance"`, the default, is the paper's greedy pairing.
        **kwargs: Other arguments of `Mixer`: `probability`, `sites`, `num_classes`, `data_format`, `seed`, ...

    Call arguments:
        images, labels, sample_weight, training: See `Mixer`.

    Returns:
        `(images, plan)` for images without labels, the mixed batch for a labelled one; see `Mixer`.

    Raises:
        ValueError: See `Mixer`.

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
    uses_saliency = True

    def __init__(self, *, detector="spectral_residual", partner="distance", **kwargs):
        super().__init__(detector=detector, partner=partner, **kwargs)

    def sample_mask(self, images, partner, maps):
        total = ops.sum(maps, axis=(1, 2, 3), keepdims=True)
        own = maps / ops.where(total > 0.0, total, 1.0)
        both = own + take_partner(own, partner)
        mask = ops.where(both > 0.0, own / ops.where(both > 0.0, both, 1.0), 0.5)
        # A sample that is its own partner is not mixed.
        is_alone = ops.reshape(partner == ops.arange(ops.shape(partner)[0], dtype="int32"), (-1, 1, 1, 1))
        return masks.Dense(ops.where(is_alone, 1.0, mask))
