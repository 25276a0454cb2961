"""Rotation, shear and zoom: the deformations on which Manifold Mixup was tested, as in its authors' code."""

import math
from typing import Any

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.perturbations.images import check_images
from keras_mma.robustness.perturbations.seeds import generators

# Kind and parameter: the largest angle in degrees (each image draws its own), or the zoom as a share of the side.
DEFORMATIONS = {
    "rotation_20": ("rotation", 20.0),
    "rotation_40": ("rotation", 40.0),
    "shear_28.6": ("shear", 28.6),
    "shear_57.3": ("shear", 57.3),
    "zoom_60": ("zoom", 0.6),
    "zoom_80": ("zoom", 0.8),
    "zoom_120": ("zoom", 1.2),
    "zoom_140": ("zoom", 1.4),
}


def title(name):
    """Title of a deformation: `"rotation ±20°"` for `"rotation_20"`, `"zoom in 60 %"` for `"zoom_60"`."""
    kind, amount = name.split("_")
    if kind == "zoom":
        return f"zoom {'in' if float(amount) < 100 else 'out'} {amount} %"
    return f"{kind} ±{amount}°"


def deform(images: Any, name: str, seed: int = 0, indices: Any = None) -> np.ndarray:
    """Deform images with nearest-neighbor sampling; pixels outside the image are black.

    Each pixel (y, x) takes its value from M (y, x), with coordinates relative to (height / 2 + 1/2, width / 2 + 1/2),
    one pixel below and to the right of the center:

        rotation: [cos t, -sin t; sin t, cos t],    shear: [1, -sin t; 0, cos t],    zoom: [z, 0; 0, z]

    The angle t of each image is uniform in (-a, a). Zoom in 60 % enlarges the central 60 % of the sides, zoom out 140 %
    shows the picture at 1 / 1.4 of its size.

    Args:
        images: uint8 images (batch, height, width, channels).
        name: One of `DEFORMATIONS`, such as `"rotation_20"`.
        seed: Non-negative integer.
        indices: Indices of the images in their dataset, which choose their angles; 0 to batch - 1 by default.

    Returns:
        uint8 images of the same shape.

    Raises:
        InputError: If `name` is not one of `DEFORMATIONS`, or the images have another form.

    Example:

    >>> from keras_mma.robustness import deform
    >>> images = np.arange(16, dtype="uint8").reshape(1, 4, 4, 1)
    >>> deform(images, "zoom_60")[0, :, :, 0].tolist()
    [[5, 6, 6, 7], [9, 10, 10, 11], [9, 10, 10, 11], [13, 14, 14, 15]]

    References:
        - V. Verma et al., Manifold mixup: better representations by interpolating hidden states, ICML 2019,
          arXiv:1806.05236, the table of test-time deformations.
    """
    if name not in DEFORMATIONS:
        raise InputError(f"`name` must be one of {', '.join(DEFORMATIONS)}. Received: name={name!r}")
    images = check_images(images)
    kind, parameter = DEFORMATIONS[name]
    if kind == "zoom":
        return warp(images, [np.eye(2) * parameter] * len(images))
    indices = range(len(images)) if indices is None else indices
    rngs = generators(seed, f"deformation/{name}", indices)
    return warp(images, [matrix(kind, math.radians(rng.uniform(-parameter, parameter))) for rng in rngs])


def matrix(kind, angle):
    """The matrix (2, 2) of a rotation or shear by an angle in radians."""
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[cosine if kind == "rotation" else 1.0, -sine], [sine if kind == "rotation" else 0.0, cosine]])


def warp(images, matrices):
    """Take each pixel (y, x) of an image from its matrix @ (y, x), see `deform`."""
    from scipy.ndimage import affine_transform

    center = np.array(images.shape[1:3]) / 2 + 0.5
    warped = np.empty(images.shape, "uint8")
    for image, matrix, result in zip(images, matrices, warped, strict=True):
        offset = center - matrix @ center
        for channel in range(image.shape[-1]):
            affine_transform(image[..., channel], matrix, offset, order=0, mode="constant", output=result[..., channel])
    return warped
