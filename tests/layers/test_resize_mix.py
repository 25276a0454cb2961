"""ResizeMix: the shrunk partner, pixel by pixel."""

import math

import numpy as np
import pytest

from keras_mma import layers
from tests.layers.mixers import record_draws, to_numpy, training_plan
from tests.pictures import one_hot


def expected_mix(image, partner, scale, position):
    """The image with the shrunk partner, and its mask."""
    (height, width), mixed, mask = image.shape[:2], image.copy(), np.ones((*image.shape[:2], 1))
    lengths = [max(math.floor(scale * size), 1) for size in (height, width)]
    top, left = (
        math.floor(place * (size - length + 1))
        for place, size, length in zip(position, (height, width), lengths, strict=True)
    )
    for y in range(lengths[0]):
        for x in range(lengths[1]):
            source = math.floor((y + 0.5) * height / lengths[0]), math.floor((x + 0.5) * width / lengths[1])
            mixed[top + y, left + x] = partner[source]
            mask[top + y, left + x] = 0
    return mixed, mask


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_labels_and_segmentation_masks_equal_the_loop(data_format, rng, monkeypatch):
    draws = record_draws(monkeypatch)
    images, labels = rng.random((8, 16, 20, 3)).astype("float32"), one_hot(rng)
    classes = rng.integers(0, 9, (8, 16, 20))
    is_last = data_format == "channels_last"
    batch = {
        "images": images if is_last else images.transpose(0, 3, 1, 2),
        "labels": labels,
        "segmentation_masks": classes,
    }
    out = to_numpy(layers.ResizeMix(partner="roll", data_format=data_format, seed=2)(batch))
    mixed = out["images"] if is_last else out["images"].transpose(0, 2, 3, 1)
    (_, scale), (_, position) = draws
    assert scale.min() >= 0.1 and scale.max() <= 0.8
    for sample in range(8):
        partner = (sample - 1) % 8
        expected, mask = expected_mix(images[sample], images[partner], scale[sample], position[:, sample])
        np.testing.assert_array_equal(mixed[sample], expected)
        own = classes[sample][..., None], classes[partner][..., None]
        expected, _ = expected_mix(*own, scale[sample], position[:, sample])
        np.testing.assert_array_equal(out["segmentation_masks"][sample], expected[..., 0])
        expected = mask.mean() * labels[sample] + (1 - mask.mean()) * labels[partner]
        np.testing.assert_allclose(out["labels"][sample], expected, atol=1e-6)


def test_the_smallest_box_is_one_pixel(rng):
    _, plan = training_plan(layers.ResizeMix(scale=(0.01, 0.01), partner="roll"), rng.random((4, 8, 8, 3)))
    np.testing.assert_array_equal(plan["mask"].sum((1, 2, 3)), 63)


def test_a_box_larger_than_the_image_raises():
    with pytest.raises(ValueError, match=r"`scale` must be two positive numbers of at most 1.0, in order. Received:"):
        layers.ResizeMix(scale=(0.1, 1.5))
    with pytest.raises(ValueError, match=r"`mixers` must not move or resize the image. Received: 'resize_mix"):
        layers.RandomChoice([layers.ResizeMix()])
