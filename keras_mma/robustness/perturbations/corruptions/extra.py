"""The four corruptions that were published for validation. They are not part of the mean error."""

import numpy as np

from keras_mma.robustness.perturbations.corruptions.blur import gaussian
from keras_mma.robustness.perturbations.corruptions.registry import corruption, draw, in_hsv

# Colors of water (pale turquoise) and mud (brown).
_WATER, _MUD = np.array([175, 238, 238]) / 255, np.array([63, 42, 20]) / 255


@corruption(
    "extra",
    cifar=(0.06, 0.1, 0.12, 0.16, 0.2),
    tiny_imagenet=(0.15, 0.2, 0.25, 0.3, 0.35),
    imagenet=(0.15, 0.2, 0.35, 0.45, 0.6),
)
def speckle_noise(images, rngs, sigma):
    """x + x · n with n ~ N(0, sigma²) for each value."""
    return images + images * sigma * draw(rngs, lambda rng: rng.normal(size=images.shape[1:]))


@corruption("extra", cifar=(0.4, 0.6, 0.7, 0.8, 1), tiny_imagenet=(0.5, 0.75, 1, 1.25, 1.5), imagenet=(1, 2, 3, 4, 6))
def gaussian_blur(images, rngs, sigma):
    """A Gaussian blur."""
    return gaussian(images, sigma)


@corruption(
    "extra",
    # mean, standard deviation and blur of the drops, threshold, strength of water or blur of mud, whether it is mud
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    tiny_imagenet=(
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
)
def spatter(images, rngs, mean, sigma, blur, threshold, strength, is_mud):
    """Drops of water that are added, or of mud that covers."""
    height, width, channels = images.shape[1:]
    drops = gaussian(draw(rngs, lambda rng: rng.normal(mean, sigma, (height, width, 1))), blur)
    color = _MUD if is_mud else _WATER
    color = np.float32(color if channels == 3 else color @ [0.299, 0.587, 0.114])
    images = images.astype("float32")
    if is_mud:
        covered = gaussian((drops > threshold).astype("float32"), strength)
        covered[covered < 0.8] = 0
        return images * (1 - covered) + color * covered
    drops = np.where(drops < threshold, 0, drops)
    return images + np.float32(strength) * np.stack([_water(layer[..., 0]) for layer in drops])[..., None] * color


def _water(drops):
    """The brightness of drops in [0, 1]: their edges, embossed."""
    import cv2

    levels = (drops * 255).astype("int64").astype("uint8")
    distance = cv2.distanceTransform(255 - cv2.Canny(levels, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype("uint8")
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.blur(cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss), (3, 3))
    brightness = levels * relief.astype("float32")
    return brightness / max(brightness.max(), np.float32(1e-12))


@corruption(
    "extra",
    needs_color=True,
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    tiny_imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)
def saturate(images, rngs, factor, shift):
    """The S of HSV is scaled and shifted."""
    return in_hsv(images, 1, lambda saturation: saturation * factor + shift)
