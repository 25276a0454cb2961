"""The devices that a run is spread over."""

import contextlib
import json
import os

import keras
import tensorflow as tf


def start(kind, devices=None):
    """Set up a distribution, before anything else uses a device.

    Args:
        kind: `None`; `"mirrored"`, all devices of this machine by TensorFlow; `"multiworker"`, this process as one of
            those named in the environment's TF_CONFIG; `"jax"`, all devices of this machine by JAX.
        devices: Number of devices. On a machine without accelerators so many logical CPUs stand in for them.

    Returns:
        A context manager in which models are made and trained, the number of parts that a batch is split into, and
        this process' number among the workers.
    """
    backend = keras.backend.backend()
    wanted = {None: backend, "mirrored": "tensorflow", "multiworker": "tensorflow", "jax": "jax"}[kind]
    if backend != wanted:
        raise ValueError(f"--distribute {kind} needs the environment's KERAS_BACKEND={wanted}. Received: {backend}")
    if devices is not None and kind not in ("mirrored", "jax"):
        raise ValueError("--devices has no meaning without --distribute mirrored or jax")
    if devices is not None and devices < 1:
        raise ValueError(f"--devices must be at least 1. Received: {devices}")
    if kind == "mirrored":
        return _mirrored(devices)
    if kind == "multiworker":
        return _multiworker()
    if kind == "jax":
        return _jax(devices)
    return contextlib.nullcontext(), 1, 0


def _mirrored(devices):
    names = tf.config.list_physical_devices("GPU")
    if not names:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * (devices or 1))
        names = tf.config.list_logical_devices("CPU")
    chosen = [name.name.removeprefix("/physical_device:").removeprefix("/device:") for name in names]
    strategy = tf.distribute.MirroredStrategy(_first(chosen, devices))
    return strategy.scope(), strategy.num_replicas_in_sync, 0


def _multiworker():
    if "TF_CONFIG" not in os.environ:
        raise ValueError("--distribute multiworker needs the environment's TF_CONFIG, which names the workers")
    try:
        worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            'TF_CONFIG must be like {"cluster": {"worker": ["address:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}. '
            f"Received: {os.environ['TF_CONFIG']}"
        ) from None
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return strategy.scope(), strategy.num_replicas_in_sync, worker


def _jax(devices):
    import jax

    if devices is not None:
        jax.config.update("jax_num_cpu_devices", devices)  # for where there is nothing better
    chosen = _first(keras.distribution.list_devices(), devices)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=chosen))
    return contextlib.nullcontext(), len(chosen), 0


def _first(names, count):
    if count is not None and count > len(names):
        raise ValueError(f"--devices must be at most the {len(names)} devices of this machine. Received: {count}")
    return names[:count]
