"""CutMix (Yun et al., ICCV 2019)."""

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments
from keras_mma.layers.boxes import box_size, interval
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class CutMix(Mixer):
    """Pastes a box of its partner into each image, at the same place.

    With lambda ~ Beta(alpha, alpha) and a centre drawn uniformly, for each row, the box is H sqrt(1 - lambda) high
    and W sqrt(1 - lambda) wide and cut off at the border:

        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    Args:
        alpha: Parameter of the Beta distribution, positive. 1 draws every area alike.
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
    >>> images, labels = keras_mma.layers.CutMix(seed=1)(images, labels)
    >>> images.shape == (8, 32, 32, 3) and labels.shape == (8, 10)
    True

    References:
        - S. Yun et al., CutMix: regularization strategy to train strong classifiers with localizable features,
          ICCV 2019, arXiv:1905.04899, equations 1 and 2.
    """

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
        size, height, width = self.image_size(images)
        share = sampling.beta((size,), self.alpha, self.seed_generator)
        centre = sampling.uniform((2, size), self.seed_generator)
        bounds = []
        for axis, (length, extent) in enumerate(zip(box_size(share, height, width), (height, width), strict=True)):
            position = ops.cast(ops.floor(centre[axis] * ops.cast(extent, "float32")), "int32")
            bounds.append(interval(position, length, extent, "clip"))
        return {"box": bounds}

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
