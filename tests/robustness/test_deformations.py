"""Rotation, shear and zoom: against a loop and against published figures."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from keras_mma.robustness import InputError, deform
from keras_mma.robustness.perturbations import deformations
from tests.robustness.networks import pictures


def assert_is_looped(result, image, matrix):
    """Nearest pixel about (height / 2 + 1/2, width / 2 + 1/2), black outside, except half-way between two pixels."""
    height, width = image.shape[:2]
    checked = 0
    for y in range(height):
        for x in range(width):
            dy, dx = y - height / 2 - 0.5, x - width / 2 - 0.5
            row = matrix[0][0] * dy + matrix[0][1] * dx + height / 2 + 0.5
            column = matrix[1][0] * dy + matrix[1][1] * dx + width / 2 + 0.5
            if min(abs(row % 1 - 0.5), abs(column % 1 - 0.5)) < 1e-9:
                continue
            inside = 0 <= row <= height - 1 and 0 <= column <= width - 1
            assert (result[y, x] == (image[round(row), round(column)] if inside else 0)).all()
            checked += 1
    assert checked > 0.7 * height * width


@pytest.mark.parametrize("degrees", [-57.3, -20, 1, 33])
def test_rotations_and_shears_are_those_of_a_loop(degrees):
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    images = pictures(2, 15, 20)
    for kind, matrix in (("rotation", [[cosine, -sine], [sine, cosine]]), ("shear", [[1, -sine], [0, cosine]])):
        warped = deformations.warp(images, [deformations.matrix(kind, angle)] * 2)
        for image, result in zip(images, warped, strict=True):
            assert_is_looped(result, image, matrix)


@pytest.mark.parametrize("scale", [60, 80, 120, 140])
def test_zooms_are_those_of_a_loop(scale):
    images = pictures(2, 32, 21)
    for image, result in zip(images, deform(images, f"zoom_{scale}"), strict=True):
        assert_is_looped(result, image, np.eye(2) * scale / 100)


@pytest.mark.parametrize(("scale", "share"), [(60, 0), (80, 0), (120, 0.34), (140, 0.53)])
def test_the_share_of_black_pixels_is_that_of_manifold_mixups_zooms_on_cifar(scale, share):
    zoomed = deform(np.full((1, 32, 32, 3), 255, "uint8"), f"zoom_{scale}")
    assert (zoomed == 0).mean() == pytest.approx(share, abs=0.005)


def test_zooming_in_enlarges_the_center():
    columns = np.broadcast_to(np.arange(100, dtype="uint8")[None, None, :, None], (1, 100, 100, 1))
    shown = deform(columns, "zoom_60")[0, 50, :, 0]
    assert shown[-1] - shown[0] == pytest.approx(60, abs=2) and shown.mean() == pytest.approx(50, abs=1)
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_titles_are_those_of_the_table():
    names = map(deformations.title, deformations.DEFORMATIONS)
    assert list(names)[1:5] + list(map(deformations.title, ["zoom_80", "zoom_120"])) == [
        "rotation ±40°",
        "shear ±28.6°",
        "shear ±57.3°",
        "zoom in 60 %",
        "zoom in 80 %",
        "zoom out 120 %",
    ]


@pytest.mark.parametrize("name", ["rotation_20", "rotation_40", "shear_28.6", "shear_57.3"])
def test_angles_are_uniform(monkeypatch, name):
    angles = []
    monkeypatch.setattr(deformations, "matrix", lambda kind, angle: angles.append(math.degrees(angle)) or np.eye(2))
    deform(np.zeros((800, 2, 2, 1), "uint8"), name)
    largest = float(name.split("_")[1])
    assert kstest(angles, "uniform", (-largest, 2 * largest)).pvalue > 0.01


def test_an_image_keeps_its_angle_whatever_the_batch():
    images = pictures(4)
    of_all = deform(images, "rotation_40", seed=3)
    assert (deform(images[[2]], "rotation_40", seed=3, indices=[2]) == of_all[[2]]).all()
    assert (deform(images, "rotation_40", seed=4) != of_all).any()


def test_others_are_refused():
    with pytest.raises(InputError, match="must be one of rotation_20.*Received: name='rotation_30'"):
        deform(pictures(1), "rotation_30")
    with pytest.raises(InputError, match="`images` must be uint8 .* Received: float64"):
        deform(pictures(1) / 255, "zoom_80")
