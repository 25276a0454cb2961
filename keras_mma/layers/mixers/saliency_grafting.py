"""Saliency Grafting (Park et al., AAAI 2022)."""

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
class SaliencyGrafting(Mixer):
    """Grafts random salient cells of each image's partner onto the image, and weights the label by saliency.

    For each sample, with S the saliency (a reconstruction: the authors published no code, and beyond the abstract the
    formula is ours):

        s  = pool(S_partner, g x g),    s' = softmax(s / (T mean s)),    c = 1[s' > threshold]
        p  ~ Beta(alpha, alpha),        P ~ Bernoulli(p) for each cell,  G = upsample(P c)
        x~ = (1 - G) x + G x_partner,   weight = I(S, 1 - G) / (I(S, 1 - G) + I(S_partner, G))
        I(S, M) = ||S M|| / ||S||

    If no cell exceeds the threshold, as on a constant map, all cells are candidates. If no cell is grafted, the sample
    and its label stay unchanged; if all cells are, the weight is 0. A map of zeros is treated as uniform.

    Args:
        alpha: Parameter of the Beta distribution of the rate p, positive.
        grid: Number g of cells along each side of an image, a positive integer.
        temperature: T, positive. The higher it is, the more cells exceed the default threshold; near 0, only the most
            salient ones do.
        threshold: Value, in [0, 1], that the softmax of a cell must exceed to make it a candidate; 1 / g^2, the mean,
            by default.
        norm: Norm of I, 1 or 2.
        detector: As for `Mixer`. The paper uses an attribution of the network being trained: `"activation"` or
            `"gradient"`, inside a `MixModel`. A detector of images, such as `"fine_grained"`, needs no network.
        label: As for `Mixer`; `"saliency"`, the default, is the paper's calibrated label.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.SaliencyGrafting(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - J. Park, J. Y. Yang, J. Shin, S. J. Hwang, E. Yang, Saliency Grafting: innocuous attribution-guided mixup with
          calibrated label mixing, AAAI 2022, arXiv:2112.08796: the steps. The formula is a reconstruction.
    """

    has_binary_mask = uses_saliency = True

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        grid: int = 4,
        temperature: float = 1.0,
        threshold: float | None = None,
        norm: int = 2,
        detector: str | Callable | None = "fine_grained",
        label: str = "saliency",
        **kwargs: Any,
    ) -> None:
        super().__init__(detector=detector, label=label, **kwargs)
        self.alpha = alpha
        self.grid = arguments.integer("grid", grid, 1)
        self.temperature = arguments.positive("temperature", temperature)
        self.threshold = None if threshold is None else arguments.fraction("threshold", threshold)
        self.norm = arguments.choice("norm", norm, (1, 2))

    def sample_mask(self, images, partner, maps):
        batch_size = ops.shape(images)[0]
        rate = sampling.beta((batch_size,), self.step_value("alpha"), self.seed_generator)
        noise = sampling.uniform((batch_size, self.grid, self.grid, 1), self.seed_generator)
        cells = graft_cells(take_partner(maps, partner), rate, noise, self.temperature, self.threshold)
        return masks.Dense(1.0 - resize(cells, *self.image_size(ops.shape(images)), "nearest"))

    def get_config(self):
        names = ("alpha", "grid", "temperature", "threshold", "norm")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def graft_cells(maps, rate, noise, temperature=1.0, threshold=None):
    """The cells that are grafted.

    Args:
        maps: Saliency of the partners, float32 (batch, height, width, 1), non-negative.
        rate: Probability with which each candidate is grafted, (batch,).
        noise: Uniform random numbers in [0, 1), (batch, grid, grid, 1).
        temperature, threshold: See `SaliencyGrafting`.

    Returns:
        A float32 tensor (batch, grid, grid, 1) of 0 and 1.
    """
    grid = noise.shape[1]
    pooled = resize(maps, grid, grid, "area")
    mean = ops.mean(pooled, axis=(1, 2, 3), keepdims=True)
    # At a lower temperature, the quotient could be infinite, and the softmax NaN.
    scaled = pooled / ops.where(mean > 0.0, mean, 1.0) / max(temperature, 1e-6)
    softmax = ops.exp(scaled - ops.max(scaled, axis=(1, 2, 3), keepdims=True))
    softmax = softmax / ops.sum(softmax, axis=(1, 2, 3), keepdims=True)
    # Above the threshold by more than rounding, so that no cell of a constant map stands out.
    is_candidate = softmax > (1.0 / grid**2 if threshold is None else threshold) * (1.0 + 1e-5)
    has_candidate = ops.any(is_candidate, axis=(1, 2, 3), keepdims=True)
    is_candidate = ops.logical_or(is_candidate, ops.logical_not(has_candidate))
    is_drawn = noise < ops.reshape(rate, (-1, 1, 1, 1))
    return ops.cast(ops.logical_and(is_candidate, is_drawn), "float32")
