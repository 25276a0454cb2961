"""Saliency Grafting (Park et al., AAAI 2022)."""

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.layers import arguments
from keras_mma.layers.saliency_mixer import SaliencyMixer, calibrated_weight
from keras_mma.plan import take_rows
from keras_mma.resampling import resize


@keras.saving.register_keras_serializable("keras_mma")
class SaliencyGrafting(SaliencyMixer):
    """Grafts salient cells of its partner, drawn at random, onto each image, and calibrates the label by saliency.

    For each row, with S the saliency (a reconstruction: the authors published no code, and beyond the abstract the
    formula is ours):

        s  = pool(S_partner, g x g),    s' = softmax(s / (T mean s)),    c = 1[s' > threshold]
        p  ~ Beta(alpha, alpha),        P ~ Bernoulli(p) for each cell,  G = upsample(P c)
        x~ = (1 - G) x + G x_partner,   weight = I(S, 1 - G) / (I(S, 1 - G) + I(S_partner, G))
        I(S, M) = ||S M|| / ||S||

    Where no cell passes the threshold, as on a constant map, all are candidates. An empty graft leaves the row and its
    label as they are; a full one has weight 0; a map of zeros counts as uniform.

    Args:
        alpha: Parameter of the Beta distribution of the rate, positive.
        probability: Share of rows that are mixed, in [0, 1].
        grid: Number g of cells along each side of an image, from 1.
        temperature: T, positive: the higher, the more cells pass the threshold's default; near 0 only the most salient.
        threshold: Least share of the softmax that makes a cell a candidate, in [0, 1]; 1 / g^2, the mean, by default.
        norm: Norm of the calibration, 1 or 2.
        detector: As for `SaliencyMix`. The paper attributes by the network that is trained: `"activation"` or
            `"gradient"`, inside a `MixModel`; detectors of images serve where there is none.
        detector_size, attribution_layer: As for `SaliencyMix`.
        sites: Mixing points among which each step draws one: 0 the input, k `FeatureMixAdapt(site=k)`.
        partner: `"shuffle"`, `"roll"` or `"distance"`.
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
        ValueError: if an argument is out of its range or unknown, if an attribution is asked for without a network, or
            for a batch of another form; see `Mixer`.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.SaliencyGrafting(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - J. Park, J. Y. Yang, J. Shin, S. J. Hwang, E. Yang, Saliency Grafting: innocuous attribution-guided mixup with
          calibrated label mixing, AAAI 2022, arXiv:2112.08796: the steps. The formula is a reconstruction.
    """

    def __init__(
        self,
        alpha=1.0,
        probability=1.0,
        grid=4,
        temperature=1.0,
        threshold=None,
        norm=2,
        detector="fine_grained",
        detector_size=None,
        attribution_layer=None,
        sites=(0,),
        partner="shuffle",
        num_classes=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            detector=detector,
            detector_size=detector_size,
            attribution_layer=attribution_layer,
            probability=probability,
            sites=sites,
            partner=partner,
            num_classes=num_classes,
            data_format=data_format,
            seed=seed,
            **kwargs,
        )
        self.alpha = arguments.positive("alpha", alpha)
        self.grid = arguments.whole("grid", grid, 1)
        self.temperature = arguments.positive("temperature", temperature)
        self.threshold = None if threshold is None else arguments.fraction("threshold", threshold)
        self.norm = arguments.one_of("norm", norm, (1, 2))

    def draw(self, images, partner, maps):
        size, height, width = self.image_size(images)
        donor = take_rows(maps, partner)
        rate = sampling.beta((size,), self.alpha, self.seed_generator)
        noise = sampling.uniform((size, self.grid, self.grid, 1), self.seed_generator)
        cells = graft_cells(donor, rate, noise, self.temperature, self.threshold)
        mask = 1.0 - resize(cells, height, width, "nearest")
        return {"mask": mask, "weight": calibrated_weight(maps, donor, mask, self.norm)}

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "grid": self.grid,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "norm": self.norm,
        }


def graft_cells(maps, rate, noise, temperature=1.0, threshold=None):
    """The cells that are grafted.

    Args:
        maps: Saliency of the partners, float32 (batch, height, width, 1), not negative.
        rate: Probability with which a candidate is taken, (batch,).
        noise: Uniform random numbers in [0, 1), (batch, grid, grid, 1).
        temperature, threshold: See `SaliencyGrafting`.

    Returns:
        A float32 tensor (batch, grid, grid, 1) of 0 and 1.
    """
    grid = noise.shape[1]
    pooled = resize(maps, grid, grid, "area")
    mean = ops.mean(pooled, axis=(1, 2, 3), keepdims=True)
    scaled = pooled / ops.where(mean > 0.0, temperature * mean, 1.0)
    share = ops.exp(scaled - ops.max(scaled, axis=(1, 2, 3), keepdims=True))
    share = share / ops.sum(share, axis=(1, 2, 3), keepdims=True)
    # More than rounding above the threshold: no cell of a constant map stands out.
    is_candidate = share > (1.0 / grid**2 if threshold is None else threshold) * (1.0 + 1e-5)
    has_candidate = ops.any(is_candidate, axis=(1, 2, 3), keepdims=True)
    is_candidate = ops.logical_or(is_candidate, ops.logical_not(has_candidate))
    is_taken = noise < ops.reshape(rate, (-1, 1, 1, 1))
    return ops.cast(ops.logical_and(is_candidate, is_taken), "float32")
