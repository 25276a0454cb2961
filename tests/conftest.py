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

    # Two logical devices, for tests of replicas. TensorFlow accepts this before it is initialized only.
    _cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the combinations of parameters that the fast suite leaves out as `exhaustive`.

    The fast suite runs a sample of the tables marked `sampled`: combinations that together have every pair of values of
    two parameters. `sampled(1)` asks for every value only. All cases of a mixer of the same `kind` count as one value.
    On the other backends, all tables are sampled, and each test runs a third of a sample with every value: the first
    test the first third, the second test the second third, and so on.
    """
    tables = collections.defaultdict(list)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    for item in items:
        marker = item.get_closest_marker("sampled")
        if hasattr(item, "callspec") and (marker or not on_tensorflow):
            strength = (*marker.args, 2)[0] if marker and on_tensorflow else 1
            values = sorted((name, repr(getattr(value, "kind", value))) for name, value in item.callspec.params.items())
            groups = set(itertools.combinations(values, min(strength, len(values))))
            tables[item.nodeid.partition("[")[0]].append((item, groups))
    for number, rows in enumerate(tables.values()):
        missing, sample = set().union(*(groups for _, groups in rows)), []
        while missing:
            item, groups = max(rows, key=lambda row: len(row[1] & missing))
            missing -= groups
            sample.append(item)
        if not on_tensorflow:
            sample = sample[number % min(3, len(sample)) :: 3]
        for item, _ in rows:
            if item not in sample:
                item.add_marker(pytest.mark.exhaustive)


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
