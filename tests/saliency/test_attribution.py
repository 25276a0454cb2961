"""Attributions and detectors at a size, with channels last and first, against loops over a network of one layer."""

import numpy as np
import pytest
from keras import ops

from keras_mma import saliency
from keras_mma.saliency.attribution import activation, gradient
from keras_mma.saliency.detectors import Attribution, reduced
from tests.layers.mixers import to_numpy


class Scores:
    """A network whose scores are a matrix product with the channels of each pixel, in maps or summed."""

    def __init__(self, weights, of_maps, data_format="channels_last"):
        self.weights, self.of_maps, self.data_format = weights, of_maps, data_format

    def to_channels_last(self, maps):
        return maps if self.data_format == "channels_last" else ops.transpose(maps, (0, 2, 3, 1))

    def features(self, images):
        return ops.cast(images, "float32") * 2.0

    def predictions(self, images):
        scores = ops.matmul(self.to_channels_last(images), self.weights)
        return scores if self.of_maps else ops.sum(scores, axis=(1, 2))


@pytest.mark.parametrize("of_maps", [False, True])
def test_the_gradient_is_that_of_the_highest_score(rng, of_maps):
    weights = rng.standard_normal((3, 5)).astype("float32")
    images = rng.standard_normal((2, 4, 6, 3)).astype("float32")
    scores = images @ weights
    winner = (scores if of_maps else scores.sum((1, 2), keepdims=True)).argmax(-1)
    expected = np.broadcast_to(np.linalg.norm(weights, axis=0)[winner], images.shape[:3])
    computed = to_numpy(gradient(Scores(weights, of_maps), ops.convert_to_tensor(images)))
    np.testing.assert_allclose(computed[..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_attributions_at_a_size(rng, data_format):
    images = rng.random((2, 8, 4, 3), dtype="float32")
    network = Scores(rng.standard_normal((3, 5)).astype("float32"), False, data_format)
    given = images if data_format == "channels_last" else images.transpose(0, 3, 1, 2)
    small = images.reshape(2, 2, 4, 2, 2, 3).mean((2, 4))
    seen = []
    network.features = lambda batch: seen.append(to_numpy(batch)) or batch * 2.0
    computed = to_numpy(Attribution("activation", network)(given, size=2, data_format=data_format))
    assert computed.shape == (2, 8, 4, 1)
    expected = small if data_format == "channels_last" else small.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5)
    full = to_numpy(Attribution("activation", network)(given, data_format=data_format))
    np.testing.assert_allclose(full[..., 0], (4 * images**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(to_numpy(activation(network, given)), full, rtol=1e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_are_reduced_to_means(rng, data_format, dtype):
    images = rng.integers(0, 256, (2, 8, 4, 3)).astype(dtype)
    given = images if data_format == "channels_last" else images.transpose(0, 3, 1, 2)
    small = images.reshape(2, 2, 4, 2, 2, 3).mean((2, 4), dtype="float64")
    small = small if data_format == "channels_last" else small.transpose(0, 3, 1, 2)
    computed = to_numpy(reduced(ops.convert_to_tensor(given), 2, data_format))
    assert computed.dtype == dtype
    np.testing.assert_allclose(computed, np.round(small) if dtype == "uint8" else small, rtol=1e-6)
    for size, same in ((None, given), (4, given[:, :4, :4] if data_format == "channels_last" else given[..., :4, :])):
        assert reduced(same, size, data_format) is same
    if data_format == "channels_last":
        np.testing.assert_array_equal(to_numpy(reduced(ops.convert_to_tensor(given), 2)), computed)


def test_a_detector_reads_channels_first(rng):
    images = rng.random((2, 8, 4, 3), dtype="float32")
    detector = saliency.Detector(lambda images: images[..., :1])
    first = to_numpy(detector(images.transpose(0, 3, 1, 2), data_format="channels_first"))
    np.testing.assert_array_equal(first, images[..., :1])
    np.testing.assert_array_equal(to_numpy(detector(images)), first)
