"""Attributions of images of another size, `detector_size`: what is computed, and which networks take it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers, resampling
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.models.test_encoders import hub
from tests.pictures import blobs

DETECTORS = ["activation", "gradient"]


def network(sides=(16, 20), data_format="channels_last", dtype="float32"):
    """A network whose weights do not depend on the size of its images, in a nested model."""
    shape = (*sides, 3) if data_format == "channels_last" else (3, *sides)
    options = {"padding": "same", "data_format": data_format, "kernel_initializer": keras.initializers.HeNormal(seed=1)}
    base = keras.Sequential([keras.Input(shape), keras.layers.Conv2D(4, 3, **options)], name="base")
    inputs = keras.Input(shape, dtype=dtype)
    x = base(keras.layers.Rescaling(1 / 255)(inputs) if dtype == "uint8" else inputs)
    x = keras.layers.Conv2D(6, 3, strides=2, activation="tanh", name="last", **options)(x)
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format)(x)
    return keras.Model(inputs, keras.layers.Dense(5, kernel_initializer=keras.initializers.HeNormal(seed=2))(x))


def mixer_of(plain, detector, size=None, mixer=layers.SaliencyGrafting, **kwargs):
    model = keras_mma.mixify(plain, mixer(detector=detector, detector_size=size, seed=3, **kwargs), at=[])
    (layer,) = [layer for layer in model.layers if isinstance(layer, layers.Mixer)]
    return layer


def maps_of(mixer, images):
    return to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images)))


@pytest.fixture
def images(rng):
    return blobs(rng, 3, 16, 20).astype("float32") / 255


def reduced_by_loop(images, size):
    channels = [[oracles.area_pool(image[..., c], size, size) for c in range(3)] for image in images]
    return np.moveaxis(np.array(channels), 1, -1).astype("float32")


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_size_of_the_images_changes_nothing(images, detector):
    plain = network((16, 16))
    maps = [maps_of(mixer_of(plain, detector, size), images[:, :, :16]) for size in (None, 16)]
    np.testing.assert_array_equal(*maps)
    assert not np.array_equal(maps[0], maps_of(mixer_of(plain, detector, 8), images[:, :, :16]))


@pytest.mark.parametrize("size", [8, 6, 20])
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_map_is_that_of_the_resized_image(images, detector, size):
    plain, small = network(), network((size, size))
    small.set_weights(plain.get_weights())
    expected = maps_of(mixer_of(small, detector), reduced_by_loop(images, size))
    if detector == "activation":  # whose map is half as large, and then resized once
        features = keras.Model(small.input, small.get_layer("last").output)(reduced_by_loop(images, size))
        expected = ops.mean(ops.square(features), axis=-1, keepdims=True)
    expected = resampling.resize(ops.convert_to_tensor(expected), 16, 20, "bilinear")
    maps = maps_of(mixer_of(plain, detector, size), images)
    np.testing.assert_allclose(maps, to_numpy(expected), rtol=1e-3, atol=1e-6)
    assert maps.shape == (3, 16, 20, 1) and maps.std() > 1e-4


def test_integers_stay_integers(images):
    levels = np.round(255 * images).astype("uint8")
    small = network((8, 8), dtype="uint8")
    plain = network(dtype="uint8")
    small.set_weights(plain.get_weights())
    reduced = np.round(reduced_by_loop(levels.astype("float64"), 8)).astype("uint8")
    features = keras.Model(small.input, small.get_layer("last").output)(reduced)
    expected = resampling.resize(ops.mean(ops.square(features), axis=-1, keepdims=True), 16, 20, "bilinear")
    maps = maps_of(mixer_of(plain, "activation", 8), levels)
    # A mean that ends in 1/2 is rounded up or down.
    np.testing.assert_allclose(maps, to_numpy(expected), atol=3e-4)


@pytest.mark.parametrize("detector", DETECTORS)
def test_channels_first_equals_channels_last(images, detector):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels-first convolution on the CPU")
    last = maps_of(mixer_of(network(), detector, 8, data_format="channels_last"), images)
    first = mixer_of(network(data_format="channels_first"), detector, 8, data_format="channels_first")
    np.testing.assert_allclose(maps_of(first, images.transpose(0, 3, 1, 2)), last, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sides", [(None, None), (16, 20)])
def test_images_of_unknown_size(images, sides):
    unknown = maps_of(mixer_of(network(sides), "gradient", 8), images)
    np.testing.assert_allclose(unknown, maps_of(mixer_of(network(), "gradient", 8), images), rtol=1e-5)


@pytest.mark.parametrize(
    "mode",
    [{}, {"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)],
    ids=["graph", "eager", "xla"],
)
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_model_trains_is_saved_and_computes_the_same_maps(images, detector, mode, tmp_path):
    if mode.get("jit_compile") and keras.backend.backend() == "torch":
        pytest.skip("PyTorch takes long to compile")
    plain = network()
    model = keras_mma.mixify(plain, layers.SaliencyGrafting(detector=detector, detector_size=8, seed=3), at=["last"])
    model.compile(keras.optimizers.SGD(0.1), "mse", **{"jit_compile": False, **mode})
    before = plain.get_weights()
    model.fit(images, np.arange(3), verbose=0)
    assert all(not np.array_equal(*pair) for pair in zip(before, plain.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert len(copy.weights) == len(model.weights) and copy.mixer.detector_size == 8
    np.testing.assert_allclose(maps_of(copy.mixer, images), maps_of(model.mixer, images), rtol=1e-4, atol=1e-7)


def test_a_copy_of_another_size_has_no_network_yet(images):
    mixer = mixer_of(network(), "activation", 8)
    assert maps_of(mixer.copy(probability=0.5), images).shape == (3, 16, 20, 1)
    with pytest.raises(ValueError, match="'activation' must have a network"):
        maps_of(mixer.copy(detector_size=4), images)


def flat():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(keras.layers.Flatten()(x)))


class FixedGrid(keras.layers.Layer):
    """States its output's shape without looking at its input, as layers of patches do."""

    def call(self, x):
        return ops.reshape(x, (-1, 16 * 16, 3))

    def compute_output_shape(self, shape):
        return shape[0], 16 * 16, 3


def fixed():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling1D()(FixedGrid()(inputs))))


@pytest.mark.parametrize("build", [flat, lambda: hub("ViT"), fixed], ids=["flat", "ViT", "stated shape"])
def test_networks_of_one_size_raise(build):
    plain = build()
    expected = (
        r"`detector_size` must be a size of images that the network takes.* Received: detector_size=8, which '.+'"
    )
    with pytest.raises(ValueError, match=expected):
        mixer_of(plain, "gradient", 8)
    assert mixer_of(plain, "gradient", 16).detector_size == 16


def test_images_that_are_cut_into_several_samples_raise():
    with pytest.raises(ValueError, match="`detector_size` must be .* Received: detector_size=32") as raised:
        mixer_of(fixed(), "gradient", 32)
    assert "The predictions of an image must be those of one sample. Received: " in str(raised.value.__cause__)


def test_a_dense_head_does_not_matter_to_the_activation_of_a_layer_in_front(images):
    assert maps_of(mixer_of(flat(), "activation", 8), images[:, :, :16]).shape == (3, 16, 16, 1)


def test_features_of_one_pixel_raise():
    with pytest.raises(ValueError, match=r"`detector_size` must be so large .* Received: detector_size=2, .*1, 1, 6"):
        mixer_of(network(), "activation", 2)
