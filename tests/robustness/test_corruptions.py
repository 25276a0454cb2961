"""Each corruption against a loop, or against another library than the one that it uses."""

import colorsys
import io
import math

import numpy as np
import pytest

from keras_mma.robustness import InputError, corrupt
from keras_mma.robustness.perturbations import published
from keras_mma.robustness.perturbations.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    blur,
    digital,
    noise,
    registry,
    weather,
)
from keras_mma.robustness.perturbations.seeds import generators
from tests.robustness.networks import pictures

SIDE = 16
REGENERATED = [name for name, entry in CORRUPTIONS.items() if not entry.needs]


@pytest.fixture
def images():
    return pictures(4, SIDE, SIDE)


@pytest.fixture
def units(images):
    return images / 255.0


def rngs_of(count=4, name="test"):
    return generators(5, name, range(count))


@pytest.mark.parametrize("name", REGENERATED)
@pytest.mark.parametrize("shape", [(16, 16, 1), (32, 32, 3), (20, 24, 3), (40, 36, 3)])
def test_every_severity_changes_every_kind_of_image(name, shape):
    images = pictures(2, *shape)
    for severity in SEVERITIES:
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert (changed != images).any(axis=(1, 2, 3)).all(), severity


@pytest.mark.parametrize("name", REGENERATED)
def test_an_image_keeps_its_corruption_whatever_the_batch(images, name):
    whole = corrupt(images, name, 3, seed=9)
    alone = corrupt(images[2:3], name, 3, seed=9, indices=[2])
    assert (whole[2:3] == alone).all()
    others = corrupt(images[[3, 2]], name, 3, seed=9, indices=[3, 2])
    assert (others == whole[[3, 2]]).all()


RANDOM = sorted(
    set(REGENERATED) - {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
)


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_and_images_draw_their_own(images, name):
    same = np.repeat(images[:1], 2, axis=0)
    first = corrupt(same, name, 5, seed=0)
    assert (first[0] != first[1]).any() and (first != corrupt(same, name, 5, seed=1)).any()


@pytest.mark.parametrize("name", REGENERATED)
def test_errors_of_the_images_grow_with_severity_on_the_whole(name):
    # A clean picture of 32 pixels; CIFAR-10-C's own table is not monotonous in every step for elastic and glass.
    images = pictures(16, 32, 32)
    distance = [np.abs(corrupt(images, name, s).astype(int) - images).mean() for s in SEVERITIES]
    assert distance[4] > distance[0] or name == "elastic_transform", distance


def test_every_corruption_has_five_severities_for_every_published_set():
    assert set(CORRUPTIONS) == set(published.CORRUPTIONS)
    for entry in CORRUPTIONS.values():
        assert set(entry.severities) == {"cifar", "imagenet"}
        assert all(len(rows) == 5 for rows in entry.severities.values())
    assert registry.parameters("fog", 4, 32, 32) == (1, 2) and registry.parameters("fog", 4, 33, 32) == (2.5, 1.5)
    assert registry.parameters("contrast", 1, 16, 16) == (0.75,)


@pytest.mark.parametrize(
    ("name", "severity", "images", "match"),
    [
        ("rain", 1, np.zeros((1, 8, 8, 3), "uint8"), "must be one of gaussian_noise"),
        ("frost", 1, np.zeros((1, 8, 8, 3), "uint8"), "needs `frost_textures`. Received: frost_textures=None"),
        ("fog", 6, np.zeros((1, 8, 8, 3), "uint8"), "1 to 5"),
        ("fog", 1, np.zeros((1, 8, 8, 3), "float32"), "`images` must be uint8.*Received: float32"),
        ("fog", 1, np.zeros((1, 8, 8, 4), "uint8"), "of 1 or 3 channels"),
    ],
)
def test_others_are_refused(name, severity, images, match):
    with pytest.raises(InputError, match=match):
        corrupt(images, name, severity)


GRAY = np.full((3, 64, 64, 3), 0.5)


def test_gaussian_noise_is_normal():
    from scipy.stats import kstest

    drawn = noise.gaussian_noise(GRAY, rngs_of(3), 0.1) - GRAY
    assert kstest(drawn.ravel() / 0.1, "norm").pvalue > 0.01


def test_shot_noise_is_poisson():
    levels = noise.shot_noise(GRAY, rngs_of(3), 60) * 60
    assert levels == pytest.approx(np.rint(levels), abs=1e-9)
    assert levels.mean() == pytest.approx(30, rel=0.01) and levels.var() == pytest.approx(30, rel=0.05)
    assert (noise.shot_noise(np.zeros((1, 4, 4, 3)), rngs_of(1), 60) == 0).all()


def test_impulse_noise_is_black_and_white_alike():
    changed = noise.impulse_noise(GRAY, rngs_of(3), 0.2)
    shares = [(changed == value).mean() for value in (0, 1, 0.5)]
    assert shares == pytest.approx([0.1, 0.1, 0.8], abs=0.01)


@pytest.mark.parametrize("parameters", [(0.5, 0.6), (1.5, 0.1), (3, 0.1)])
def test_defocus_blur_is_a_mean_over_a_disk(units, parameters):
    from scipy.ndimage import correlate

    radius, sigma = parameters
    disk = np.array([[float(y * y + x * x <= radius**2) for x in range(-9, 10)] for y in range(-9, 10)])
    side = np.exp(-(np.arange(-1, 2) ** 2) / (2 * sigma**2))
    rim = np.outer(side, side) / side.sum() ** 2
    kernel = correlate(disk / disk.sum(), rim, mode="constant")
    expected = np.stack([correlate(units[..., c], kernel[None], mode="mirror") for c in range(3)], axis=-1)
    assert blur.defocus_blur(units, None, *parameters) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("parameters", [(0.4, 1, 2), (0.7, 2, 1)])
def test_glass_blur_takes_neighbours_in_turn(units, parameters):
    from scipy.ndimage import gaussian_filter

    sigma, reach, rounds = parameters
    found = blur.glass_blur(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), found, strict=True):
        blurred = np.stack([gaussian_filter(image[..., c], sigma, mode="nearest") for c in range(3)], -1)
        pixels = (blurred * 255).astype("uint8")
        side = SIDE - 2 * reach
        steps = rng.integers(-reach, reach, (rounds, side, side, 2))
        for turn in range(rounds):
            for i, y in enumerate(range(SIDE - reach, reach, -1)):
                for j, x in enumerate(range(SIDE - reach, reach, -1)):
                    dx, dy = steps[turn, i, j]
                    for channel in range(3):
                        pixels[y, x, channel] = pixels[y + dy, x + dx, channel]
        expected = np.stack([gaussian_filter(pixels[..., c] / 255, sigma, mode="nearest") for c in range(3)], -1)
        assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("angle", [0, 30, -45, -100])
def test_motion_blur_is_a_sum_along_a_line(units, angle):
    image, radius, sigma = units[0], 4, 2.0
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    expected = np.zeros(image.shape)
    for y in range(SIDE):
        for x in range(SIDE):
            for i, weight in enumerate(weights):
                column = x + math.ceil(i * math.cos(math.radians(angle)) - 0.5)
                row = y + math.ceil(i * math.sin(math.radians(angle)) - 0.5)
                row, column = min(max(row, 0), SIDE - 1), min(max(column, 0), SIDE - 1)
                expected[y, x] += weight / sum(weights) * image[row, column]
    assert blur.blur_along(image, radius, sigma, angle) == pytest.approx(expected, abs=1e-9)


def test_motion_blur_draws_angles_of_a_quarter_turn(units, monkeypatch):
    angles = []
    monkeypatch.setattr(blur, "blur_along", lambda image, r, s, angle: angles.append(angle) or image)
    blur.motion_blur(np.repeat(units[:1], 400, axis=0), rngs_of(400), 6, 1)
    assert -45 <= min(angles) < -43 and 43 < max(angles) <= 45


def linear(image, y, x):
    """The value between four pixels."""
    top, left = min(int(y), image.shape[0] - 2), min(int(x), image.shape[1] - 2)
    dy, dx = y - top, x - left
    upper = (1 - dx) * image[top, left] + dx * image[top, left + 1]
    lower = (1 - dx) * image[top + 1, left] + dx * image[top + 1, left + 1]
    return (1 - dy) * upper + dy * lower


def zoomed(image, factor):
    """Corner onto corner, cut to the middle, pixel by pixel."""
    side = image.shape[0]
    kept = math.ceil(side / factor)
    start = (side - kept) // 2
    middle = image[start : start + kept, start : start + kept]
    size = round(kept * factor)
    trim = (size - side) // 2
    result = np.empty(image.shape)
    for y in range(side):
        for x in range(side):
            places = [(place + trim) * (kept - 1) / (size - 1) for place in (y, x)]
            result[y, x] = linear(middle, *places)
    return result


def test_zoom_blur_is_a_mean_of_zooms(units):
    found = blur.zoom_blur(units, None, 1.21, 0.05)
    factors = [1, 1.05, 1.1, 1.15, 1.2]
    for image, got in zip(units, found, strict=True):
        expected = (image + sum(zoomed(image, factor) for factor in factors)) / 6
        assert got == pytest.approx(expected, abs=1e-9)


def test_snow_is_thresholded_noise_blown_about(units):
    parameters = (0.15, 0.3, 1.75, 0.55, 5, 2, 0.9)
    mean, sigma, zoom, threshold, radius, blur_sigma, own = parameters
    found = weather.snow(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), found, strict=True):
        layer = zoomed(rng.normal(mean, sigma, (SIDE, SIDE)), zoom)
        layer = np.array([[0.0 if value < threshold else min(value, 1) for value in row] for row in layer])
        layer = (layer * 255).astype("uint8").astype("float64")
        layer = np.rint(blur.blur_along(layer, radius, blur_sigma, rng.uniform(-135, -45))) / 255
        gray = image @ [0.299, 0.587, 0.114]
        white = np.maximum(image, (1.5 * gray + 0.5)[..., None])
        expected = own * image + (1 - own) * white + (layer + np.rot90(layer, 2))[..., None]
        assert got == pytest.approx(expected, abs=1e-4)


def test_fog_is_a_plasma_fractal(units):
    strength, decay = 0.75, 2.5
    found = weather.fog(units, rngs_of(), strength, decay)
    for image, rng, got in zip(units, rngs_of(), found, strict=True):
        clouds = diamond_square(rng.uniform(-1, 1, (SIDE, SIDE)), decay)
        expected = (image + strength * clouds[..., None]) * image.max() / (image.max() + strength)
        assert got == pytest.approx(expected, abs=1e-9)


def diamond_square(noise, decay):
    """Point by point on a torus."""
    side, step, roughness = len(noise), len(noise), 100.0
    heights = np.zeros((side, side))
    while step >= 2:
        half = step // 2
        for points, neighbours in (
            ([(half, half)], [(-half, -half), (-half, half), (half, -half), (half, half)]),
            ([(0, half), (half, 0)], [(-half, 0), (half, 0), (0, -half), (0, half)]),
        ):
            for y0, x0 in points:
                for y in range(y0, side, step):
                    for x in range(x0, side, step):
                        total = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in neighbours)
                        heights[y, x] = total / 4 + roughness**2 * noise[y, x]
        step, roughness = half, roughness / decay
    heights -= heights.min()
    return heights / heights.max()


def test_brightness_raises_the_v_of_hsv(units):
    found = weather.brightness(units, None, 0.2)
    for place in np.ndindex(units.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*units[place])
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1))
        assert found[place] == pytest.approx(expected, abs=1e-5)


def test_contrast_draws_to_the_mean_of_the_channel(units):
    found = digital.contrast(units, None, 0.4)
    for image, got in zip(units, found, strict=True):
        for channel in range(3):
            mean = sum(image[y, x, channel] for y in range(SIDE) for x in range(SIDE)) / SIDE**2
            assert got[..., channel] == pytest.approx(mean + 0.4 * (image[..., channel] - mean))


@pytest.mark.parametrize("parameters", [(0, 0, 0.08), (0.1, 0.04, 0.05)])
def test_elastic_transform_is_an_affine_map_then_a_smooth_shift(units, parameters):
    from scipy.ndimage import affine_transform, gaussian_filter

    shift, sigma, reach = (SIDE * value for value in parameters)
    found = digital.elastic_transform(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), found, strict=True):
        corners = np.array([[13.0, 13.0], [13.0, 3.0], [3.0, 3.0]])
        moved = corners + rng.uniform(-reach, reach, (3, 2))
        # The map from the moved corners to the corners, (x, y, 1) at a time, then as rows and columns.
        back = np.linalg.solve(np.c_[moved, np.ones(3)], corners).T
        matrix, offset = back[::-1, 1::-1], back[::-1, 2]
        warped = np.stack(
            [affine_transform(image[..., c], matrix, offset, order=1, mode="mirror") for c in range(3)], axis=-1
        )
        drawn = rng.uniform(-1, 1, (2, SIDE, SIDE))
        dy, dx = (shift * gaussian_filter(part, sigma, mode="reflect", truncate=3) for part in drawn)
        expected = np.empty(image.shape)
        for y in range(SIDE):
            for x in range(SIDE):
                # Mirrored about the outermost half pixels, to whose inside the edge pixel is repeated.
                row, column = mirror(y + dy[y, x]), mirror(x + dx[y, x])
                expected[y, x] = linear(warped, row, column)
        assert got == pytest.approx(expected, abs=0.02)  # OpenCV's affine map has 5 bits between two pixels


def mirror(place):
    place = -1 - place if place < -0.5 else 2 * SIDE - 1 - place if place > SIDE - 0.5 else place
    return min(max(place, 0), SIDE - 1)


def test_pixelate_is_a_mean_over_boxes():
    images = pictures(2, 32, 32)
    found = digital.pixelate(images / 255, None, 0.5) * 255
    for image, got in zip(images.astype("float64"), found, strict=True):
        for y in range(0, 32, 2):
            for x in range(0, 32, 2):
                mean = image[y : y + 2, x : x + 2].mean((0, 1))
                assert np.abs(got[y : y + 2, x : x + 2] - mean).max() <= 1.25  # rounded by rows and by columns


def test_jpeg_compression_is_opencvs():
    import cv2

    image = pictures(1, 32, 32)[0]
    found = digital.jpeg_compression(image[None] / 255, None, 50)[0] * 255
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype("float64")
    assert np.abs(found - expected).mean() < 2 < np.abs(image - expected).mean()


def test_jpeg_and_pixelate_come_out_at_whole_levels(images):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "JPEG", quality=80)
    assert (corrupt(images[:1], "jpeg_compression", 1)[0] == np.asarray(Image.open(buffer))).all()
