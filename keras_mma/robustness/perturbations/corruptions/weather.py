"""Weather."""

import functools
import hashlib
from pathlib import Path

import numpy as np

from keras_mma.datasets import FORMATS
from keras_mma.errors import InputError
from keras_mma.robustness.perturbations.corruptions.blur import blur_along, clipped_zoom
from keras_mma.robustness.perturbations.corruptions.registry import corruption, draw, from_levels, in_hsv


@corruption(
    "weather",
    # mean, standard deviation and zoom of the flakes, threshold, radius and sigma of their motion, share of the image
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    tiny_imagenet=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
def snow(images, rngs, mean, sigma, zoom, threshold, radius, blur_sigma, share):
    """Thresholded noise with motion blur, added twice to a whitened image."""
    height, width = images.shape[1:3]
    layers = clipped_zoom(draw(rngs, lambda rng: rng.normal(mean, sigma, (height, width)))[..., None], zoom)[..., 0]
    layers = np.floor(np.clip(np.where(layers < threshold, 0, layers), 0, 1) * 255)
    angles = [rng.uniform(-135, -45) for rng in rngs]
    blown = [blur_along(layer, radius, blur_sigma, angle) for layer, angle in zip(layers, angles, strict=True)]
    # The published code rounds down. A sum of weights that should be a level may be a rounding error below it.
    flakes = np.floor(np.stack(blown) + 1e-6)[..., None] / 255
    whitened = share * images + (1 - share) * np.maximum(images, _gray(images) * 1.5 + 0.5)
    return whitened + flakes + flakes[:, ::-1, ::-1]


@corruption(
    "weather",
    needs="frost_textures",
    # share of the image, share of the texture, scale of the texture
    cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    tiny_imagenet=((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
)
def frost(images, rngs, share, ice, scale, frost_textures):
    """A random crop of a random texture is added."""
    height, width = images.shape[1:3]
    textures = _textures(Path(frost_textures), scale, height, width)

    def crop(rng):
        texture = textures[rng.integers(len(textures))]
        limits = texture.shape[0] - height + 1, texture.shape[1] - width + 1
        top, left = (rng.integers(limit) for limit in limits)
        return texture[top : top + height, left : left + width]

    textured = draw(rngs, crop).astype("float64")
    textured = textured if images.shape[-1] == 3 else _gray(textured)
    return from_levels(share * np.rint(images * 255) + ice * textured)


@functools.lru_cache(4)
def _textures(folder, scale, height, width):
    """The uint8 images of a folder, scaled."""
    import cv2

    textures = []
    for file in _texture_files(folder):
        texture = cv2.imread(str(file))
        if texture is None:
            raise InputError(f"{file} must be an image. Received: a file that is damaged or not an image")
        texture = cv2.resize(texture, (0, 0), fx=scale, fy=scale)[..., ::-1]
        if texture.shape[0] < height or texture.shape[1] < width:
            raise InputError(
                f"{file} must be at least {height} x {width} pixels when scaled by {scale}. "
                f"Received: {texture.shape[0]} x {texture.shape[1]}"
            )
        textures.append(texture)
    return textures


def _texture_files(folder):
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in FORMATS)
    if not files:
        raise InputError(f"`frost_textures` must be a folder of images. Received: frost_textures={str(folder)!r}")
    return files


def textures_digest(folder):
    """Eight hexadecimal digits that identify the textures of frost."""
    files = _texture_files(Path(folder))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:8]


@corruption(
    "weather",
    # strength, divisor of the roughness
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    tiny_imagenet=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
def fog(images, rngs, strength, decay):
    """A plasma fractal is added, and the brightest value of the image kept."""
    height, width = images.shape[1:3]
    side = 2 ** int(np.ceil(np.log2(max(height, width))))
    noise = draw(rngs, lambda rng: rng.uniform(-1, 1, (side, side)))
    clouds = plasma(noise, decay)[:, :height, :width, None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    return (images + strength * clouds) * brightest / (brightest + strength)


@corruption(
    "weather",
    cifar=(0.05, 0.1, 0.15, 0.2, 0.3),
    tiny_imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
    imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
)
def brightness(images, rngs, shift):
    """The V of HSV is raised."""
    if images.shape[-1] == 1:
        return np.minimum(images + shift, 1)
    return in_hsv(images, 2, lambda value: value + shift)


def _gray(images):
    import cv2

    if images.shape[-1] == 1:
        return images
    stacked = images.astype("float32").reshape(-1, images.shape[2], 3)
    return cv2.cvtColor(stacked, cv2.COLOR_RGB2GRAY).reshape(*images.shape[:3], 1)


def plasma(noise, decay):
    """Plasma fractals by the diamond-square algorithm on a torus, scaled to [0, 1].

    Each value is the mean of four neighbors, the corners of squares or diamonds of a shrinking side, plus w² times its
    noise. w is 100 at first and is divided by `decay` whenever the side halves.

    Args:
        noise: Array (batch, side, side) in [-1, 1], whose side is a power of two.
        decay: Divisor of the roughness w.

    Returns:
        An array (batch, side, side).
    """
    side, roughness = noise.shape[1], 100.0
    heights = np.zeros(noise.shape)
    step = side
    while step >= 2:
        half = step // 2
        corners, middles = slice(0, None, step), slice(half, None, step)
        strength = roughness**2
        at_corners = heights[:, corners, corners]
        right = np.roll(at_corners, -1, axis=2)
        total = at_corners + right + np.roll(at_corners + right, -1, axis=1)
        heights[:, middles, middles] = total / 4 + strength * noise[:, middles, middles]
        at_middles = heights[:, middles, middles]
        total = at_middles + np.roll(at_middles, 1, axis=1) + at_corners + np.roll(at_corners, -1, axis=2)
        heights[:, corners, middles] = total / 4 + strength * noise[:, corners, middles]
        total = at_middles + np.roll(at_middles, 1, axis=2) + at_corners + np.roll(at_corners, -1, axis=1)
        heights[:, middles, corners] = total / 4 + strength * noise[:, middles, corners]
        step, roughness = half, roughness / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / np.maximum(heights.max(axis=(1, 2), keepdims=True), 1e-12)
