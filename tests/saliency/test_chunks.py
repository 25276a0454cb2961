"""Groups of images give what the whole batch gives."""

import numpy as np
import pytest
from keras import ops

from keras_mma import saliency
from keras_mma.saliency import detector
from tests.pictures import blobs


@pytest.fixture
def small_groups(monkeypatch):
    """Room for three images of 20 x 24."""
    monkeypatch.setattr(detector, "CHUNK_PIXELS", 3 * 20 * 24 + 5)
    monkeypatch.setattr(detector, "is_compiled_for_cpu", lambda: True)


@pytest.mark.parametrize("size", [1, 3, 4, 6, 8])
def test_groups_give_the_maps_of_the_whole_batch(rng, small_groups, monkeypatch, size):
    images = blobs(rng, size, 20, 24)
    seen = []
    found = ops.convert_to_numpy(
        detector.chunked(lambda x: seen.append(x.shape[0]) or ops.cast(x[..., :1], "float32"))(images)
    )
    np.testing.assert_array_equal(found, images[..., :1])
    assert max(seen) <= 3
    found = ops.convert_to_numpy(saliency.fine_grained(images))
    monkeypatch.setattr(detector, "is_compiled_for_cpu", lambda: False)
    np.testing.assert_array_equal(found, ops.convert_to_numpy(saliency.fine_grained(images)))


@pytest.mark.parametrize("xla", [False, True])
def test_groups_of_a_batch_of_unknown_size(needs_tensorflow, rng, small_groups, xla):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 20, 24, 3), tf.uint8)]
    compiled = tf.function(saliency.fine_grained, jit_compile=xla, input_signature=signature)
    for size in (1, 3, 4, 6, 8):
        images = blobs(rng, size, 20, 24)
        np.testing.assert_allclose(compiled(images).numpy(), saliency.fine_grained(images).numpy(), atol=1e-6)


def test_a_batch_that_is_spread_over_devices_stays_whole(rng, small_groups, monkeypatch):
    monkeypatch.setattr(detector, "device_groups", lambda rows: 2)
    seen = []
    detector.chunked(lambda x: seen.append(x.shape[0]) or ops.cast(x[..., :1], "float32"))(blobs(rng, 8, 20, 24))
    assert seen == [8]
