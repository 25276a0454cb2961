"""Small networks and images for the tests of the robustness report."""

import keras
import numpy as np

from keras_mma import datasets


def pictures(count=12, height=16, width=16, channels=3, seed=3):
    """uint8 images with structure at every scale: a smooth wave, an edge and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    images = np.empty((count, height, width, channels))
    for image in images:
        wave = 60 * np.sin(x * rng.uniform(0.2, 1) + y * rng.uniform(0.2, 1))
        edge = 90 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) > rng.uniform(-4, 4))
        image[...] = 80 + (wave + edge)[..., None] * rng.uniform(0.3, 1, channels) + rng.normal(0, 8, image.shape)
    return np.clip(images, 0, 255).astype("uint8")


def untrained(shape=(16, 16, 3), classes=4, activation=None, rescale=1 / 255):
    """A network that is not trained. Every image changes its outputs."""
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(rescale),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, kernel_initializer=keras.initializers.RandomNormal(0, 3, seed=1)),
            *([keras.layers.Activation(activation)] if activation else []),
        ]
    )


def digits_network(epochs=12, image_size=16):
    """A network that reads scikit-learn's digits; about a second and a half on one core.

    Returns:
        The model, which takes pixels 0 to 255 and gives logits, and the `Dataset` of the test images.
    """
    data = datasets.load("digits", image_size=image_size, validation_fraction=0)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((image_size, image_size, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(12, 3, strides=image_size // 8, activation="relu"),
            keras.layers.Conv2D(24, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*data.train.arrays(), batch_size=64, epochs=epochs, verbose=0)
    return model, data.test
