"""What several corruptions are made of: zooms, blurs along a line, clouds."""

import math

import numpy as np


def clipped_zoom(images, factor):
    """Enlarge the middle of images to their whole size.

    Args:
        images: Array (batch, height, width, channels).
        factor: From 1. The middle ceil(side / factor) pixels are enlarged linearly, corner onto corner.

    Returns:
        An array of the same shape.
    """
    for axis in (1, 2):
        turned = np.moveaxis(images, axis, 0)
        enlarged = _zoom_matrix(len(turned), factor) @ turned.reshape(len(turned), -1)
        images = np.moveaxis(enlarged.reshape(turned.shape), 0, axis)
    return images


def _zoom_matrix(side, factor):
    """What `scipy.ndimage.zoom` does along one side, as a sparse matrix (side, side)."""
    from scipy.ndimage import zoom
    from scipy.sparse import csr_array

    kept = math.ceil(side / factor)
    matrix = zoom(np.eye(kept), (factor, 1), order=1)
    start, trim = (side - kept) // 2, (len(matrix) - side) // 2
    whole = np.zeros((side, side))
    whole[:, start : start + kept] = matrix[trim : trim + side]
    return csr_array(whole)


def blur_along(image, radius, sigma, angle):
    """A one-sided Gaussian blur along a line, as ImageMagick's motion blur.

        y(p) = sum_i w_i x(p + round(i (cos, sin) angle)),    w_i ~ exp(-i² / 2 sigma²),    i = 0 .. 2 radius

    Args:
        image: Float64 array (height, width) or (height, width, channels); its border is repeated.
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


def plasma(noise, decay):
    """Plasma fractals by the diamond-square algorithm on a torus, scaled to [0, 1].

    Each value is the mean of its four neighbours, of which squares or diamonds of a shrinking side are made, plus
    w² times its noise. w is 100 at first and is divided by the decay whenever the side halves.

    Args:
        noise: Array (batch, side, side) in [-1, 1]; the side is a power of two.
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
