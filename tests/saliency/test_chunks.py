"""Maps of a batch that is processed in chunks equal those of the whole batch."""

import numpy as np
import pytest
from keras import ops

from keras_mma import saliency
from keras_mma.saliency import detectors
from tests.pictures import blobs
from tests.tracing import compiled_on_jax


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of three images of 20 x 24 pixels."""
    monkeypatch.setattr(detectors, "CHUNK_PIXELS", 3 * 20 * 24 + 5)
    monkeypatch.setattr(detectors, "is_compiled_for_cpu", lambda: True)


def maps(images):
    return ops.convert_to_numpy(compiled_on_jax(saliency.fine_grained)(images))


@pytest.mark.parametrize("size", [1, 3, 4, 6, 8])
def test_chunks_have_the_maps_of_the_whole_batch(rng, small_chunks, monkeypatch, size):
    images = blobs(rng, size, 20, 24)
    sizes = []
    first_channel = detectors.chunked(lambda x: sizes.append(x.shape[0]) or ops.cast(x[..., :1], "float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(first_channel(images)), images[..., :1])
    assert max(sizes) <= 3
    in_chunks = maps(images)
    monkeypatch.setattr(detectors, "is_compiled_for_cpu", lambda: False)
    np.testing.assert_array_equal(in_chunks, maps(images))


# XLA compiles each batch size anew, by itself or by the detector.
@pytest.mark.parametrize(
    ("xla", "sizes"),
    [
        (False, (3, 4)),
        pytest.param(True, (1, 6, 8), marks=pytest.mark.slow),
        pytest.param(False, (1, 6, 8), marks=pytest.mark.slow),
        pytest.param(True, (3, 4), marks=pytest.mark.slow),
    ],
)
def test_chunks_of_a_batch_of_unknown_size(needs_tensorflow, rng, small_chunks, monkeypatch, xla, sizes):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 20, 24, 3), tf.uint8)]
    compiled = tf.function(saliency.fine_grained, jit_compile=xla, input_signature=signature)
    batches = [blobs(rng, size, 20, 24) for size in sizes]
    in_chunks = [compiled(images).numpy() for images in batches]
    monkeypatch.setattr(detectors, "is_compiled_for_cpu", lambda: False)
    for maps, images in zip(in_chunks, batches, strict=True):
        np.testing.assert_allclose(maps, saliency.fine_grained(images).numpy(), atol=1e-6)


def test_a_batch_on_several_devices_is_not_chunked(rng, small_chunks, monkeypatch):
    monkeypatch.setattr(detectors, "device_groups", lambda batch_size: 2)
    sizes = []
    detectors.chunked(lambda x: sizes.append(x.shape[0]) or ops.cast(x[..., :1], "float32"))(blobs(rng, 8, 20, 24))
    assert sizes == [8]
