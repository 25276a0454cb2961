"""Draws in worker processes: no two workers and no two epochs draw the same, and nothing hangs."""

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from keras_mma import layers
from tests.layers.mixers import to_numpy
from tests.pictures import blobs, one_hot

BACKEND = keras.backend.backend()


class Collate:
    def __init__(self, mixer):
        self.mixer = mixer

    def __call__(self, samples):
        images, labels = map(np.stack, zip(*samples, strict=True))
        return to_numpy(self.mixer(images, labels))[1]


@pytest.mark.skipif(BACKEND != "torch", reason="operations of the other backends hang after a fork")
@pytest.mark.parametrize("seed", [None, 3])
def test_workers_and_epochs_draw_different_numbers(rng, seed):
    import torch

    samples = list(zip(blobs(rng, 4), np.eye(4, dtype="float32"), strict=True)) * 4
    mixer = layers.MixUp(seed=seed, partner="roll")
    loader = torch.utils.data.DataLoader(samples, 4, num_workers=2, collate_fn=Collate(mixer))
    labels = [batch.tolist() for _ in range(2) for batch in loader]
    assert len(labels) == 8 and len({str(batch) for batch in labels}) == 8


class Batches(keras.utils.PyDataset):
    """The same batch again and again, mixed by the worker processes."""

    def __init__(self, mixer, images, labels, **kwargs):
        super().__init__(**kwargs)
        self.mixer, self.batch = mixer, (images, labels)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return tuple(map(to_numpy, self.mixer(*self.batch)))


class Recorded(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.labels = []

    def call(self, y_true, y_pred):
        self.labels.append(to_numpy(y_true).tolist())
        return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


@pytest.mark.filterwarnings("ignore:os.fork")
def test_worker_processes_of_a_pydataset(rng):
    images, loss = blobs(rng, 8).astype("float32"), Recorded()
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(8)])
    model.compile("sgd", loss, run_eagerly=True)
    mixer = layers.MixUp(seed=3, partner="roll")
    batches = Batches(mixer, images, np.eye(8, dtype="float32"), workers=2, use_multiprocessing=True)
    if BACKEND != "torch":
        with pytest.raises(Exception, match="must not take place in a forked worker process"):
            model.fit(batches, verbose=0)
        return
    model.fit(batches, epochs=2, verbose=0)
    assert len({str(labels) for labels in loss.labels}) >= 8


def test_threads_draw_different_numbers(rng):
    """Those of Grain, and of a `PyDataset` with several workers."""
    images, labels, mixer = blobs(rng, 4, 8, 8), np.eye(4, dtype="float32"), layers.MixUp(partner="roll")
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: to_numpy(mixer(images, labels))[1].tolist(), range(64)))
    assert len({str(batch) for batch in batches}) == 64


def _mix(mixer, images, labels, results):
    try:
        results.put(to_numpy(mixer(images, labels))[1].sum())
    except Exception as error:
        results.put(error)


@pytest.mark.skipif(BACKEND == "torch", reason="torch works in the workers of a DataLoader")
@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.parametrize("cls", [layers.MixUp, layers.SaliencyMix])
def test_a_forked_worker_gets_an_error_instead_of_hanging(rng, cls):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    worker = context.Process(target=_mix, args=(cls(), blobs(rng, 8), one_hot(rng, 8), results))
    worker.start()
    try:
        result = results.get(timeout=20)
    finally:
        worker.kill()
    assert isinstance(result, RuntimeError)
    assert "must not take place in a forked worker process" in str(result)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_pickled_mixer_continues_here_and_draws_other_numbers_in_another_process(rng, monkeypatch, seed):
    images, labels = blobs(rng, 8), one_hot(rng, 8)
    mixer = layers.MixUp(seed=seed)
    mixer(images, labels)
    stored = pickle.dumps(mixer)
    here, elsewhere = pickle.loads(stored), []
    expected = to_numpy(mixer(images, labels))[1]
    np.testing.assert_array_equal(to_numpy(here(images, labels))[1], expected)
    this = os.getpid()
    for worker in (1, 2, 1):
        monkeypatch.setattr(os, "getpid", lambda worker=worker: this + worker)
        monkeypatch.setattr(multiprocessing.current_process(), "_identity", (worker,))
        elsewhere.append(to_numpy(pickle.loads(stored)(images, labels))[1])
    draws = {str(value) for value in (expected, *elsewhere)}
    # With a seed, the same worker repeats its draws.
    assert len(draws) == (4 if seed is None else 3)
