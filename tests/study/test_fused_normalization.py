"""Fused batch normalization trains as that of Keras does."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma.study import fused_normalization

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="an operation of TensorFlow")
UNUSUAL = {"center": False, "scale": False, "axis": 1, "synchronized": True}


def normalization(**arguments):
    return keras.layers.BatchNormalization(gamma_regularizer=keras.regularizers.L2(0.1), **arguments)


def network(is_fused=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    shared = normalization(momentum=0.9, epsilon=0.1, gamma_initializer="random_normal", name="shared")
    x = shared(keras.layers.ReLU(name="relu")(shared(x)))
    x = normalization(name="frozen", trainable=False)(x)
    x = normalization(name="vectors")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    if is_fused:
        fused_normalization.fuse(model)
    return model


def data(rng, size=24):
    return rng.normal(2, 3, (size, 8, 8, 3)).astype("float32"), np.eye(3)[rng.integers(0, 3, size)].astype("float32")


def is_fused(layer):
    return "call" in vars(layer)


@pytest.fixture
def operations(monkeypatch):
    """The dtypes with which TensorFlow's operation is called."""
    import tensorflow as tf

    called, operation = [], tf.raw_ops.FusedBatchNormV3

    def counted(**arguments):
        called.append(arguments["x"].dtype.name)
        return operation(**arguments)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", counted)
    return called


def test_weights_and_statistics_after_training_are_those_of_keras(rng, operations):
    images, labels = data(rng)
    plain, fused = network(), network(is_fused=True)
    start, losses = plain.get_weights(), []
    for model in (plain, fused):
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", jit_compile=False)
        # The last batch is smaller.
        losses.append(model.fit(images, labels, batch_size=7, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert operations
    np.testing.assert_allclose(*losses, rtol=1e-4)
    for expected, weights in zip(plain.weights, fused.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-4, err_msg=expected.path)
    for weight, *pair in zip(plain.weights, plain.get_weights(), start, strict=True):
        layer = weight.path.partition("/")[0]
        if "moving" in weight.path:
            assert np.allclose(*pair) == (layer == "frozen"), weight.path


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16", "float64"])
def test_one_call_is_that_of_keras(dtype, rng, operations):
    images = rng.normal(2, 3, (5, 6, 7, 4))
    plain, fused = (keras.layers.BatchNormalization(dtype=dtype) for _ in range(2))
    inputs = keras.Input((6, 7, 4))
    fused_normalization.fuse(keras.Model(inputs, fused(inputs)))
    normalized, expected = fused(images, training=True), plain(images, training=True)
    assert operations == ([] if dtype == "float64" else [dtype.removeprefix("mixed_")])
    assert normalized.dtype == expected.dtype == dtype.removeprefix("mixed_")
    tolerance = 1e-5 if dtype.startswith("float") else 0.02
    np.testing.assert_allclose(*(np.array(each, "float32") for each in (normalized, expected)), atol=tolerance)
    for weights, others in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weights, others, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_layers_are_left_unchanged(name):
    inputs = keras.Input((8, 8, 8))
    usual, unusual = keras.layers.BatchNormalization(axis=3), keras.layers.BatchNormalization(**{name: UNUSUAL[name]})
    fused_normalization.fuse(keras.Model(inputs, unusual(usual(inputs))))
    assert is_fused(usual) and not is_fused(unusual)


def test_a_mask_is_left_to_keras(rng, operations):
    fused = network(is_fused=True)
    images = rng.normal(size=(2, 6, 6, 4)).astype("float32")
    layer = fused.get_layer("shared")
    layer(images, training=True, mask=np.ones((2, 6, 6), bool))
    layer(images, training=False)
    assert not operations
    layer(images, training=True)
    assert operations == ["float32"]


def test_files_are_those_of_keras(rng, tmp_path):
    images, labels = data(rng)
    plain, fused = network(), network(is_fused=True)
    model = keras_mma.mixify(fused, keras_mma.layers.CutMix(), at=["relu"])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(images, labels, verbose=0)
    predicted = fused.predict(images, verbose=0)
    assert "keras_mma" not in fused.to_json()
    fused.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert not any(map(is_fused, loaded.layers))
    np.testing.assert_allclose(loaded.predict(images, verbose=0), predicted, atol=1e-5)
    fused.save_weights(tmp_path / "a.weights.h5")
    plain.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(plain.predict(images, verbose=0), predicted, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), predicted, atol=1e-5)
