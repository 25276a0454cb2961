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
    extra,
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
    for severity in SEVERITIES if shape[-1] == 3 or not CORRUPTIONS[name].needs_color else ():
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert (changed != images).any(axis=(1, 2, 3)).all(), severity


def test_a_corruption_of_colors_refuses_gray_images():
    with pytest.raises(
        InputError, match=r"`name` saturate needs images of 3 channels. Received: shape \(2, 16, 16, 1\)"
    ):
        corrupt(pictures(2, 16, 16, 1), "saturate", 3)


@pytest.mark.parametrize("name", REGENERATED)
def test_an_image_keeps_its_corruption_whatever_the_batch(images, name):
    of_all = corrupt(images, name, 3, seed=9)
    alone = corrupt(images[2:3], name, 3, seed=9, indices=[2])
    assert (of_all[2:3] == alone).all()
    others = corrupt(images[[3, 2]], name, 3, seed=9, indices=[3, 2])
    assert (others == of_all[[3, 2]]).all()


RANDOM = sorted(
    set(REGENERATED)
    - {
        "gaussian_blur",
        "saturate",
        "defocus_blur",
        "zoom_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
    }
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


#: Corruptions that no published set has.
UNPUBLISHED = ()


def test_every_corruption_has_five_severities_for_every_published_set():
    assert list(CORRUPTIONS) == [*published.CORRUPTIONS, *published.EXTRA_CORRUPTIONS, *UNPUBLISHED]
    for entry in CORRUPTIONS.values():
        assert set(entry.severities) == set(registry.PUBLISHED_SETS)
        assert all(len(rows) == 5 for rows in entry.severities.values())
    assert registry.parameters("contrast", 1, 16, 16) == (0.75,)


@pytest.mark.parametrize(
    ("size", "label", "fog"),
    [
        ((32, 32), "CIFAR severities", (1, 2)),
        ((33, 32), "Tiny-ImageNet severities, JPEG of quality 85", (1.5, 2)),
        ((100, 128), "Tiny-ImageNet severities, JPEG of quality 85", (1.5, 2)),
        ((129, 100), "ImageNet severities, JPEG of quality 85", (2.5, 1.5)),
    ],
)
def test_the_severities_are_those_of_a_published_set_of_such_images(size, label, fog):
    assert registry.label(*size) == f"regenerated, {label}" and registry.parameters("fog", 4, *size) == fog


def photographs(side):
    """The middle of the two photographs that come with scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    crops = [Image.fromarray(image[:, 106:533]).resize((side, side)) for image in load_sample_images().images]
    return np.stack(crops)


def distance(images, name, severity):
    return np.sqrt(np.square(corrupt(images, name, severity).astype("float64") - images).mean())


def test_gaussian_noise_is_as_strong_as_that_of_imagenet_c():
    """The published JPEG files have an RMSE of 55 at severity 5; without JPEG it is 76."""
    assert distance(photographs(224), "gaussian_noise", 5) == pytest.approx(55, abs=2)


@pytest.mark.slow
def test_corruptions_are_as_strong_as_those_of_tiny_imagenet_c():
    """The published code gives an RMSE of 29.6, averaged over the corruptions at severity 3; ImageNet's gives 39.3."""
    images = photographs(64)
    names = [name for name in REGENERATED if CORRUPTIONS[name].group != "extra"]
    assert np.mean([distance(images, name, 3) for name in names]) == pytest.approx(29.6, abs=2)


def test_images_of_imagenet_size_are_those_of_a_jpeg_file():
    from PIL import Image

    images = photographs(224)
    plain = (np.clip(digital.contrast(images / 255, None, 0.4), 0, 1) * 255).astype("uint8")
    for image, result in zip(plain, corrupt(images, "contrast", 1), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=85, optimize=True)
        assert (result == np.asarray(Image.open(buffer))).all()


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
def test_glass_blur_takes_neighbors_in_turn(units, parameters):
    from scipy.ndimage import gaussian_filter

    sigma, reach, rounds = parameters
    corrupted = blur.glass_blur(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), corrupted, strict=True):
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
    corrupted = blur.zoom_blur(units, None, 1.21, 0.05)
    factors = [1, 1.05, 1.1, 1.15, 1.2]
    for image, got in zip(units, corrupted, strict=True):
        expected = (image + sum(zoomed(image, factor) for factor in factors)) / 6
        assert got == pytest.approx(expected, abs=1e-6)


def test_snow_is_thresholded_noise_blown_about(units):
    parameters = (0.15, 0.3, 1.75, 0.55, 5, 2, 0.9)
    mean, sigma, zoom, threshold, radius, blur_sigma, own = parameters
    corrupted = weather.snow(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), corrupted, strict=True):
        layer = zoomed(rng.normal(mean, sigma, (SIDE, SIDE)), zoom)
        layer = np.array([[0.0 if value < threshold else min(value, 1) for value in row] for row in layer])
        layer = (layer * 255).astype("uint8").astype("float64")
        layer = np.floor(blur.blur_along(layer, radius, blur_sigma, rng.uniform(-135, -45)) + 1e-6) / 255
        gray = image @ [0.299, 0.587, 0.114]
        white = np.maximum(image, (1.5 * gray + 0.5)[..., None])
        expected = own * image + (1 - own) * white + (layer + np.rot90(layer, 2))[..., None]
        assert got == pytest.approx(expected, abs=1e-4)


def test_where_no_flake_falls_the_image_is_only_whitened():
    changed = corrupt(np.zeros((4, 32, 32, 3), "uint8"), "snow", 1)
    assert changed.min() == int(0.05 * 0.5 * 255) and (changed == changed.min()).mean() > 0.1


@pytest.mark.parametrize("name", ["motion_blur", "gaussian_blur", "zoom_blur", "defocus_blur", "elastic_transform"])
def test_a_constant_image_stays_as_it_is(name):
    images = np.full((1, 32, 32, 3), 100, "uint8")
    assert np.abs(corrupt(images, name, 3).astype(int) - 100).max() <= (name != "motion_blur")


def test_fog_is_a_plasma_fractal(units):
    strength, decay = 0.75, 2.5
    corrupted = weather.fog(units, rngs_of(), strength, decay)
    for image, rng, got in zip(units, rngs_of(), corrupted, strict=True):
        clouds = diamond_square(rng.uniform(-1, 1, (SIDE, SIDE)), decay)
        expected = (image + strength * clouds[..., None]) * image.max() / (image.max() + strength)
        assert got == pytest.approx(expected, abs=1e-9)


def diamond_square(noise, decay):
    """Point by point on a torus."""
    side, step, roughness = len(noise), len(noise), 100.0
    heights = np.zeros((side, side))
    while step >= 2:
        half = step // 2
        for points, neighbors in (
            ([(half, half)], [(-half, -half), (-half, half), (half, -half), (half, half)]),
            ([(0, half), (half, 0)], [(-half, 0), (half, 0), (0, -half), (0, half)]),
        ):
            for y0, x0 in points:
                for y in range(y0, side, step):
                    for x in range(x0, side, step):
                        total = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in neighbors)
                        heights[y, x] = total / 4 + roughness**2 * noise[y, x]
        step, roughness = half, roughness / decay
    heights -= heights.min()
    return heights / heights.max()


def test_brightness_raises_the_v_of_hsv(units):
    corrupted = weather.brightness(units, None, 0.2)
    for place in np.ndindex(units.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*units[place])
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1))
        assert corrupted[place] == pytest.approx(expected, abs=1e-5)


def test_contrast_draws_to_the_mean_of_the_channel(units):
    corrupted = digital.contrast(units, None, 0.4)
    for image, got in zip(units, corrupted, strict=True):
        for channel in range(3):
            mean = sum(image[y, x, channel] for y in range(SIDE) for x in range(SIDE)) / SIDE**2
            assert got[..., channel] == pytest.approx(mean + 0.4 * (image[..., channel] - mean))


@pytest.mark.parametrize("parameters", [(0, 0, 0.08), (0.1, 0.04, 0.05)])
def test_elastic_transform_is_an_affine_map_then_a_smooth_shift(units, parameters):
    from scipy.ndimage import affine_transform, gaussian_filter

    shift, sigma, reach = (SIDE * value for value in parameters)
    corrupted = digital.elastic_transform(units, rngs_of(), *parameters)
    for image, rng, got in zip(units, rngs_of(), corrupted, strict=True):
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
    corrupted = digital.pixelate(images / 255, None, 0.5) * 255
    for image, got in zip(images.astype("float64"), corrupted, strict=True):
        for y in range(0, 32, 2):
            for x in range(0, 32, 2):
                mean = image[y : y + 2, x : x + 2].mean((0, 1))
                assert np.abs(got[y : y + 2, x : x + 2] - mean).max() <= 1.25  # rounded by rows and by columns


def test_jpeg_compression_is_opencvs():
    import cv2

    image = pictures(1, 32, 32)[0]
    corrupted = digital.jpeg_compression(image[None] / 255, None, 50)[0] * 255
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype("float64")
    assert np.abs(corrupted - expected).mean() < 2 < np.abs(image - expected).mean()


def test_speckle_noise_is_proportional_to_the_value():
    ramp = np.linspace(0, 1, 64)[:, None] * np.ones((2, 64, 64, 3))
    changed = extra.speckle_noise(ramp, rngs_of(2), 0.3) - ramp
    assert (changed[:, :, 0] == 0).all()
    drawn = changed[:, :, 1:] / ramp[:, :, 1:]
    assert drawn.std() == pytest.approx(0.3, rel=0.02) and drawn.mean() == pytest.approx(0, abs=0.01)


def test_gaussian_blur_is_opencvs(units):
    import cv2

    expected = [cv2.GaussianBlur(image, (9, 9), 1, borderType=cv2.BORDER_REPLICATE) for image in units]
    assert extra.gaussian_blur(units, None, 1) == pytest.approx(np.stack(expected), abs=1e-6)


def test_saturate_scales_the_s_of_hsv(units):
    changed = extra.saturate(units, None, 1.5, 0.1)
    for place in np.ndindex(units.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*units[place])
        expected = colorsys.hsv_to_rgb(hue, min(1.5 * saturation + 0.1, 1), value)
        assert changed[place] == pytest.approx(expected, abs=1e-4)


def test_mud_covers_with_its_color(units):
    from scipy.ndimage import gaussian_filter

    changed = extra.spatter(units, rngs_of(), 0.65, 0.1, 0.7, 0.66, 0.6, True)
    covered_anywhere = False
    for image, rng, result in zip(units, rngs_of(), changed, strict=True):
        drops = gaussian_filter(rng.normal(0.65, 0.1, (SIDE, SIDE)), 0.7, mode="nearest")
        cover = gaussian_filter((drops > 0.66).astype("float64"), 0.6, mode="nearest")
        for y in range(SIDE):
            for x in range(SIDE):
                share = cover[y, x] if cover[y, x] >= 0.8 else 0
                expected = (1 - share) * image[y, x] + share * np.array([63, 42, 20]) / 255
                assert result[y, x] == pytest.approx(expected)
                covered_anywhere |= share > 0
    assert covered_anywhere


def test_water_lightens_with_its_color():
    images = np.zeros((3, 64, 64, 3))
    water = extra.spatter(images, rngs_of(3), 0.65, 0.3, 1, 0.69, 0.5, False)
    assert water.min() == 0 and water.max((1, 2)) == pytest.approx(0.5 * np.array([[175, 238, 238]] * 3) / 255)
    assert water[..., 0] * 238 == pytest.approx(water[..., 1] * 175) and (water[..., 1] == water[..., 2]).all()
    assert 0.05 < (water > 0).mean() < 0.6
    gray = extra.spatter(images[..., :1], rngs_of(3), 0.65, 0.3, 1, 0.69, 0.5, False)
    assert gray[..., 0] == pytest.approx(water @ [0.299, 0.587, 0.114])
    assert (extra.spatter(images, rngs_of(3), 0, 0, 1, 0.69, 0.5, False) == 0).all()


def save_textures(path, count=3, side=200):
    """Images of one color each, which is their number."""
    from PIL import Image

    path.mkdir()
    for number in range(count):
        Image.fromarray(np.full((side, side, 3), (10 * number, 50, 90), "uint8")).save(path / f"{number}.png")
    return path


def test_frost_adds_a_crop_of_a_texture(tmp_path):
    from PIL import Image

    path = save_textures(tmp_path / "colors")
    images = np.full((40, 32, 32, 3), 100, "uint8")
    frosted = corrupt(images, "frost", 3, frost_textures=path)
    assert set(frosted[..., 0].ravel()) == {int(0.9 * 100 + 0.4 * 10 * number) for number in range(3)}
    assert (frosted[..., 2] == int(0.9 * 100 + 0.4 * 90)).all()
    ramp = np.broadcast_to(np.arange(200, dtype="uint8")[:, None, None], (200, 200, 3))
    (tmp_path / "ramp").mkdir()
    Image.fromarray(ramp).save(tmp_path / "ramp" / "ramp.png")
    tops = corrupt(np.zeros((60, 32, 32, 1), "uint8"), "frost", 5, frost_textures=tmp_path / "ramp")[:, 0, 0, 0] / 0.45
    assert len(set(tops)) > 5 and tops.max() < 200 - 5 * 31  # a crop anywhere in the texture at a fifth of its size


def test_textures_that_cannot_be_used_are_refused(tmp_path):
    images = np.zeros((1, 32, 32, 3), "uint8")
    (tmp_path / "empty").mkdir()
    damaged, small = save_textures(tmp_path / "damaged"), save_textures(tmp_path / "small", side=150)
    (damaged / "1.png").write_bytes(b"no image")
    for path, match in [
        (tmp_path / "empty", "`frost_textures` must be a folder of images"),
        (tmp_path / "nowhere", "`frost_textures` must be a folder of images"),
        (damaged, "1.png must be an image. Received: a file that is damaged or not an image"),
        (small, "0.png must be at least 32 x 32 pixels when scaled by 0.2. Received: 30 x 30"),
    ]:
        with pytest.raises(InputError, match=match):
            corrupt(images, "frost", 1, frost_textures=path)
    digests = {
        weather.textures_digest(save_textures(tmp_path / name, count))
        for name, count in zip("abc", (2, 2, 3), strict=True)
    }
    assert len(digests) == 2


def test_jpeg_and_pixelate_come_out_at_whole_levels(images):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "JPEG", quality=80)
    assert (corrupt(images[:1], "jpeg_compression", 1)[0] == np.asarray(Image.open(buffer))).all()


def test_images_of_other_channels_are_refused_with_advice():
    for count in (1, 3):
        registry.check_channels(count)
    with pytest.raises(InputError, match="need images of 1 or 3 channels: name the other sections with `only`.* 4$"):
        registry.check_channels(4)
