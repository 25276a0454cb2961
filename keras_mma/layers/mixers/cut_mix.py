"""CutMix (Yun et al., ICCV 2019)."""

from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class CutMix(Mixer):
    """Pastes a random box of each image's partner into the image, at the same position.

    With lam ~ Beta(alpha, alpha) and a uniform center for each sample, the box is H sqrt(1 - lam) high and
    W sqrt(1 - lam) wide, and clipped at the border. With M 0 inside the box and 1 outside:

        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        per: `"sample"` draws a box for each sample; `"batch"` draws one for the whole batch, and mixes
            either all of it or none, as the authors' code, timm and torchvision do.
        border: `"clip"` draws the center uniformly in the image and clips the box at the border, as the paper, timm and
            torchvision do: at an alpha of 1, a sample keeps 0.7 of its image on average. `"inside"` draws among the
            positions at which the whole box is inside, as `keras.layers.CutMix` does: it keeps 0.5.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.CutMix(seed=1)(images, labels)
    >>> images.shape == (8, 32, 32, 3) and labels.shape == (8, 10)
    True

    References:
        - S. Yun et al., CutMix: regularization strategy to train strong classifiers with localizable features,
          ICCV 2019, arXiv:1905.04899, equations 1 and 2.
    """

    has_binary_mask = True
    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, per: str = "sample", border: str = "clip", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.per = arguments.choice("per", per, ("sample", "batch"))
        self.alpha, self.draws_per_batch = alpha, per == "batch"
        self.border = arguments.choice("border", border, ("clip", "inside"))

    def sample_mask(self, images, partner, maps):
        sizes = self.image_size(ops.shape(images))
        lam = sampling.beta((ops.shape(images)[0],), self.step_value("alpha"), self.seed_generator)
        position = sampling.uniform((2, ops.shape(images)[0]), self.seed_generator)
        bounds = masks.random_bounds(position, masks.box_size(lam, *sizes), sizes, self.border)
        return masks.Box(*(tuple(map(self.shared, axis)) for axis in bounds))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "per": self.per, "border": self.border}
