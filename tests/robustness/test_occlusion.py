"""Which patches are dropped, against a loop."""

import numpy as np
import pytest

from keras_mma.robustness import InputError, occlude
from keras_mma.robustness.perturbations.occlusion import ORDERS, SHARES, patch_means
from tests.robustness.networks import pictures

WHITE = np.full((3, 16, 24, 2), 255, "uint8")


def dropped(images):
    """The patches (8, 8) of white images that are black, for each image."""
    blocks = images.reshape(len(images), 8, images.shape[1] // 8, 8, images.shape[2] // 8, -1)
    assert (blocks.min((2, 4, 5)) == blocks.max((2, 4, 5))).all()
    return blocks.max((2, 4, 5)) == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("share", [0, *SHARES, 1])
def test_so_many_patches_are_black(rng, order, share):
    is_dropped = dropped(occlude(WHITE, order, share, rng.random((3, 16, 24, 1))))
    assert (is_dropped.sum((1, 2)) == 64 * share).all()


@pytest.mark.parametrize("order", ["salient_first", "nonsalient_first"])
def test_the_most_or_least_salient_go_first(rng, order):
    saliency = rng.random((3, 16, 24, 1))
    is_dropped = dropped(occlude(WHITE, order, 0.25, saliency))
    for maps, black in zip(saliency, is_dropped, strict=True):
        means = {(i, j): maps[2 * i : 2 * i + 2, 3 * j : 3 * j + 3].mean() for i in range(8) for j in range(8)}
        ranked = sorted(means, key=means.get, reverse=order == "salient_first")
        assert {(i, j) for i, j in zip(*np.nonzero(black), strict=True)} == set(ranked[:16])


def test_ties_and_the_random_order_are_drawn_for_each_image():
    constant = np.ones((3, 16, 24, 1))
    for order in ORDERS:
        is_dropped = dropped(occlude(WHITE, order, 0.5, constant))
        assert (is_dropped[0] != is_dropped[1]).any() and (
            dropped(occlude(WHITE, order, 0.5, constant, seed=1)) != is_dropped
        ).any()


@pytest.mark.parametrize("order", ORDERS)
def test_a_larger_share_drops_the_smaller_ones_patches_too(rng, order):
    saliency = rng.random((3, 16, 24, 1))
    is_dropped = [dropped(occlude(WHITE, order, share, saliency)) for share in SHARES]
    for smaller, larger in zip(is_dropped, is_dropped[1:], strict=False):
        assert (larger | ~smaller).all()


def test_an_image_keeps_its_patches_whatever_the_batch():
    images = pictures(4)
    of_all = occlude(images, "random", 0.5, seed=3)
    assert (occlude(images[[2]], "random", 0.5, seed=3, indices=[2]) == of_all[[2]]).all()


def test_sides_that_eight_does_not_divide(rng):
    maps = rng.random((2, 19, 30, 1))
    means = patch_means(maps)
    rows, columns = np.arange(19) * 8 // 19, np.arange(30) * 8 // 30
    for i in range(8):
        for j in range(8):
            assert means[0, i, j] == pytest.approx(maps[0, rows == i][:, columns == j].mean())
    occluded = occlude(np.full((2, 19, 30, 3), 255, "uint8"), "salient_first", 1 / 64, maps)
    darkest = np.unravel_index(means[1].argmax(), (8, 8))
    assert (occluded[1][np.ix_(rows == darkest[0], columns == darkest[1])] == 0).all()
    assert (occluded[1] == 0).sum() == 3 * (rows == darkest[0]).sum() * (columns == darkest[1]).sum()


def test_others_are_refused():
    with pytest.raises(InputError, match="must be one of random"):
        occlude(WHITE, "salient", 0.5)
    with pytest.raises(InputError, match="at least 8 x 8 pixels. Received: 7 x 8"):
        occlude(np.zeros((1, 7, 8, 3), "uint8"), "random", 0.5)
    with pytest.raises(InputError, match=r"`share` must be in \[0, 1\]. Received: share=25"):
        occlude(WHITE, "random", 25)
    with pytest.raises(InputError, match="`saliency` must be given for the order salient_first"):
        occlude(WHITE, "salient_first", 0.5)
    for images in (WHITE / 255, WHITE[0]):
        with pytest.raises(InputError, match="`images` must be uint8 .batch, height, width, channels.. Received: "):
            occlude(images, "random", 0.5)
