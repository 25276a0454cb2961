"""Patches dropped at random, salient ones first or last: Saliency Grafting's stress test."""

from typing import Any

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.perturbations.images import check_images
from keras_mma.robustness.perturbations.seeds import generators

GRID = 8
SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
ORDERS = ("random", "salient_first", "nonsalient_first")


def occlude(
    images: Any, order: str, share: float, saliency: Any = None, seed: int = 0, indices: Any = None
) -> np.ndarray:
    """Paint a share of the patches of a grid of 8 x 8 black.

    Args:
        images: uint8 images (batch, height, width, channels), at least 8 pixels a side.
        order: `"random"`, `"salient_first"` or `"nonsalient_first"`: which patches are painted first.
        share: Share of the patches, in [0, 1].
        saliency: Maps (batch, height, width, 1); the saliency of a patch is its mean. Not needed for `"random"`.
        seed: Non-negative integer.
        indices: Indices of the images in their dataset, which choose the random order; 0 to batch - 1 by default. The
            patches of a smaller share are among those of a larger one.

    Returns:
        uint8 images of the same shape.

    Raises:
        InputError: if there is no such order, the share is out of range, the order needs `saliency`, or the images have
            another form or are too small for the grid.

    Example:

    >>> from keras_mma.robustness import occlude
    >>> occlude(np.full((1, 8, 8, 1), 255, "uint8"), "random", 0.25).mean() / 255
    np.float64(0.75)

    References:
        - J. Park, J. Y. Yang, J. Shin, S. J. Hwang, E. Yang, Saliency grafting: innocuous attribution-guided mixup with
          calibrated label mixing, AAAI 2022, arXiv:2112.08796.
    """
    if order not in ORDERS:
        raise InputError(f"`order` must be one of {', '.join(ORDERS)}. Received: order={order!r}")
    if not 0 <= share <= 1:
        raise InputError(f"`share` must be in [0, 1]. Received: share={share}")
    if order != "random" and saliency is None:
        raise InputError(f"`saliency` must be given for the order {order}. Received: saliency=None")
    images = check_images(images)
    height, width = images.shape[1:3]
    if min(height, width) < GRID:
        raise InputError(f"occlusion needs images of at least {GRID} x {GRID} pixels. Received: {height} x {width}")
    indices = range(len(images)) if indices is None else indices
    return paint(images, rank_patches(order, saliency, seed, indices), share)


def rank_patches(order, saliency, seed, indices):
    """The place of each patch in the order in which patches are painted, the same for all shares: (batch, 64).

    Args:
        order, saliency, seed, indices: As for `occlude`.
    """
    # The random order also decides among patches of equal saliency.
    rank = np.stack([rng.permutation(GRID * GRID) for rng in generators(seed, "occlusion", indices)])
    if order != "random":
        means = patch_means(saliency).reshape(len(rank), -1)
        keys = -means if order == "salient_first" else means
        places = np.lexsort((rank, keys), axis=1)
        rank = np.empty_like(places)
        np.put_along_axis(rank, places, np.arange(GRID * GRID)[None], axis=1)
    return rank


def paint(images, ranks, share):
    """Paint the patches black whose ranks are below a share of all; see `occlude`."""
    dropped = (ranks < round(share * GRID * GRID)).reshape(-1, GRID, GRID)
    rows, columns = (_patch_of(side) for side in images.shape[1:3])
    return np.where(dropped[:, rows][:, :, columns, None], 0, images).astype("uint8")


def patch_means(maps):
    """The mean of each patch of maps (batch, height, width, 1): an array (batch, 8, 8)."""
    maps = np.asarray(maps, "float64")[..., 0]
    rows, columns = (np.eye(GRID)[_patch_of(side)] for side in maps.shape[1:])
    sums = np.einsum("bhw,hi,wj->bij", maps, rows, columns)
    return sums / np.outer(rows.sum(0), columns.sum(0))


def _patch_of(side):
    """The patch of each pixel along a side. Patches differ by a pixel where 8 does not divide the side."""
    return np.arange(side) * GRID // side
