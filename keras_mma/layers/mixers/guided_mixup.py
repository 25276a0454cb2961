"""GuidedMixup (Kang & Kim, AAAI 2023)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer
from keras_mma.plans import take_partner
from keras_mma.saliency.image_processing import blur, gaussian


@keras.saving.register_keras_serializable("keras_mma")
class GuidedMixup(Mixer):
    """Blends each image with its partner pixel by pixel, by their shares of saliency.

    With S blurred by a 7 x 7 Gaussian and normalized to a sum of 1:

        M  = S / (S + S_partner),    x~ = M x + (1 - M) x_partner
        y~ = mean(M) y + (1 - mean(M)) y_partner

    and M = 1/2 where both are 0. Partners are far from each other in saliency, so that they hide little of each other.

    Args:
        blur_sigma: Standard deviation in pixels of the Gaussian that blurs the saliency before samples are paired and
            mixed; 0 disables it. The authors' code uses 3, the default.
        detector: As for `Mixer`; `"smooth_spectral_residual"`, the default, is that of the authors' fast version. Their
            other version uses the gradient of the loss; `"gradient"` is that of the highest score, because labels do
            not reach a layer.
        partner: As for `Mixer`; `"distance"`, the default, is the paper's greedy pairing.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.GuidedMixup(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - M. Kang, S. Kim, GuidedMixup: an efficient mixup strategy guided by saliency maps, AAAI 2023,
          arXiv:2306.16612. The blur is that of the authors' code.
    """

    uses_saliency = True

    def __init__(
        self,
        *,
        blur_sigma: float = 3.0,
        detector: str | Callable | None = "smooth_spectral_residual",
        partner: str = "distance",
        **kwargs: Any,
    ) -> None:
        super().__init__(detector=detector, partner=partner, **kwargs)
        self.blur_sigma = arguments.non_negative("blur_sigma", blur_sigma)

    def saliency_maps(self, images):
        maps = super().saliency_maps(images)
        return blur(maps, gaussian(7, self.blur_sigma)) if self.blur_sigma else maps

    def sample_mask(self, images, partner, maps):
        total = ops.sum(maps, axis=(1, 2, 3), keepdims=True)
        own = maps / ops.where(total > 0.0, total, 1.0)
        both = own + take_partner(own, partner)
        mask = ops.where(both > 0.0, own / ops.where(both > 0.0, both, 1.0), 0.5)
        # A sample that is its own partner is not mixed.
        is_alone = ops.reshape(partner == ops.arange(ops.shape(partner)[0], dtype="int32"), (-1, 1, 1, 1))
        return masks.Dense(ops.where(is_alone, 1.0, mask))

    def get_config(self):
        return {**super().get_config(), "blur_sigma": self.blur_sigma}
