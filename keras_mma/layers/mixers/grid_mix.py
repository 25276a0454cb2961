"""GridMix (Baek et al., Pattern Recognition 2021)."""

from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer
from keras_mma.resampling import resize


@keras.saving.register_keras_serializable("keras_mma")
class GridMix(Mixer):
    """Takes a random share of the cells of a grid from the partner.

    With lam ~ Beta(alpha, alpha) for each sample, round(lam n^2) random cells of an n x n grid are the sample's own:

        M  = 1 in these cells, 0 in the others
        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        grid: n, the number of cells along each side, a positive integer.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.GridMix(grid=8, seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - K. Baek, D. Bang, H. Shim, GridMix: strong regularization through local context mapping, Pattern Recognition
          109 (2021): the mask. (The paper also predicts a label for each cell.)
    """

    has_binary_mask = True
    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, grid: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.grid = arguments.integer("grid", grid, 1)

    def sample_mask(self, images, partner, maps):
        batch_size, cells = ops.shape(images)[0], self.grid**2
        lam = sampling.beta((batch_size, 1), self.step_value("alpha"), self.seed_generator)
        noise = sampling.uniform((batch_size, cells), self.seed_generator)
        rank = ops.argsort(ops.argsort(noise, axis=1), axis=1)
        is_own = ops.cast(rank, "float32") < ops.round(lam * cells)
        mask = ops.reshape(ops.cast(is_own, "float32"), (batch_size, self.grid, self.grid, 1))
        return masks.Dense(resize(mask, *self.image_size(ops.shape(images)), "nearest"))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "grid": self.grid}
