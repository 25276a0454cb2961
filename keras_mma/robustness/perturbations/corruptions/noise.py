"""Noise."""

import numpy as np

from keras_mma.robustness.perturbations.corruptions.registry import corruption, draw


@corruption(
    "noise",
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10),
    tiny_imagenet=(0.04, 0.08, 0.12, 0.15, 0.18),
    imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
)
def gaussian_noise(images, rngs, sigma):
    """x + n with n ~ N(0, sigma²) for each value."""
    return images + sigma * draw(rngs, lambda rng: rng.normal(size=images.shape[1:]))


@corruption("noise", cifar=(500, 250, 100, 75, 50), tiny_imagenet=(250, 100, 50, 30, 15), imagenet=(60, 25, 12, 5, 3))
def shot_noise(images, rngs, photons):
    """Poisson(photons · x) / photons."""
    return np.stack([rng.poisson(image * photons) for image, rng in zip(images, rngs, strict=True)]) / photons


@corruption(
    "noise",
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07),
    tiny_imagenet=(0.01, 0.02, 0.05, 0.08, 0.14),
    imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
)
def impulse_noise(images, rngs, share):
    """A share of the values becomes black or white with equal probability."""
    drawn = draw(rngs, lambda rng: rng.random((2, *images.shape[1:])))
    return np.where(drawn[:, 0] < share, (drawn[:, 1] < 0.5).astype("float64"), images)
