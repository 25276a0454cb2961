"""Attentive CutMix (Walawalkar et al., ICASSP 2020)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer
from keras_mma.plans import take_partner
from keras_mma.resampling import resize


@keras.saving.register_keras_serializable("keras_mma")
class AttentiveMix(Mixer):
    """Pastes the most attended cells of each image's partner into the image, at the same places.

    With S the saliency of the partner, for each sample:

        s  = pool(S, n x n),    M = 0 in the k cells with the highest s, 1 in the others
        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Ties are broken at random.

    Args:
        grid: n, the number of cells along each side, a positive integer.
        count: k, an integer from 1 to n^2; or `None` for round((1 - lam) n^2) with lam ~ Beta(alpha, alpha).
        alpha: Parameter of the Beta distribution, positive; used if `count` is `None`.
        detector: As for `Mixer`. The paper uses the feature map of a trained network; `"activation"` is that of the
            network being trained, inside a `MixModel`. `"fine_grained"`, the default, needs no network.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.AttentiveMix(count=9, seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - D. Walawalkar, Z. Shen, Z. Liu, M. Savvides, Attentive CutMix: an enhanced data augmentation approach for deep
          learning based image classification, ICASSP 2020, arXiv:2003.13048. OpenMixup has a random count, too.
    """

    has_binary_mask = uses_saliency = True

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(
        self,
        *,
        grid: int = 7,
        count: int | None = 6,
        alpha: float = 1.0,
        detector: str | Callable | None = "fine_grained",
        **kwargs: Any,
    ) -> None:
        super().__init__(detector=detector, **kwargs)
        self.grid = arguments.integer("grid", grid, 1)
        self.count = None if count is None else arguments.integer("count", count, 1)
        self.alpha = alpha
        if count is not None and count > grid**2:
            raise ValueError(f"`count` must be at most {grid**2}, the cells of the grid. Received: count={count}")

    @property
    def uses_alpha(self):
        """Whether `alpha` has an effect, for schedules that change it."""
        return self.count is None

    def sample_mask(self, images, partner, maps):
        batch_size, cells = ops.shape(images)[0], self.grid**2
        count = self.count
        if count is None:
            lam = sampling.beta((batch_size, 1), self.step_value("alpha"), self.seed_generator)
            count = ops.round((1.0 - lam) * cells)
        noise = sampling.uniform((batch_size, cells), self.seed_generator)
        pooled = ops.reshape(resize(take_partner(maps, partner), self.grid, self.grid, "area"), (-1, cells))
        is_own = ops.cast(places(pooled, noise) >= count, "float32")
        mask = ops.reshape(is_own, (batch_size, self.grid, self.grid, 1))
        return masks.Dense(resize(mask, *self.image_size(ops.shape(images)), "nearest"))

    def get_config(self):
        names = ("grid", "count", "alpha")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def places(values, noise):
    """The place of each value in descending order, as float32; ties are in the order of the noise.

    Args:
        values, noise: Float32 tensors (batch, cells).
    """
    other, own = values[:, None, :], values[:, :, None]
    is_before = ops.logical_and(other == own, noise[:, None, :] > noise[:, :, None])
    return ops.sum(ops.cast(ops.logical_or(other > own, is_before), "float32"), axis=2)
