"""Blur."""

import math

import numpy as np

from keras_mma.robustness.perturbations.corruptions.registry import corruption, draw


@corruption(
    "blur",
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    tiny_imagenet=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(images, rngs, radius, sigma):
    """The mean over a disk, whose edge is smoothed by a Gaussian of `sigma`."""
    import cv2

    reach = 8 if radius <= 8 else radius
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype("float32")
    side = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (side, side), sigmaX=sigma)
    return np.stack([cv2.filter2D(image, -1, kernel).reshape(image.shape) for image in images])


@corruption(
    "blur",
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    tiny_imagenet=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(images, rngs, sigma, reach, rounds):
    """Each pixel takes the value of a random neighbor, from the last pixel to the first, between two Gaussian blurs.

    As in the published files a neighbor keeps its own value: pixels are copied, not exchanged.
    """
    height, width = images.shape[1:3]
    pixels = np.floor(gaussian(images, sigma) * 255)
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    steps = draw(rngs, lambda rng: rng.integers(-reach, reach, (rounds, len(rows), len(columns), 2)))
    samples = np.arange(len(images))
    for turn in range(rounds):
        for i, y in enumerate(rows):
            for j, x in enumerate(columns):
                step = steps[:, turn, i, j]
                pixels[:, y, x] = pixels[samples, y + step[:, 1], x + step[:, 0]]
    return gaussian(pixels / 255, sigma)


@corruption(
    "blur",
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    tiny_imagenet=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(images, rngs, radius, sigma):
    """A one-sided Gaussian along a direction between -45° and 45°."""
    angles = [rng.uniform(-45, 45) for rng in rngs]
    blurred = [blur_along(image, radius, sigma, angle) for image, angle in zip(images, angles, strict=True)]
    return np.stack(blurred) + 1e-9  # a constant must not be rounded down


@corruption(
    "blur",
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    tiny_imagenet=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
)
def zoom_blur(images, rngs, end, step):
    """The mean of the image and its enlargements by 1, 1 + step, ... below the end."""
    factors, images = np.arange(1, end, step), images.astype("float32")
    total = sum(clipped_zoom(images, factor).astype("float32") for factor in factors)
    return (images + total) / np.float32(len(factors) + 1)


def gaussian(images, sigma):
    """A Gaussian blur that repeats the border and is truncated at 4 standard deviations."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest", truncate=4)


def blur_along(image, radius, sigma, angle):
    """A one-sided Gaussian blur along a line, as ImageMagick's motion blur.

        y(p) = sum_i w_i x(p + round(i (cos, sin) angle)),    w_i ~ exp(-i² / 2 sigma²),    i = 0 .. 2 radius

    Args:
        image: float64 array (height, width) or (height, width, channels), whose border is repeated.
        radius: Half the length of the line in pixels.
        sigma: Standard deviation in pixels.
        angle: Direction in degrees, clockwise from the right.

    Returns:
        An array of the same shape.
    """
    import cv2

    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = math.radians(angle)
    x, y = (np.ceil(steps * part - 0.5).astype(int) for part in (math.cos(angle), math.sin(angle)))
    reach = len(steps)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    np.add.at(kernel, (y + reach, x + reach), weights / weights.sum())
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)


def clipped_zoom(images, factor):
    """Enlarge the center of images to their full size.

    Args:
        images: Array (batch, height, width, channels).
        factor: Number from 1. The central ceil(side / factor) pixels are enlarged linearly, corner to corner.

    Returns:
        An array of the same shape.
    """
    for axis in (1, 2):
        turned = np.moveaxis(images, axis, 0)
        enlarged = _zoom_matrix(len(turned), factor) @ turned.reshape(len(turned), -1)
        images = np.moveaxis(enlarged.reshape(turned.shape), 0, axis)
    return images


def _zoom_matrix(side, factor):
    """The linear map of `scipy.ndimage.zoom` along one side as a sparse matrix (side, side)."""
    from scipy.ndimage import zoom
    from scipy.sparse import csr_array

    kept = math.ceil(side / factor)
    matrix = zoom(np.eye(kept), (factor, 1), order=1)
    start, trim = (side - kept) // 2, (len(matrix) - side) // 2
    full = np.zeros((side, side))
    full[:, start : start + kept] = matrix[trim : trim + side]
    return csr_array(full)
