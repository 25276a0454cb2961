"""Detectors equal OpenCV and the loops, and have the required invariances."""

import functools
import importlib
import types

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import layers, saliency
from keras_mma.resampling import resize
from keras_mma.saliency.fine_grained import _blur
from keras_mma.saliency.frequency_tuned import responses
from keras_mma.saliency.image_processing import to_gray
from tests import oracles
from tests.pictures import blobs, crops
from tests.tracing import compiled_on_jax

cv2 = pytest.importorskip("cv2")


def maps(detector, images):
    return ops.convert_to_numpy(compiled_on_jax(saliency.get(detector))(images))


def opencv(detector, images):
    """The maps of an OpenCV detector, which expects BGR images."""
    computed = [detector.computeSaliency(np.ascontiguousarray(image[..., ::-1])) for image in images]
    assert all(ok for ok, _ in computed)
    return np.stack([saliency_map for _, saliency_map in computed])


@pytest.mark.parametrize("size", [32, 96, 224])
def test_fine_grained_agrees_with_opencv_on_natural_crops(size):
    images = crops(size)
    expected = opencv(cv2.saliency.StaticSaliencyFineGrained_create(), images)
    computed = maps("fine_grained", images)[..., 0]
    assert np.mean(np.abs(computed - expected) <= 1 / 255 + 1e-6) >= 0.999
    is_peak = [theirs.flat[ours.argmax()] == theirs.max() for ours, theirs in zip(computed, expected, strict=True)]
    assert np.mean(is_peak) >= 0.99


@pytest.mark.parametrize("size", [32, 96])
def test_smooth_spectral_residual_equals_the_published_computation(size):
    gray = crops(size, 24).mean(-1).round().astype("uint8")
    gray = gray[gray.std((1, 2)) > 10]  # the spectrum of a nearly constant image contains zeros
    expected = np.stack([oracles.published_spectral_residual(image) for image in gray])
    expected /= expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(maps("smooth_spectral_residual", gray[..., None])[..., 0], expected, atol=2e-3)


def test_smooth_spectral_residual_of_large_images_is_computed_at_128_pixels(monkeypatch):
    module = importlib.import_module("keras_mma.saliency.spectral_residual")
    sizes, detect = [], module._detect_smooth
    monkeypatch.setattr(module, "_detect_smooth", lambda gray: sizes.append(gray.shape[1:3]) or detect(gray))
    images = crops(160, 4)
    small = maps("smooth_spectral_residual", ops.convert_to_numpy(resize(images.astype("float32"), 128, 128)))
    expected = ops.convert_to_numpy(resize(ops.convert_to_tensor(small), 160, 160, "bilinear"))[..., 0]
    for ours, theirs in zip(maps("smooth_spectral_residual", images)[..., 0], expected, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95
    assert sizes and {tuple(size) for size in sizes} == {(128, 128)}


def test_fine_grained_saturates_where_opencv_overflows():
    # At this size, about one crop in a hundred has a pixel where an 8-bit value of OpenCV overflows.
    images = crops(97, 300)
    expected = opencv(cv2.saliency.StaticSaliencyFineGrained_create(), images)
    computed = maps("fine_grained", images)[..., 0]
    overflows = np.abs(computed - expected) > 0.9
    assert overflows.any()
    assert (computed[overflows] == 1.0).all() and (expected[overflows] < 0.1).all()


def test_fine_grained_equals_the_loop(rng):
    images = np.concatenate([blobs(rng, 2, 19, 23), rng.integers(0, 256, (1, 19, 23, 3)).astype("uint8")])
    for image, ours in zip(images, maps("fine_grained", images)[..., 0], strict=True):
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        blurred = cv2.GaussianBlur(cv2.GaussianBlur(gray, (3, 3), 0), (3, 3), 0)
        np.testing.assert_allclose(ours, oracles.fine_grained(blurred), atol=1 / 255 + 1e-6)


def test_gray_and_blur_equal_opencv_exactly(rng):
    images = rng.integers(0, 256, (5, 21, 34, 3)).astype("uint8")
    gray = to_gray(images)
    expected = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])
    np.testing.assert_array_equal(ops.convert_to_numpy(gray), expected)
    expected = np.stack([cv2.GaussianBlur(image, (3, 3), 0) for image in expected])
    expected = np.stack([cv2.GaussianBlur(image, (3, 3), 0) for image in expected])
    np.testing.assert_array_equal(ops.convert_to_numpy(_blur(gray, 2)), expected)


@pytest.mark.parametrize(
    ("size", "least_correlation", "least_share"), [(32, 0.93, 0.1), (64, 0.998, 0.85), (224, 0.9998, 0.95)]
)
def test_spectral_residual_resembles_opencv(size, least_correlation, least_share):
    # OpenCV resizes in fixed-point arithmetic, so spectra and maps differ a little. docs/methods/saliencymix.md states
    # these bounds.
    images = crops(size, 64)
    expected = opencv(cv2.saliency.StaticSaliencySpectralResidual_create(), images)
    computed = maps("spectral_residual", images)[..., 0]
    correlation = [
        np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] for ours, theirs in zip(computed, expected, strict=True)
    ]
    assert np.mean(correlation) > least_correlation
    assert np.mean(np.abs(computed - expected) <= 1 / 255 + 1e-6) > least_share


DETECTORS = ["fine_grained", "frequency_tuned", "smooth_spectral_residual", "spectral_residual"]


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    "shape", [(2, 33, 17, 3), (1, 8, 8, 1), (3, 5, 40, 4), (1, 1, 1, 3), (2, 1, 9, 1), (2, 300, 120, 3)]
)
def test_shape_dtype_and_range(rng, detector, shape):
    computed = maps(detector, rng.integers(0, 256, shape).astype("uint8"))
    assert computed.shape == (*shape[:3], 1) and computed.dtype == "float32"
    assert np.isfinite(computed).all() and computed.min() >= 0 and computed.max() <= 1 + 1e-6


@pytest.mark.parametrize("detector", DETECTORS)
def test_maps_do_not_depend_on_the_value_range(rng, detector):
    images = blobs(rng, 6, 32, 32)
    for darkest, height in ((40, 27), (0, 32)):
        bright = np.maximum(images[:, :height], darkest)
        expected = maps(detector, bright)
        for rescaled in (
            bright.astype("float32"),
            bright.astype("int32"),
            bright / 255.0,
            (bright / 255.0).astype("float32"),
        ):
            np.testing.assert_allclose(maps(detector, rescaled), expected, atol=1e-5)
    peaks = expected.reshape(6, -1).argmax(1)
    for stretched in (
        images / 127.5 - 1,
        (images - 120.7) / 63.1,
        images * 257.0,
        images.astype("float32") - 1000,
        images / 255 * 1.3,  # more contrast
        images / 255 + 0.5,  # brighter
        images / 127.5,
    ):
        computed = maps(detector, stretched)
        # After rounding, the images are not equal to the original ones, so maps and peaks agree approximately. The
        # spectral residual divides by amplitudes near 0, and amplifies rounding errors.
        least_correlation = 0.9 if detector == "spectral_residual" else 0.98
        assert np.corrcoef(computed.ravel(), expected.ravel())[0, 1] > least_correlation
        assert (computed.reshape(6, -1)[np.arange(6), peaks] > 0.85).all()


def test_spectral_residual_finds_a_blob():
    y, x = np.mgrid[:48, :64]
    for center in [(10, 12), (30, 50), (24, 32)]:
        image = 40 + 200 * np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 30.0)
        computed = maps("spectral_residual", image[None, ..., None])[0, ..., 0]
        is_inside = np.hypot(y - center[0], x - center[1]) < 6
        assert computed[is_inside].mean() > 1.5 * computed[~is_inside].mean()


def to_lab(image):
    planes = responses(ops.convert_to_tensor(image.astype("float32") / 255))
    x, y, z = (ops.convert_to_numpy(plane) for plane in planes)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_lab_equals_opencv(rng):
    colors = rng.random((3, 20, 20, 3)).astype("float32")
    colors[0] *= 0.01  # dark colors, for which the definition has another branch
    # For uint8, OpenCV scales L by 255 / 100, adds 128 to a and b, and uses rounded tables.
    image = np.round(colors * 255).astype("uint8")
    expected = np.stack([cv2.cvtColor(part, cv2.COLOR_RGB2LAB) for part in image]).astype("float32")
    scaled = to_lab(image) * np.array([2.55, 1, 1], "float32") + np.array([0, 128, 128], "float32")
    assert np.abs(scaled - expected).max() < 1.6


def test_frequency_tuned_equals_the_loop(rng):
    images = rng.integers(0, 256, (2, 9, 12, 3)).astype("uint8")
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for image, ours in zip(images, maps("frequency_tuned", images)[..., 0], strict=True):
        lab = to_lab(image).astype("float64")
        mean = lab.reshape(-1, 3).mean(0)
        expected = np.zeros((9, 12))
        for y in range(9):
            for x in range(12):
                blurred = np.zeros(3)
                for dy in range(-2, 3):
                    for dx in range(-2, 3):
                        row, column = abs(y + dy), abs(x + dx)  # reflection without repeating the edge pixel
                        row, column = 8 - abs(8 - row), 11 - abs(11 - column)
                        blurred += kernel[dy + 2] * kernel[dx + 2] * lab[row, column]
                expected[y, x] = np.sqrt(((blurred - mean) ** 2).sum())
        np.testing.assert_allclose(ours, expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize("detector", DETECTORS)
def test_maps_of_thumbnails_are_enlarged(rng, detector):
    images = np.repeat(np.repeat(blobs(rng, 4, 16, 16), 3, 1), 3, 2)
    small = maps(detector, images[:, ::3, ::3])
    computed = ops.convert_to_numpy(saliency.get(detector)(images, size=16))
    assert computed.shape == (4, 48, 48, 1)
    # Each 3 x 3 cell has a single value, so the thumbnail is the small image.
    np.testing.assert_allclose(computed[:, 1::3, 1::3], small, atol=1e-5)
    for rescaled in (images.astype("float32"), (images / 255).astype("float32")):
        of_rescaled = ops.convert_to_numpy(saliency.get(detector)(rescaled, size=16))
        np.testing.assert_allclose(of_rescaled, computed, atol=1e-5)


@pytest.mark.parametrize("size", [0, -1, 2.5, "a", (8, 4), True])
def test_an_invalid_size_raises(rng, size):
    with pytest.raises(ValueError, match="`size` must be a positive integer or None. Received: size="):
        saliency.fine_grained(blobs(rng), size=size)


def test_registered_detectors_have_a_name(rng):
    @saliency.register("brightness")
    def brightness(images):
        return ops.mean(ops.cast(images, "float32"), -1, keepdims=True)

    assert saliency.get("brightness").function is brightness and "brightness" in saliency.names()
    assert saliency.register("brightness")(brightness) is brightness
    with pytest.raises(ValueError, match="Received: name='brightness', which is already registered"):
        saliency.register("brightness")(maps)
    with pytest.raises(ValueError, match="`name` must be a non-empty string other than"):
        saliency.register("gradient")
    with pytest.raises(ValueError, match="`detector` must be callable"):
        saliency.register("other")(3)


def contrast(images):
    return ops.mean(ops.cast(images, "float32"), -1, keepdims=True)


def test_a_definition_that_is_run_again_replaces_the_detector():
    """As in a cell of a notebook."""
    again = types.FunctionType(contrast.__code__, globals(), "contrast")
    other = types.FunctionType(contrast.__code__, globals(), "other")
    other.__qualname__ = "other"
    saliency.register("contrast")(contrast)
    assert saliency.register("contrast")(again) is again and saliency.get("contrast").function is again
    for function in (other, lambda images: images[..., :1]):
        with pytest.raises(ValueError, match="already registered"):
            saliency.register("contrast")(function)
    with pytest.raises(ValueError, match="already registered"):
        saliency.register("fine_grained")(types.FunctionType(contrast.__code__, globals(), "fine_grained"))


@pytest.mark.parametrize("detector", DETECTORS)
def test_images_with_an_unknown_number_of_channels_are_refused(needs_tensorflow, detector):
    import tensorflow as tf

    function = tf.function(saliency.get(detector), input_signature=[tf.TensorSpec((None, None, None, None), "uint8")])
    with pytest.raises(ValueError, match="`images` must have a known number of channels: decode them"):
        function.get_concrete_function()


def test_constant_images_have_no_saliency():
    assert not maps("frequency_tuned", np.full((2, 16, 16, 3), 77, "uint8")).any()
    assert not maps("fine_grained", np.full((2, 16, 16, 3), 77, "uint8")).any()
    assert np.isfinite(maps("spectral_residual", np.full((2, 16, 16, 3), 77, "uint8"))).all()


@pytest.mark.sampled
@pytest.mark.parametrize("side", [16, *(pytest.param(side, marks=pytest.mark.slow) for side in (224, 600))])
@pytest.mark.parametrize("color", [(3, 250, 17), (200, 30, 90)])
def test_constant_colors_have_no_saliency_in_eager_and_graph_mode(side, color):
    image = np.broadcast_to(np.array(color, "uint8"), (1, side, side, 3))
    for detect in [maps, *([_graph_of] if keras.backend.backend() == "tensorflow" else [])]:
        assert not detect("frequency_tuned", image).any()
        assert not detect("fine_grained", image).any()


def _graph_of(detector, images):
    import tensorflow as tf

    return tf.function(saliency.get(detector))(tf.constant(images)).numpy()


@pytest.mark.parametrize("detector", DETECTORS)
def test_samples_are_independent_even_of_nan(rng, detector):
    images = blobs(rng, 4, 32, 32).astype("float32")
    expected = maps(detector, images)
    images[1, 3, 3] = np.nan
    others = [0, 2, 3]
    np.testing.assert_allclose(maps(detector, images)[others], expected[others], atol=1e-6)


# Not compiled because sizes are unknown; compiled by the caller; compiled by the detector, as in a pipeline.
@pytest.mark.parametrize(
    ("xla", "shape"),
    [
        (False, (None, None, None, 3)),
        pytest.param(True, (8, 40, 40, 3), marks=pytest.mark.slow),
        pytest.param(False, (None, 40, 40, 3), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("detector", DETECTORS)
def test_graph_and_xla_give_the_same_maps(needs_tensorflow, rng, detector, xla, shape):
    import tensorflow as tf

    images = np.concatenate([blobs(rng, 4, 40, 40), rng.integers(0, 256, (4, 40, 40, 3)).astype("uint8")])
    compiled = tf.function(saliency.get(detector), jit_compile=xla, input_signature=[tf.TensorSpec(shape, tf.uint8)])
    np.testing.assert_allclose(compiled(images).numpy(), maps(detector, images), atol=2e-5)


def test_unknown_detectors_raise_and_callables_are_accepted():
    assert saliency.get(maps).function is maps
    with pytest.raises(ValueError, match="`detector` must be one of .*fine_grained.* Received: detector='fine'"):
        saliency.get("fine")


def test_a_wrapped_detector_is_treated_as_a_callable(rng):
    @functools.wraps(saliency.fine_grained)
    def darkest(images):
        return -1e39 * saliency.fine_grained(images)

    mixer = layers.SaliencyMix(detector=darkest)
    assert not ops.convert_to_numpy(mixer.saliency_maps(blobs(rng))).any()
