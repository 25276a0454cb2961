"""The zero-loss probe, random draws, and training with a fixed plan, on two devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mma import layers
from tests.distribution import program

ROOT = Path(__file__).parents[2]


def start(kind, **environment):
    """Start `tests.distribution.program` in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.distribution.program", kind],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, seconds=400):
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("localhost", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def check(distributed, single):
    """Distributed training has a zero-loss probe of 0, and gives the results of training on one device."""
    assert max(distributed["probe"]) < 1e-9
    for key in ("loss", "accuracy"):
        np.testing.assert_allclose(distributed[key], single[key], rtol=1e-4)
    for weight, expected in zip(distributed["weights"], single["weights"], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)
    assert single["loss"][-1] < 0.9 * single["loss"][0]  # the weights changed, so the comparison means something


@pytest.fixture(scope="module")
def single():
    return program.record(program.images_and_labels())


@pytest.mark.slow
def test_mirrored_strategy(needs_tensorflow, single):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    data = tf.data.Dataset.from_tensor_slices(program.images_and_labels()).batch(program.BATCH)
    check(program.record(data, strategy.scope), single)
    with strategy.scope():
        mixer = layers.MixUp(seed=5)
    images = tf.zeros((8, 12, 12, 3))
    masks = strategy.run(tf.function(lambda: mixer(images, training=True)[1]["mask"]))
    means = [np.asarray(part).mean((1, 2, 3)) for part in strategy.experimental_local_results(masks)]
    assert not np.isclose(*means).any()


@pytest.mark.slow
def test_integer_labels_train_on_mirrored_replicas(needs_tensorflow):
    import tensorflow as tf

    assert len(tf.config.list_logical_devices("CPU")) == 2  # with one, strategies of two may wait forever
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    images, labels = program.images_and_labels()
    with strategy.scope():
        model = program.identity_network()
    data = tf.data.Dataset.from_tensor_slices((images, labels.argmax(1))).batch(program.BATCH)
    history = model.fit(data, validation_data=data, verbose=0).history
    assert max(history["loss"] + history["val_loss"]) < 1e-9


@pytest.mark.slow
def test_two_workers(needs_tensorflow, single):
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = [
        start(
            "multiworker",
            TF_CONFIG=json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    first, second = map(finish, processes)
    check(first, single)
    assert first["weights"] == second["weights"] and first["loss"] == second["loss"]
    assert not np.isclose(first["draws"], second["draws"]).any()


@pytest.mark.slow
def test_data_parallel_on_jax():
    if keras.backend.backend() != "jax":
        pytest.skip("requires the JAX backend")
    result = finish(start("jax", KERAS_BACKEND="jax", XLA_FLAGS="--xla_force_host_platform_device_count=2"))
    distributed = result["distributed"]
    check(distributed, result["single"])
    assert not np.isclose(distributed["draws"][:8], distributed["draws"][8:]).any()
    before, validation, after = distributed["evaluated"]
    assert after == pytest.approx(validation) and after < before
    # Every pairing finds partners on the same device.
    for partner in (distributed[key] for key in ("partner", "roll", "distance")):
        assert sorted(partner[:8]) == list(range(8)) and sorted(partner[8:]) == list(range(8, 16))
    assert distributed["roll"][:3] == [7, 0, 1] and distributed["roll"][8:11] == [15, 8, 9]
