"""The noise map of SaliencyMix's published code equals what OpenCV makes of float images."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import layers, saliency
from keras_mma.saliency.fine_grained_misread import misread, row_bytes
from tests.pictures import crops

cv2 = pytest.importorskip("cv2")


def opencv(images):
    detector = cv2.saliency.StaticSaliencyFineGrained_create()
    return np.stack([detector.computeSaliency(np.ascontiguousarray(image))[1] for image in images])


def published_input(images):
    """uint8 images as the published code standardizes them, in the same order of operations."""
    mean, std = (np.float32([x / 255 for x in values]) for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))
    return (images.astype("float32") / np.float32(255) - mean) / std


def peaks(maps):
    return np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), 1)


def distance(maps, others):
    """Mean distance of the first maxima in pixels."""
    return np.linalg.norm(peaks(maps) - peaks(others), axis=1).mean()


@pytest.mark.parametrize("shape", [(32, 32), (33, 30), (20, 50), (9, 7), (64, 64), (1, 2)])
def test_maps_equal_opencvs_where_the_arithmetic_is_exact(rng, shape):
    # Blurs of these values have few digits, so that every float32 sum is exact in any order.
    gray = (rng.integers(-256, 257, (6, *shape)) / 128).astype("float32")
    computed = ops.convert_to_numpy(misread(ops.convert_to_tensor(gray)))
    expected = opencv(gray)
    # Quotients may be rounded differently, which moves a few values by one level.
    assert np.mean(np.abs(computed - expected) < 1e-6) > 0.99
    assert np.abs(computed - expected).max() < 1.01 / 255
    assert (peaks(computed) == peaks(expected)).all()


def test_bytes_are_those_in_memory(rng):
    values = rng.normal(0, 1, (3, 5, 14)).astype("float32")
    computed = ops.convert_to_numpy(row_bytes(ops.convert_to_tensor(values)))
    np.testing.assert_array_equal(computed, values.astype("<f4").view("uint8").reshape(3, 5, -1)[..., :14])


def test_maps_of_photographs_are_those_of_the_published_code():
    images = crops(32, 400)
    computed = ops.convert_to_numpy(saliency.fine_grained_misread(images))[..., 0]
    expected = opencv(published_input(images))
    agrees = np.abs(computed - expected) <= 1 / 255 + 1e-6
    # Byte 0 of each float depends on the order of the additions, byte 1 hardly.
    assert min(agrees[..., byte::4].mean() for byte in (1, 2, 3)) > 0.98


def test_the_maximum_is_as_far_from_the_salient_pixel_as_that_of_another_image():
    images = crops(32, 400)
    noise = ops.convert_to_numpy(saliency.fine_grained_misread(images))[..., 0]
    correct = ops.convert_to_numpy(saliency.fine_grained(images))[..., 0]
    published = opencv(published_input(images))
    for maps in (noise, published):
        unrelated = distance(maps, np.roll(correct, 200, axis=0))
        assert distance(maps, correct) == pytest.approx(unrelated, rel=0.1) and unrelated > 12
    assert distance(noise, published) < 0.6 * distance(noise, correct)


@pytest.mark.parametrize("shape", [(2, 33, 17, 3), (1, 8, 8, 1), (2, 5, 40, 4), (1, 1, 1, 3), (2, 1, 9, 1)])
def test_shape_and_range(rng, shape):
    computed = ops.convert_to_numpy(saliency.fine_grained_misread(rng.integers(0, 256, shape).astype("uint8")))
    assert computed.shape == (*shape[:3], 1) and computed.dtype == "float32"
    assert computed.min() >= 0 and computed.max() <= 1


@pytest.mark.slow
def test_sizes_may_be_unknown_and_xla_compiles_it(needs_tensorflow):
    import tensorflow as tf

    images = crops(32, 16)
    expected = ops.convert_to_numpy(saliency.fine_grained_misread(images))[..., 2::4, :]
    for xla, shape in ((False, (None, None, None, 3)), (True, (16, 32, 32, 3)), (False, (None, 32, 32, 3))):
        compiled = tf.function(
            saliency.get("fine_grained_misread"), jit_compile=xla, input_signature=[tf.TensorSpec(shape, tf.uint8)]
        )
        agrees = np.abs(compiled(images).numpy()[..., 2::4, :] - expected) <= 1 / 255 + 1e-6
        assert agrees.mean() > 0.98


def test_the_ablation_centers_its_box_on_the_noise():
    if keras.backend.backend() == "jax":
        pytest.skip("the call is compiled as a whole, which changes the low digits of which this map is made")
    images = crops(32, 64)
    inner_boxes = 0
    for seed in range(12):
        mixer = layers.SaliencyMix(
            detector="fine_grained_misread", border="clip", box="batch", ties="first", probability=1.0, seed=seed
        )
        mixer = layers.SaliencyMix.from_config(mixer.get_config())
        maps = ops.convert_to_numpy(mixer.saliency_maps(images))
        np.testing.assert_array_equal(maps, ops.convert_to_numpy(saliency.fine_grained_misread(images)))
        _, plan = mixer(images, training=True)
        mask, partner = (ops.convert_to_numpy(plan[name]) for name in ("mask", "partner"))
        inside = np.argwhere(mask[0, ..., 0] == 0)
        if len(inside) == 0:
            continue
        for start, last, center in zip(inside.min(0), inside.max(0), peaks(maps[..., 0])[partner[0]], strict=True):
            assert start <= center <= last + 1
            if start > 0 and last < 31:
                assert (start + last + 1) / 2 == pytest.approx(center, abs=1)
                inner_boxes += 1
    assert inner_boxes > 3
