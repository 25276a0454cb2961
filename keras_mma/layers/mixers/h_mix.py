"""HMix, a hybrid of MixUp and CutMix (Park et al., NeurIPS 2022)."""

from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class HMix(Mixer):
    """Pastes a box of each image's partner into the image and blends the rest, so that the image keeps a share lam.

    With lam ~ Beta(alpha, alpha) and a uniform center for each sample, the box covers a share r (1 - lam) of the image
    and is clipped at the border. With B the share of the image outside the box:

        M  = 0 inside the box, lam / B outside
        x~ = M x + (1 - M) x_partner,    y~ = lam y + (1 - lam) y_partner

    r = 1 is CutMix whose label does not depend on the border, r = 0 is MixUp.

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        ratio: r, in [0, 1].
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.HMix(ratio=0.75, seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - C. Park, S. Yun, S. Chun, A unified analysis of mixed sample data augmentation: a loss function perspective,
          NeurIPS 2022, arXiv:2208.09913.
    """

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, ratio: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.ratio = arguments.fraction("ratio", ratio)

    def sample_mask(self, images, partner, maps):
        batch_size, sizes = ops.shape(images)[0], self.image_size(ops.shape(images))
        lam = sampling.beta((batch_size,), self.step_value("alpha"), self.seed_generator)
        position = sampling.uniform((2, batch_size), self.seed_generator)
        lengths = masks.box_size(1.0 - self.ratio * (1.0 - lam), *sizes)
        box = masks.Box(*masks.random_bounds(position, lengths, sizes))
        blend = ops.minimum(lam / ops.maximum(box.mean(*sizes), 1e-12), 1.0)  # B is at least lam, but for rounding
        return masks.Dense(ops.reshape(blend, (-1, 1, 1, 1)) * box.rasterize(*sizes))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "ratio": self.ratio}
