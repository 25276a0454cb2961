"""The one resize: antialiased, and the way of `keras.utils.image_dataset_from_directory` for comparison."""

import keras
import numpy as np
import pytest

from keras_mma import datasets
from keras_mma.datasets import resizing
from keras_mma.errors import InputError
from tests.datasets.files import pixels, save_classes


def test_area_averaging_is_the_mean_of_blocks(rng):
    image = rng.integers(0, 256, (8, 12, 3), "uint8")
    shrunk = resizing.resize_image(image, 4, "area").astype(int)
    assert np.abs(shrunk - image.reshape(4, 2, 4, 3, 3).mean((1, 3))).max() <= 1


def test_antialiasing_averages_what_plain_interpolation_skips():
    """A checkerboard is gray from afar; two plain samples of it are not."""
    board = (255 * (np.indices((64, 64)).sum(0) % 2)).astype("uint8")[..., None]
    assert (np.abs(resizing.resize_image(board, 8)[1:-1, 1:-1].astype(int) - 127.5) < 8).all()
    stripes = np.repeat((255 * (np.arange(63) % 3 == 1)).astype("uint8")[None, :, None], 63, 0)
    assert (resizing.resize_image(stripes, 21, "bilinear") == 255).all()
    assert np.abs(resizing.resize_image(stripes, 21)[:, 2:-2].astype(int) - 85).max() < 30


def test_channels_are_resized_alike(rng):
    image = rng.integers(0, 256, (9, 7, 3), "uint8")
    for resize in datasets.RESIZES:
        colors = resizing.resize_image(image, 5, resize)
        for channel in range(3):
            alone = resizing.resize_image(image[..., channel : channel + 1], 5, resize)
            assert (alone[..., 0] == colors[..., channel]).all() and alone.shape == (5, 5, 1)
        assert resizing.resize_image(image[..., :2], 5, resize).shape == (5, 5, 2)
    square = rng.integers(0, 256, (5, 5, 3), "uint8")
    assert resizing.resize_image(square, 5) is square and resizing.resize_image(image, None) is image


@pytest.mark.parametrize("size", [7, 16, 40])
def test_bilinear_is_what_keras_reads_from_a_directory(tmp_path, size):
    save_classes(tmp_path, height=20, width=30)
    expected = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(size, size), batch_size=8, shuffle=False, verbose=False
    )
    ((expected, labels),) = expected.as_numpy_iterator()
    data = datasets.folder.read_folder(tmp_path, "x", size, "bilinear")
    images, ours = data.arrays()
    assert np.abs(images - expected).max() <= 0.501 and (labels == ours).all()
    if size < 20:
        antialiased = datasets.folder.read_folder(tmp_path, "x", size).arrays()[0]
        assert np.abs(antialiased - expected).mean() > 3


def test_every_source_is_resized(tmp_path):
    save_classes(tmp_path / "pictures" / "test")
    np.save(tmp_path / "images.npy", np.stack([pixels(seed=seed) for seed in range(10)]))
    np.save(tmp_path / "labels.npy", np.arange(10) % 2)
    for name, channels in (("digits", 1), (f"arrays:{tmp_path}", 3), (f"folder:{tmp_path / 'pictures'}", 3)):
        original, small = (datasets.load(name, image_size=size).test for size in (None, 8))
        rows = np.array([1, 0])
        expected = [resizing.resize_image(image, 8) for image in original.read(rows)]
        assert (small.read(rows) == expected).all() and small.shape == (8, 8, channels)
        assert "resized to 8 x 8 by bilinear interpolation with antialiasing" in small.decoding
        assert small.identity != original.identity and "resized" not in original.decoding.replace("not resized", "")


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", True])
def test_other_sizes_are_refused(size):
    with pytest.raises(InputError, match="`image_size` must be a positive integer. Received: image_size="):
        datasets.load("digits", image_size=size)
    with pytest.raises(InputError, match="`resize` must be one of antialiased, area, bilinear. Received: resize='no'"):
        datasets.load("digits", resize="no")
