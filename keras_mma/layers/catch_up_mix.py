"""Catch-up Mix (Kang et al., AAAI 2024)."""

from typing import Any

import keras
from keras import ops

from keras_mma.layers.feature_mixer import FeatureMixer
from keras_mma.plans import take_partner


@keras.saving.register_keras_serializable("keras_mma")
class CatchUpMix(FeatureMixer):
    """Mixes channels: each sample keeps those in which it is weak compared with its partner.

    With lam the plan's weight, for features F with C channels:

        n_c(F) = |F_c|_2 / sum_c |F_c|_2,    r_c = n_c(F) - n_c(F_partner)
        M_c = 1 for the floor(lam C) channels with the smallest r_c, 0 for the others
        F~  = M F + (1 - M) F_partner,    weight = floor(lam C) / C

    Filters that respond strongly are replaced by weak ones, which then learn from the sample. A sample that the mixer
    left unmixed stays exactly as it is. The plan's mask becomes the weight everywhere. In the paper, images are mixed
    by CutMix (site 0) and lam ~ Beta(alpha, alpha) at feature sites: `CutMix(border="inside")` draws boxes of that
    share.

    Args:
        site: The site of this mixing point, a positive integer. The mixer's `sites` must include it.
        label, grid, data_format: See `FeatureMixer`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        features, plan, training: See `FeatureMixer`.

    Returns:
        `(features, plan)`; see `FeatureMixer`.

    Raises:
        ValueError: If an argument is out of range; see `FeatureMixer`.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, classes=4)
    >>> mixer = keras_mma.layers.CutMix(border="inside")
    >>> model = keras_mma.mixify(network, mixer, at=["stage1", "stage2"], adapter=keras_mma.layers.CatchUpMix)

    References:
        - M. Kang, M. Kang, S. Kim, Catch-up Mix: catch-up class for struggling filters in CNN, AAAI 2024,
          arXiv:2401.13193.
    """

    def sample_mask(self, features, plan):
        channels = features.shape[-1]
        norm = relative_norm(ops.stop_gradient(ops.cast(features, "float32")))
        difference = norm - take_partner(norm, plan["partner"])
        rank = ops.argsort(ops.argsort(difference, axis=1), axis=1)
        # 0.7 * 10 may be less than 7 in float32.
        count = ops.floor(plan["weight"] * channels + 1e-4)
        is_own = ops.cast(rank, "float32") < count[:, None]
        return ops.reshape(ops.cast(is_own, "float32"), (-1, 1, 1, channels))

    def call(self, features: Any, plan: Any, training: bool | None = None) -> Any:
        features, mixed = super().call(features, plan, training=training)
        if not training:
            return features, mixed
        weight = ops.reshape(mixed["weight"], (-1, 1, 1, 1))
        return features, {**mixed, "mask": ops.where(plan["site"] == self.site, weight, plan["mask"])}


def relative_norm(features):
    """The 2-norm of each channel as a share of the sum over the channels; 0 for features of zeros.

    Args:
        features: Float32 tensor (batch, height, width, channels).

    Returns:
        A float32 tensor (batch, channels).
    """
    norm = ops.sqrt(ops.sum(ops.square(features), axis=(1, 2)))
    total = ops.sum(norm, axis=1, keepdims=True)
    return norm / ops.where(total > 0.0, total, 1.0)
