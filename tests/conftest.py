"""What the tests share: random pictures, and global Keras state that is put back."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Two logical devices, for what replicas must not share. Only possible before TensorFlow starts.
    _cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def repeatable():
    """The same numbers in every run, and no global Keras state that leaks into the next test."""
    keras.utils.set_random_seed(0)
    policy, data_format = keras.config.dtype_policy(), keras.config.image_data_format()
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def needs_tensorflow():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the tensorflow backend")
