"""Fused batch normalization trains as that of Keras does."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma.study import fused_normalization

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="an operation of TensorFlow")


def network(name="network"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=0.1, gamma_initializer="random_normal", name="norm")(x)
    x = keras.layers.BatchNormalization(name="frozen", trainable=False)(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.BatchNormalization(name="vectors")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x), name=name)


def data(rng, size=24):
    return rng.normal(2, 3, (size, 8, 8, 3)).astype("float32"), np.eye(3)[rng.integers(0, 3, size)].astype("float32")


def test_weights_and_statistics_after_training_are_those_of_keras(rng):
    images, labels = data(rng)
    plain, network_of_fused = network(), network()
    fused = fused_normalization.fuse(network_of_fused)
    for model in (plain, fused):
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
        model.fit(images, labels, batch_size=7, epochs=3, shuffle=False, verbose=0)  # the last batch is smaller
    before = network().get_weights()
    for trained, expected in zip(network_of_fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-5)
    changed = [not np.allclose(*pair) for pair in zip(plain.get_weights(), before, strict=True)]
    assert changed == [weight.path.partition("/")[0] != "frozen" for weight in plain.weights]
    predicted = fused.predict(images, verbose=0)
    np.testing.assert_array_equal(predicted, network_of_fused.predict(images, verbose=0))
    np.testing.assert_allclose(predicted, plain.predict(images, verbose=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_its_dtype(dtype, rng):
    images, labels = data(rng)
    keras.config.set_dtype_policy(dtype)
    try:
        fused = fused_normalization.fuse(network())
    finally:
        keras.config.set_dtype_policy("float32")
    fused.compile("sgd", "mse", jit_compile=False)
    fused.fit(images, labels, verbose=0)
    norm = fused.get_layer("norm")
    assert norm(images[..., :3][:, :6, :6, [0, 1, 2, 0]], training=True).dtype == norm.compute_dtype == dtype[6:]
    assert norm.layer.moving_mean.dtype == "float32" and np.isfinite(norm.layer.moving_mean).all()


def test_a_fused_network_can_be_mixed_and_its_network_has_layers_of_keras_alone(rng, tmp_path):
    images, labels = data(rng)
    plain = network()
    fused = fused_normalization.fuse(plain)
    ours = [layer.name for layer in fused.layers if type(layer).__module__.startswith("keras_mma")]
    assert ours == ["norm", "frozen"]
    model = keras_mma.mixify(fused, keras_mma.layers.CutMix(), at=["relu"])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(images, labels, verbose=0)
    plain.save(tmp_path / "network.keras")
    assert "keras_mma" not in plain.to_json()
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
