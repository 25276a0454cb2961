"""Labels, weights and segmentation masks that come with images."""

import typing

import keras
import numpy as np
import pytest

from keras_mma import layers
from keras_mma.layers import masks
from tests.layers.mixers import to_numpy
from tests.pictures import blobs


def test_weights_of_pixels_follow_the_mask(rng):
    images = blobs(rng, 6).astype("float32")
    weights = images[..., 0]
    batch = {"images": images, "segmentation_masks": images[..., :1], "sample_weight": weights}
    for mixer in (layers.CutMix(partner="roll", seed=1), layers.MixUp(partner="roll", seed=1)):
        out = to_numpy(mixer(batch))
        np.testing.assert_allclose(out["sample_weight"], out["segmentation_masks"][..., 0], rtol=1e-6)
    with pytest.raises(ValueError, match="`sample_weight` must be of shape .* Received: shape"):
        mixer({**batch, "sample_weight": weights[:, :5]})


def test_class_indices_that_are_floats_are_not_blended(rng):
    """As they arrive from a Keras pipeline."""
    images = blobs(rng, 6).astype("float32")
    indices = rng.integers(0, 5, images.shape[:3]).astype("float32")
    out = to_numpy(layers.CutMix(seed=1)({"images": images, "segmentation_masks": indices}))
    assert set(np.unique(out["segmentation_masks"])) <= set(range(5))
    with pytest.raises(ValueError, match="must be float class shares .*Received: shape .*, dtype float32"):
        layers.MixUp(seed=1)({"images": images, "segmentation_masks": indices})


class Half(layers.Mixer):
    """A mixer of which nothing says whether its masks are binary."""

    def sample_mask(self, images, partner, maps):
        return masks.Dense(keras.ops.full((images.shape[0], *self.image_size(images.shape), 1), 0.5))


def test_an_own_mixer_blends_no_class_indices_in_a_pipeline(rng, needs_tensorflow):
    """The mean of the classes 0 and 8 is class 4, which is in none of the two images, and a graph cannot raise."""
    import tensorflow as tf

    batch = {"images": blobs(rng, 6), "segmentation_masks": rng.choice([0, 8], (6, 16, 20))}
    with pytest.raises(ValueError, match="must be float class shares .* for Half, whose mask blends"):
        tf.data.Dataset.from_tensors(batch).map(Half(seed=1))


class Counting(layers.CutMix):
    """A mixer with a variable of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")


def test_variables_of_an_own_mixer_are_saved(tmp_path):
    def build():
        inputs = keras.Input((8, 8, 3))
        x, _ = Counting(seed=1)(inputs)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))

    model, other = build(), build()
    model.layers[1].count.assign(7.0)
    model.save_weights(tmp_path / "x.weights.h5")
    other.load_weights(tmp_path / "x.weights.h5")
    assert float(other.layers[1].count) == 7


class Batch(typing.NamedTuple):
    images: np.ndarray
    labels: np.ndarray


def test_a_named_tuple_stays_one(rng):
    mixed = layers.CutMix(num_classes=5)(Batch(blobs(rng, 4), rng.integers(0, 5, 4)))
    assert type(mixed) is Batch and tuple(mixed.labels.shape) == (4, 5)


def test_labels_that_are_none_are_refused(rng):
    images = blobs(rng, 4)
    with pytest.raises(ValueError, match="must have labels. Received: None in their place"):
        layers.CutMix()((images, None))
    with pytest.raises(ValueError, match=r"must have values for \['labels'\]. Received: None"):
        layers.CutMix()({"images": images, "labels": None})
