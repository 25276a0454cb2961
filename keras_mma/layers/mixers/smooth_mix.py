"""SmoothMix (Lee et al., CVPR workshops 2020)."""

from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class SmoothMix(Mixer):
    """Pastes a round spot of each image's partner into the image, with a Gaussian edge.

    With a uniform center c and a uniform s for each sample, for an image of H x W pixels:

        G(u) = exp(-|u - c|^2 / (2 s^2 H W)),    M = 1 - G
        x~   = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Args:
        sigma: Smallest and largest s, the standard deviation as a share of the image's side, positive.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.SmoothMix(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - J.-H. Lee, M. Z. Zaheer, M. Astrid, S.-I. Lee, SmoothMix: a simple yet effective data augmentation to train
          robust classifiers, CVPR workshops 2020. The range of `sigma` is that of OpenMixup.
    """

    def __init__(self, *, sigma: tuple[float, float] = (0.25, 0.5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sigma = arguments.interval("sigma", sigma)

    def sample_mask(self, images, partner, maps):
        batch_size, (height, width) = ops.shape(images)[0], self.image_size(ops.shape(images))
        # Beyond these, the spot is one pixel or the whole image, and the square of sigma is 0 or infinite in float32.
        smallest, largest = (min(max(sigma, 1e-6), 1e6) for sigma in self.sigma)
        sigma = sampling.uniform((batch_size, 1, 1, 1), self.seed_generator, smallest, largest)
        position = sampling.uniform((2, batch_size), self.seed_generator)
        variance = ops.square(sigma) * ops.cast(height * width, "float32")
        return masks.Dense(1.0 - ops.exp(-0.5 * masks.squared_distance(position, height, width) / variance))

    def get_config(self):
        return {**super().get_config(), "sigma": list(self.sigma)}
