"""Fixtures that restore global Keras state, and the rule that divides the tests into the fast suite and the rest."""

import collections
import functools
import gc
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One thread for each worker of pytest-xdist: the tensors are small, and waking other threads costs more than it saves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest  # noqa: E402

# Importing Keras and the tests makes a million objects that stay, which need not be searched for garbage.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collectstart():
    import_keras()


@functools.cache
def import_keras():
    """Import Keras where tests are collected. The process that distributes them to workers does not need it."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Two logical devices, for tests of replicas. TensorFlow accepts this before it is initialized only.
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


#: Number of parts of a sample of which the fast suite runs one. Tests take the least time on PyTorch.
PARTS = {"torch": 3, "jax": 5}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the combinations of parameters that the fast suite leaves out, in the tables marked `sampled`.

    The fast suite runs combinations that together have every value of every parameter; all cases of a mixer of the
    same `kind` count as one value. Further combinations, with which every pair of values and every case occurs, are
    marked `pairwise`, and those that are left are marked `exhaustive`. On PyTorch and JAX, all tables are sampled, and
    the fast suite runs one of `PARTS` of its sample of each test: the first part of the first test, the second part of
    the second, and so on. The other parts are marked `valuewise`.
    """
    import keras

    tables = collections.defaultdict(list)
    backend = keras.backend.backend()
    on_tensorflow = backend == "tensorflow"
    for item in items:
        is_skipped = not on_tensorflow and "needs_tensorflow" in item.fixturenames
        if item.get_closest_marker("exhaustive") or is_skipped:
            continue
        if hasattr(item, "callspec") and (item.get_closest_marker("sampled") or not on_tensorflow):
            tables[item.nodeid.partition("[")[0]].append(item)
    for number, table in enumerate(tables.values()):
        fast = values = sample(table, values_of)
        if not on_tensorflow:
            fast = values[number % min(PARTS[backend], len(values)) :: PARTS[backend]]
        pairs = sample(table, pairs_of, values)
        for item in table:
            if item not in values:
                item.add_marker(pytest.mark.pairwise if item in pairs else pytest.mark.exhaustive)
            elif item not in fast:
                item.add_marker(pytest.mark.valuewise)


def kind(value):
    """All cases of a mixer of the same `kind` count as one value."""
    return repr(getattr(value, "kind", value))


def values_of(item):
    """The values that the parameters of a test have."""
    return {(parameter, kind(value)) for parameter, value in item.callspec.params.items()}


def pairs_of(item):
    """The pairs of values that a test has, and its cases of mixers themselves."""
    cases = {(parameter, repr(value)) for parameter, value in item.callspec.params.items()}
    return cases | set(itertools.combinations(sorted(values_of(item)), 2))


def sample(table, features_of, chosen=()):
    """The fewest tests of a table, as a greedy search finds them, that have all features together with those chosen."""
    rows = [(item, features_of(item)) for item in table]
    missing = set().union(*(features for _, features in rows)).difference(*map(features_of, chosen))
    added = []
    while missing:
        item, features = max(rows, key=lambda row: len(row[1] & missing))
        missing -= features
        added.append(item)
    return added


@pytest.fixture(autouse=True)
def repeatable():
    """Seed Keras before each test; after it, restore the global state of Keras and the registered detectors."""
    import keras

    from keras_mma.saliency import detectors

    keras.utils.set_random_seed(0)
    policy, data_format = keras.config.dtype_policy(), keras.config.image_data_format()
    registered = dict(detectors._DETECTORS)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)
    detectors._DETECTORS.clear()
    detectors._DETECTORS.update(registered)


@pytest.fixture
def half_precision():
    """The default dtype of Keras is float16; plans, labels and masks are float32 all the same."""
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float16")
    yield
    keras.config.set_floatx(before)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(7)


@pytest.fixture
def needs_tensorflow():
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("requires the TensorFlow backend")
