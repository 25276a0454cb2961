"""Rotation, shear and zoom against OpenCV and a loop."""

import math

import numpy as np
import pytest

from keras_mma.robustness import InputError, deform
from keras_mma.robustness.perturbations import deformations
from tests.robustness.networks import pictures


def looped(image, matrix):
    """Bilinear, black outside, pixel by pixel."""
    height, width = image.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    result = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            row = centre_y + matrix[0][0] * (y - centre_y) + matrix[0][1] * (x - centre_x)
            column = centre_x + matrix[1][0] * (y - centre_y) + matrix[1][1] * (x - centre_x)
            for i in (math.floor(row), math.floor(row) + 1):
                for j in (math.floor(column), math.floor(column) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        result[y, x] += (1 - abs(row - i)) * (1 - abs(column - j)) * image[i, j]
    return result


@pytest.mark.parametrize("kind", ["rotation", "shear"])
@pytest.mark.parametrize("degrees", [-57.3, -20, 0, 33])
def test_the_maps_are_those_of_a_loop(kind, degrees):
    angle = math.radians(degrees)
    rotation = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    matrix = rotation if kind == "rotation" else [[1, 0], [math.tan(angle), 1]]
    for image in pictures(2, 15, 20):
        found = deformations.warp(image, deformations._matrix(kind, angle))
        assert np.abs(found - looped(image, matrix)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("degrees", [-40, 15])
def test_a_rotation_is_opencvs(degrees):
    import cv2

    image = pictures(1, 32, 32)[0]
    found = deformations.warp(image, deformations._matrix("rotation", math.radians(degrees)))
    matrix = cv2.getRotationMatrix2D((15.5, 15.5), degrees, 1.0)
    expected = cv2.warpAffine(image, matrix, (32, 32), flags=cv2.INTER_LINEAR)
    difference = np.abs(found.astype(int) - expected)
    assert difference.mean() < 1 and np.abs(image.astype(int) - expected).mean() > 10


@pytest.mark.parametrize("scale", [60, 80, 120, 140])
def test_a_zoom_is_that_of_a_loop(scale):
    images = pictures(2, 16, 21)
    for image, found in zip(images, deform(images, f"zoom_{scale}"), strict=True):
        assert np.abs(found - looped(image, np.eye(2) * 100 / scale)).max() <= 0.5 + 1e-6


def test_shrinking_leaves_a_black_frame_and_enlarging_does_not():
    images = np.full((1, 20, 20, 3), 255, "uint8")
    shrunk, enlarged = (deform(images, name)[0, ..., 0] for name in ("zoom_60", "zoom_140"))
    assert (shrunk[:4] == 0).all() and (shrunk[:, -4:] == 0).all() and (shrunk[5:15, 5:15] == 255).all()
    assert (enlarged == 255).all()


@pytest.mark.parametrize("name", ["rotation_20", "rotation_40", "shear_28.6", "shear_57.3"])
def test_angles_are_uniform(monkeypatch, name):
    from scipy.stats import kstest

    angles = []
    monkeypatch.setattr(deformations, "_matrix", lambda kind, angle: angles.append(math.degrees(angle)) or np.eye(2))
    deform(np.zeros((800, 2, 2, 1), "uint8"), name)
    largest = float(name.split("_")[1])
    assert kstest(angles, "uniform", (-largest, 2 * largest)).pvalue > 0.01


def test_an_image_keeps_its_angle_whatever_the_batch():
    images = pictures(4)
    whole = deform(images, "rotation_40", seed=3)
    assert (deform(images[[2]], "rotation_40", seed=3, indices=[2]) == whole[[2]]).all()
    assert (deform(images, "rotation_40", seed=4) != whole).any()


def test_others_are_refused():
    with pytest.raises(InputError, match="must be one of rotation_20.*Received: 'rotation_30'"):
        deform(pictures(1), "rotation_30")
