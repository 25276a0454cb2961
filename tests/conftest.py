"""Fixtures that restore global Keras state, and the rule that divides the tests into the fast suite and the rest."""

import collections
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Two logical devices, for tests of replicas. TensorFlow accepts this before it is initialised only.
    _cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the combinations of `sampled` tables as `exhaustive` that the fast suite leaves out.

    The fast suite runs a combination of parameters if it has a pair of values that no earlier combination has. (A test
    with a single parameter runs each value.) All cases of a mixer of the same `kind` count as the same value. On the
    other backends, every table is sampled, and a combination must have a new value.
    """
    strength = 2 if keras.backend.backend() == "tensorflow" else 1
    covered = collections.defaultdict(set)
    for item in items:
        if not hasattr(item, "callspec") or (strength == 2 and not item.get_closest_marker("sampled")):
            continue
        values = [(name, repr(getattr(value, "kind", value))) for name, value in item.callspec.params.items()]
        groups = set(itertools.combinations(sorted(values), min(strength, len(values))))
        test = item.nodeid.partition("[")[0]
        if groups <= covered[test]:
            item.add_marker(pytest.mark.exhaustive)
        covered[test] |= groups


@pytest.fixture(autouse=True)
def repeatable():
    """Seed Keras before each test, and restore the global state of Keras after it."""
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
        pytest.skip("requires the TensorFlow backend")
