"""Fixtures that restore global Keras state, and the rule that divides the tests into the fast suite and the rest."""

import collections
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One thread for each worker of pytest-xdist: the tensors are small, and waking other threads costs more than it saves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Two logical devices, for tests of replicas. TensorFlow accepts this before it is initialized only.
    _cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the combinations of parameters that the fast suite leaves out, in the tables marked `sampled`.

    The fast suite runs combinations that together have every value of every parameter; all cases of a mixer of the same
    `kind` count as one value. Further combinations, with which every pair of values occurs, are marked `pairwise`, and
    those that are left are marked `exhaustive`. On JAX and PyTorch, all tables are sampled, and the fast suite runs a
    third of its sample of each test: the first third of the first test, the second third of the second, and so on.
    """
    tables = collections.defaultdict(list)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    for item in items:
        if hasattr(item, "callspec") and (item.get_closest_marker("sampled") or not on_tensorflow):
            tables[item.nodeid.partition("[")[0]].append(item)
    for number, table in enumerate(tables.values()):
        fast = sample(table, 1, kind)
        if not on_tensorflow:
            fast = fast[number % min(3, len(fast)) :: 3]
        pairs = [*fast, *sample(table, 2, repr)]
        for item in table:
            if item not in fast:
                item.add_marker(pytest.mark.pairwise if item in pairs else pytest.mark.exhaustive)


def kind(value):
    """All cases of a mixer of the same `kind` count as one value."""
    return repr(getattr(value, "kind", value))


def sample(table, strength, name):
    """The fewest tests of a table (as a greedy search finds them) with every combination of `strength` values."""

    def combinations(item):
        values = sorted((parameter, name(value)) for parameter, value in item.callspec.params.items())
        return set(itertools.combinations(values, min(strength, len(values))))

    rows = [(item, combinations(item)) for item in table]
    missing, chosen = set().union(*(groups for _, groups in rows)), []
    while missing:
        item, groups = max(rows, key=lambda row: len(row[1] & missing))
        missing -= groups
        chosen.append(item)
    return chosen


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
