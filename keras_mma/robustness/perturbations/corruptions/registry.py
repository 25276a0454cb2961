"""The corruptions by name: function, group and the parameters of the five severities."""

import io
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.perturbations.images import check_images
from keras_mma.robustness.perturbations.seeds import generators

SEVERITIES = (1, 2, 3, 4, 5)


class PublishedSet(NamedTuple):
    """A published set of corrupted images.

    Args:
        title: Name of the set in the report.
        side: Height and width of its images in pixels.
        largest_side: Largest side in pixels of other images to which its severities are applied.
        jpeg_quality: Quality at which its images are stored as JPEG, or `None` if they are not.
    """

    title: str
    side: int
    largest_side: float
    jpeg_quality: int | None


PUBLISHED_SETS = {
    "cifar": PublishedSet("CIFAR", 32, 32, None),
    "tiny_imagenet": PublishedSet("Tiny-ImageNet", 64, 128, 85),
    "imagenet": PublishedSet("ImageNet", 224, math.inf, 85),
}
# In order of registration, which is the order of the report.
CORRUPTIONS: dict[str, "Corruption"] = {}


class Corruption(NamedTuple):
    """A corruption.

    Args:
        function: Takes float64 images (batch, height, width, channels) in [0, 1], a random generator for each image and
            the parameters of a severity. Returns images of the same shape, which `corrupt` clips and rounds down.
        group: Name of the group to which the corruption belongs in the report.
        severities: Dict from the names of `PUBLISHED_SETS` to five rows of parameters.
        needs: Name of an option of `evaluate` and `corrupt` that is passed to the function as a keyword argument.
            Without that option, the corruption is left out.
        needs_color: Whether it takes images of three channels only.
    """

    function: Callable
    group: str
    severities: dict
    needs: str | None = None
    needs_color: bool = False


def corruption(group, needs=None, needs_color=False, **severities):
    """Register the decorated function as a corruption, under its own name. See `Corruption` for the arguments."""

    def register(function):
        CORRUPTIONS[function.__name__] = Corruption(function, group, severities, needs, needs_color)
        return function

    return register


def published_set(height, width):
    """Name of the published set whose severities apply to images of this size."""
    return next(name for name, entry in PUBLISHED_SETS.items() if max(height, width) <= entry.largest_side)


def label(height, width):
    """Name in the report of regenerated corruptions of images of this size."""
    published = PUBLISHED_SETS[published_set(height, width)]
    encoding = f", JPEG of quality {published.jpeg_quality}" if published.jpeg_quality else ""
    return f"regenerated, {published.title} severities{encoding}"


def parameters(name, severity, height, width):
    """The parameters of a corruption for images of this size, as a tuple."""
    row = CORRUPTIONS[name].severities[published_set(height, width)][severity - 1]
    return row if isinstance(row, tuple) else (row,)


def corrupt(
    images: Any,
    name: str,
    severity: int,
    seed: int = 0,
    indices: Any = None,
    frost_textures: str | os.PathLike | None = None,
) -> np.ndarray:
    """Corrupt images as Hendrycks & Dietterich do, seeded for each image.

    Args:
        images: uint8 images (batch, height, width, channels) of 1 or 3 channels; 3 for `"saturate"`. The severities are
            those of CIFAR-10-C up to 32 pixels, of Tiny-ImageNet-C up to 128 pixels and of ImageNet-C above. As these
            two are published as JPEG of quality 85, the corrupted images are encoded and decoded so.
        name: Name of a corruption, such as `"fog"`.
        severity: Integer from 1 to 5.
        seed: Non-negative integer.
        indices: Indices of the images in their dataset, which choose their random numbers; 0 to batch - 1 by default.
        frost_textures: Folder of images of frost, which `"frost"` needs.

    Returns:
        uint8 images of the same shape, rounded down as the published files are.

    Raises:
        InputError: if there is no such corruption or severity, or the images have another form.

    Example:

    >>> from keras_mma.robustness import corrupt
    >>> images = np.random.randint(0, 256, (2, 32, 32, 3), "uint8")
    >>> corrupt(images, "fog", severity=3, seed=1).shape
    (2, 32, 32, 3)

    References:
        - D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
          ICLR 2019, arXiv:1903.12261.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise InputError(
            f"`name` must be one of {', '.join(CORRUPTIONS)} and `severity` 1 to 5. "
            f"Received: name={name!r}, severity={severity!r}"
        )
    images = check_images(images, channels=(1, 3))
    function, needs = CORRUPTIONS[name].function, CORRUPTIONS[name].needs
    if CORRUPTIONS[name].needs_color and images.shape[-1] == 1:
        raise InputError(f"`name` {name} needs images of 3 channels. Received: shape {images.shape}")
    resources = {"frost_textures": frost_textures}
    if needs and resources[needs] is None:
        raise InputError(f"`name` {name} needs `{needs}`. Received: {needs}=None")
    indices = range(len(images)) if indices is None else indices
    rngs = generators(seed, f"corruption/{name}/{severity}", indices)
    row = parameters(name, severity, *images.shape[1:3])
    changed = function(images / 255.0, rngs, *row, **({needs: resources[needs]} if needs else {}))
    changed = (np.clip(changed, 0, 1) * 255).astype("uint8")
    quality = PUBLISHED_SETS[published_set(*images.shape[1:3])].jpeg_quality
    return changed if quality is None else np.stack([as_jpeg(image, quality) for image in changed])


def check_channels(count):
    """Refuse images that cannot be corrupted, before anything is measured."""
    if count not in (1, 3):
        raise InputError(
            f"the corruptions need images of 1 or 3 channels: name the other sections with `only`. Received: {count}"
        )


def as_jpeg(image, quality):
    """Encode a uint8 image (height, width, channels) as JPEG of a quality and decode it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(image.shape)


def in_hsv(images, channel, change):
    """Change one channel of the hue, saturation and value of RGB images in [0, 1]."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    hsv = rgb_to_hsv(images)
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return hsv_to_rgb(hsv)


def from_levels(levels):
    """Images in [0, 1] that `corrupt` turns into these levels, rounded down."""
    return (np.floor(levels) + 0.25) / 255


def draw(rngs, function):
    """Stack what a function draws from the generator of each image."""
    return np.stack([function(rng) for rng in rngs])
