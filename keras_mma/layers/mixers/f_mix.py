"""FMix (Harris et al., 2020)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mma import sampling
from keras_mma.backend import xla_compiled
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer

# 32 halvings of the range of a map separate all of its float32 values.
_BISECTION_STEPS = 32


@keras.saving.register_keras_serializable("keras_mma")
class FMix(Mixer):
    """Mixes each image with its partner by a binary mask with random, mostly large shapes.

    With lam ~ Beta(alpha, alpha) and Gaussian noise Z for each sample, and |f| the frequency in cycles per pixel, at
    least 1 / max(H, W):

        G  = Re IFFT(Z / |f|^decay),    M = 1 for the lam H W highest values of G, 0 elsewhere
        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    lam H W is rounded up or down, with equal probability.

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        decay: Exponent of the frequency, not negative. The larger it is, the larger and smoother are the shapes.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.FMix(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - E. Harris, A. Marcu, M. Painter, M. Niranjan, A. Prügel-Bennett, J. Hare, FMix: enhancing mixed sample data
          augmentation, 2020, arXiv:2002.12047, section 4.
    """

    has_binary_mask = True
    alpha = arguments.Adjustable(arguments.positive)

    def __init__(self, *, alpha: float = 1.0, decay: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.decay = arguments.non_negative("decay", decay)

    def sample_mask(self, images, partner, maps):
        batch_size, (height, width) = ops.shape(images)[0], self.image_size(ops.shape(images))
        lam = sampling.beta((batch_size,), self.step_value("alpha"), self.seed_generator)
        chance = sampling.uniform((batch_size,), self.seed_generator)
        noise = sampling.normal((batch_size, height, width), self.seed_generator)
        exact = lam * ops.cast(height * width, "float32")
        count = ops.where(chance < 0.5, ops.floor(exact), ops.ceil(exact))
        return masks.Dense(ops.expand_dims(low_frequency_mask(noise, count, self.decay), -1))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "decay": self.decay}


@xla_compiled
def low_frequency_mask(noise, count, decay):
    """The masks of noise (batch, height, width), float32 of 0 and 1, with `count` (batch,) pixels of 1."""
    return highest(low_pass(noise, decay), count)


def low_pass(noise, decay):
    """Divide the spectrum of maps (batch, height, width) by the frequency to the power of `decay`."""
    # The filter is real and symmetric: filtering real white noise gives the real part of filtered complex noise.
    height, width = ops.shape(noise)[1:]
    rows, columns = _frequencies(height), _frequencies(width)
    longest = ops.cast(ops.maximum(height, width), "float32")
    frequency = ops.sqrt(ops.square(rows)[:, None] + ops.square(columns)[None, :])
    # Only the order of the values matters: scaled, so that nothing overflows.
    scale = ops.power(ops.maximum(frequency * longest, 1.0), -decay)
    real, imaginary = ops.fft2((noise, ops.zeros_like(noise)))
    return ops.ifft2((real * scale, imaginary * scale))[0]


def _frequencies(size):
    """Frequencies of the bins of a Fourier transform, in cycles per pixel."""
    if isinstance(size, int):
        return ops.convert_to_tensor(np.fft.fftfreq(size), "float32")
    index = ops.arange(size, dtype="int32")
    return ops.cast(ops.minimum(index, size - index), "float32") / ops.cast(size, "float32")


def highest(maps, count):
    """Mark the `count` highest values of each map.

    Args:
        maps: Float32 tensor (batch, height, width).
        count: Float tensor (batch,).

    Returns:
        A float32 tensor like `maps` of 0 and 1.
    """
    # Bisection for the threshold, because a sort of all pixels is slow.
    low = ops.min(maps, axis=(1, 2), keepdims=True)
    high = ops.max(maps, axis=(1, 2), keepdims=True)
    # Below the lowest value, so that all pixels can be marked.
    low = low - (high - low) - 1.0
    count = ops.reshape(count, (-1, 1, 1))
    for _ in range(_BISECTION_STEPS):
        middle = 0.5 * (low + high)
        is_low = ops.sum(ops.cast(maps > middle, "float32"), axis=(1, 2), keepdims=True) > count
        low, high = ops.where(is_low, middle, low), ops.where(is_low, high, middle)
    return ops.cast(maps > high, "float32")
