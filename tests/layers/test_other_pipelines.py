"""`tf.data` pipelines and mixers on backends other than TensorFlow."""

import keras
import numpy as np
import pytest

from keras_mma import layers
from tests.pictures import blobs, one_hot

tf = pytest.importorskip("tensorflow")


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="mixers run in tf.data on TensorFlow")
def test_the_error_names_the_alternatives(rng):
    dataset = tf.data.Dataset.from_tensor_slices((blobs(rng, 8), one_hot(rng))).batch(4)
    with pytest.raises(ValueError, match="cannot run in a `tf.data` pipeline on the .* backend: put it into"):
        dataset.map(layers.SaliencyMix())


def test_batches_of_a_pipeline_can_be_mixed(rng):
    images, labels = blobs(rng, 8).astype("float32"), one_hot(rng)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    for batch in dataset:
        mixed, soft = layers.SaliencyMix(seed=1)(batch)
        expected, expected_labels = layers.SaliencyMix(seed=1)(images, labels)
        to_numpy = keras.ops.convert_to_numpy
        np.testing.assert_array_equal(to_numpy(mixed), to_numpy(expected))
        np.testing.assert_array_equal(to_numpy(soft), to_numpy(expected_labels))
