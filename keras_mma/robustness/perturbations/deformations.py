"""Rotation, shear and zoom: the deformations on which Manifold Mixup was tested."""

import math

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.perturbations.seeds import generators

# Kind and its parameter: the largest angle in degrees, of which each image draws its own, or the scale.
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
    """A deformation for reading: `"rotation ±20°"` for `"rotation_20"`."""
    kind, amount = name.split("_")
    return f"zoom {amount} %" if kind == "zoom" else f"{kind} ±{amount}°"


def deform(images, name, seed=0, indices=None):
    """Deform images about their centre, linearly interpolated, black where nothing was.

    Rotations and shears are by angles from U(-a, a), one for each image. A pixel (y, x) from the centre takes its
    value from M (y, x):

        rotation: [cos t, sin t; -sin t, cos t],    shear: [1, 0; tan t, 1],    zoom: [1 / z, 0; 0, 1 / z]

    so that a zoom of 60 % shrinks the picture and one of 140 % enlarges it.

    Args:
        images: Uint8 images (batch, height, width, channels).
        name: One of `DEFORMATIONS`, such as `"rotation_20"`.
        seed: Int from 0.
        indices: Numbers of the images in their data set, which choose their angles; 0 to batch - 1 by default.

    Returns:
        Uint8 images of the same shape, rounded.

    Raises:
        InputError: if there is no such deformation.

    Example:

    >>> from keras_mma.robustness import deform
    >>> deform(np.full((1, 4, 4, 1), 255, "uint8"), "zoom_60")[0, :, :, 0].tolist()
    [[0, 0, 0, 0], [0, 255, 255, 0], [0, 255, 255, 0], [0, 0, 0, 0]]

    References:
        - V. Verma et al., Manifold mixup: better representations by interpolating hidden states, ICML 2019,
          arXiv:1806.05236, the table of test-time deformations.
    """
    if name not in DEFORMATIONS:
        raise InputError(f"`name` must be one of {', '.join(DEFORMATIONS)}. Received: {name!r}")
    kind, parameter = DEFORMATIONS[name]
    indices = range(len(images)) if indices is None else indices
    if kind == "zoom":
        matrices = [np.eye(2) / parameter] * len(images)
    else:
        rngs = generators(seed, f"deformation/{name}", indices)
        matrices = [_matrix(kind, math.radians(rng.uniform(-parameter, parameter))) for rng in rngs]
    return np.stack([warp(image, matrix) for image, matrix in zip(images, matrices, strict=True)])


def warp(image, matrix):
    """Take each pixel (y, x) from matrix @ (y, x), both counted from the centre.

    Args:
        image: Uint8 image (height, width, channels).
        matrix: Array (2, 2).

    Returns:
        A uint8 image of the same shape.
    """
    from scipy.ndimage import affine_transform

    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - matrix @ centre
    warped = np.empty(image.shape, "float64")
    for channel in range(image.shape[-1]):
        affine_transform(
            image[..., channel].astype("float64"),
            matrix,
            offset,
            order=1,
            mode="grid-constant",
            output=warped[..., channel],
        )
    return np.rint(np.clip(warped, 0, 255)).astype("uint8")


def _matrix(kind, angle):
    if kind == "rotation":
        return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.array([[1.0, 0.0], [math.tan(angle), 1.0]])
