"""MixUp (Zhang et al., ICLR 2018)."""

from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class MixUp(Mixer):
    """Blends each image with its partner, with the same share everywhere.

    With lam ~ Beta(alpha, alpha) for each sample:

        x~ = lam x + (1 - lam) x_partner,    y~ = lam y + (1 - lam) y_partner

    At a feature site of `FeatureMixAdapt(attention=None, smooth=False)`, this is Manifold Mixup.

    Args:
        alpha: Parameter of the Beta distribution, positive. 1, the default, is the uniform distribution.
            (`keras.layers.MixUp` has a default of 0.2, which mixes less.)
        per: `"sample"` draws lam for each sample; `"batch"` draws one for the whole batch, and mixes
            either all of it or none, as the authors' code, timm and torchvision do.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.MixUp(alpha=0.2, seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, mixup: beyond empirical risk minimization, ICLR 2018,
          arXiv:1710.09412, equation in section 2.
    """

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, per: str = "sample", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.per = arguments.choice("per", per, ("sample", "batch"))
        self.draws_per_batch = per == "batch"

    def sample_mask(self, images, partner, maps):
        lam = sampling.beta((ops.shape(images)[0],), self.step_value("alpha"), self.seed_generator)
        return masks.Uniform(self.shared(lam))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "per": self.per}
