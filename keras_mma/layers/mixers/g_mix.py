"""GMix, Gaussian mixup (Park et al., NeurIPS 2022)."""

import math
from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class GMix(Mixer):
    """Blends each image with its partner by a Gaussian around a random pixel, so that the mask has no edge.

    With lam ~ Beta(alpha, alpha) and a uniform center c for each sample, for an image of H x W pixels:

        K(u) = exp(-pi |u - c|^2 / (l H W)),   l = min(lam, 1 - lam)
        M    = K if lam < 1/2, else 1 - K
        x~   = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    The whole of K sums to l H W; what lies outside the image is cut off.

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.GMix(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - C. Park, S. Yun, S. Chun, A unified analysis of mixed sample data augmentation: a loss function perspective,
          NeurIPS 2022, arXiv:2208.09913. The paper's images are square; H W stands for its squared side.
    """

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def sample_mask(self, images, partner, maps):
        batch_size, (height, width) = ops.shape(images)[0], self.image_size(ops.shape(images))
        lam = ops.reshape(sampling.beta((batch_size,), self.step_value("alpha"), self.seed_generator), (-1, 1, 1, 1))
        position = sampling.uniform((2, batch_size), self.seed_generator)
        # An empty Gaussian is the center alone.
        area = ops.maximum(ops.minimum(lam, 1.0 - lam), 1e-6) * ops.cast(height * width, "float32")
        kernel = ops.exp(-math.pi * masks.squared_distance(position, height, width) / area)
        return masks.Dense(ops.where(lam < 0.5, kernel, 1.0 - kernel))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
