"""MixUp (Zhang et al., ICLR 2018)."""

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class MixUp(Mixer):
    """Blends each image with its partner, everywhere in the same share.

    With lambda ~ Beta(alpha, alpha) for each row:

        x~ = lambda x + (1 - lambda) x_partner,    y~ = lambda y + (1 - lambda) y_partner

    At a feature site of `FeatureMixAdapt` this is Manifold Mixup.

    Args:
        alpha: Parameter of the Beta distribution, positive. 1 draws every share alike.
        probability: Share of rows that are mixed, in [0, 1].
        sites: Mixing points among which each step draws one: 0 the input, k `FeatureMixAdapt(site=k)`.
        partner: `"shuffle"` or `"roll"`; see `Mixer`.
        num_classes: Number of classes, for integer labels of labelled batches.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        seed: Int that makes the draws repeatable.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        images: Images (batch, height, width, channels), or a labelled batch; see `Mixer`.
        labels, sample_weight, training: See `Mixer`.

    Returns:
        `(images, plan)` for images alone, the mixed batch in its own form for a labelled one.

    Raises:
        ValueError: if an argument is out of its range, or a batch of another form; see `Mixer`.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.MixUp(alpha=0.2, seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, mixup: beyond empirical risk minimization, ICLR 2018,
          arXiv:1710.09412, equation in section 2.
    """

    has_binary_mask = False

    def __init__(
        self,
        alpha=1.0,
        probability=1.0,
        sites=(0,),
        partner="shuffle",
        num_classes=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(probability, sites, partner, num_classes, data_format, seed, **kwargs)
        self.alpha = arguments.positive("alpha", alpha)

    def draw(self, images, partner, maps):
        return {"share": sampling.beta((ops.shape(images)[0],), self.alpha, self.seed_generator)}

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
