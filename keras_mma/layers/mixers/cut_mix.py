"""CutMix (Yun et al., ICCV 2019)."""

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments, masks, settings
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class CutMix(Mixer):
    """Pastes a random box of its partner into each image, at the same position.

    With lam ~ Beta(alpha, alpha) and a uniform center for each sample, the box is H sqrt(1 - lam) high and
    W sqrt(1 - lam) wide, and clipped at the border. With M 0 inside the box and 1 outside:

        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Args:
        alpha: Parameter of the Beta distribution, positive. 1 is the uniform distribution.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `num_classes`, `data_format`, `seed`, ...

    Call arguments:
        images, labels, sample_weight, training: See `Mixer`.

    Returns:
        `(images, plan)` for images without labels, the mixed batch for a labelled one; see `Mixer`.

    Raises:
        ValueError: If `alpha` is not positive; see `Mixer`.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.CutMix(seed=1)(images, labels)
    >>> images.shape == (8, 32, 32, 3) and labels.shape == (8, 10)
    True

    References:
        - S. Yun et al., CutMix: regularization strategy to train strong classifiers with localizable features,
          ICCV 2019, arXiv:1905.04899, equations 1 and 2.
    """

    alpha = settings.Adjustable(arguments.positive)

    def __init__(self, *, alpha=1.0, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha

    def sample_mask(self, images, partner, maps):
        sizes = self.image_size(ops.shape(images))
        lam = sampling.beta((ops.shape(images)[0],), settings.read(self, "alpha"), self.seed_generator)
        position = sampling.uniform((2, ops.shape(images)[0]), self.seed_generator)
        bounds = []
        for axis, (length, size) in enumerate(zip(masks.box_size(lam, *sizes), sizes, strict=True)):
            center = ops.cast(ops.floor(position[axis] * ops.cast(size, "float32")), "int32")
            bounds.append(masks.interval(center, length, size, "clip"))
        return masks.Box(*bounds)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
