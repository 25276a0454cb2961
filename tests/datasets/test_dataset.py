"""A labeled set of images: indices, batches, subsets and digests."""

import hashlib

import numpy as np
import pytest

from keras_mma.datasets import Dataset, balanced_indices
from keras_mma.errors import InputError, first_line


@pytest.fixture
def dataset(rng):
    return Dataset.of_arrays(rng.integers(0, 256, (20, 6, 5, 3), "uint8"), np.arange(20) % 3)


def test_indices_are_drawn_by_the_seed_and_batches_cover_them(dataset):
    assert dataset.indices().tolist() == list(range(20)) == dataset.indices(50).tolist()
    indices = dataset.indices(7, seed=1)
    assert len(set(indices)) == 7 and indices.tolist() == sorted(indices)
    assert indices.tolist() != dataset.indices(7, seed=2).tolist()
    seen = list(dataset.batches(indices, 3))
    assert [len(part) for part, _, _ in seen] == [3, 3, 1]
    assert np.concatenate([part for part, _, _ in seen]).tolist() == indices.tolist()
    assert (np.concatenate([images for _, images, _ in seen]) == dataset.read(indices)).all()
    assert (np.concatenate([labels for _, _, labels in seen]) == indices % 3).all()


def test_the_digest_is_that_of_pixels_and_labels(dataset):
    images, labels = dataset.arrays()
    assert dataset.digest() == hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    indices = np.array([3, 4, 9])
    expected = hashlib.sha256(images[indices].tobytes() + labels[indices].tobytes()).hexdigest()
    assert dataset.digest(indices, size=2) == expected == dataset.take(indices).digest()


def test_one_changed_pixel_or_label_changes_the_digest(dataset):
    images, labels = dataset.arrays()
    other, relabeled = images.copy(), labels.copy()
    other[7, 1, 1, 1] ^= 1
    relabeled[7] = 0
    digests = {Dataset.of_arrays(*arrays).digest() for arrays in ((other, labels), (images, relabeled))}
    assert len(digests | {dataset.digest()}) == 3


def test_taken_samples_keep_what_is_known_of_the_dataset(dataset):
    part = dataset.take([5, 2, 11], "three images").take([2, 0])
    assert part.labels.tolist() == [11 % 3, 5 % 3] and part.classes == 3 and len(part) == 2
    assert (part.arrays()[0] == dataset.read(np.array([11, 5]))).all()
    assert part.selection == "three images" and part.name == "arrays" and part.shape == (6, 5, 3)
    assert len({dataset.identity, part.identity, dataset.take([5, 2]).identity}) == 3


def test_a_balanced_subset_keeps_the_fraction_of_every_class():
    labels = np.repeat([0, 1, 2], [50, 100, 4])
    images = np.arange(154, dtype="uint8").reshape(-1, 1, 1, 1)
    dataset = Dataset.of_arrays(images, labels)
    kept, kept_labels = dataset.balanced_subset(0.1, seed=1).arrays()
    assert np.bincount(kept_labels).tolist() == [5, 10, 1] and len(set(kept.ravel())) == 16
    assert (labels[kept.ravel()] == kept_labels).all()
    assert kept.ravel().tolist() == balanced_indices(labels, 0.1, 1).tolist()
    assert balanced_indices(labels, 0.1, 1).tolist() != balanced_indices(labels, 0.1, 2).tolist()
    assert dataset.balanced_subset(1, seed=1) is dataset
    for fraction in (0, 1.1, -1):
        with pytest.raises(InputError, match=r"`fraction` must be in \(0, 1\]. Received: fraction="):
            dataset.balanced_subset(fraction, seed=0)


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (np.zeros((3, 8, 8, 3), "float32"), [0, 1, 2], "images must be uint8.*Received: float32"),
        (np.zeros((3, 8), "uint8"), [0, 1, 2], r"images must be uint8.*\(3, 8\)"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0, 1], "labels must be 3 integers"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0.0, 1.0, 2.0], "labels must be 3 integers.*float64"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0, -1, 2], "labels must be 0 to 2. Received: -1 to 2"),
        (np.zeros((0, 8, 8, 3), "uint8"), np.zeros(0, int), "at least one image"),
    ],
)
def test_arrays_of_another_form_are_refused(images, labels, match):
    with pytest.raises(InputError, match=match):
        Dataset.of_arrays(images, np.asarray(labels))


def test_the_number_of_classes_is_exact_only_where_it_is_given():
    images, labels = np.zeros((3, 8, 8, 3), "uint8"), [0, 1, 1]
    guessed, declared, named = (
        Dataset.of_arrays(images, labels, **known) for known in ({}, {"classes": 4}, {"class_names": ["x", "y"]})
    )
    assert (guessed.classes, guessed.exact) == (2, False)
    assert (declared.classes, declared.exact, declared.class_names) == (4, True, ("0", "1", "2", "3"))
    assert (named.classes, named.exact) == (2, True)
    with pytest.raises(InputError, match="labels must be 0 to 0. Received: 0 to 1"):
        Dataset.of_arrays(images, labels, classes=1)


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n  no\nyes")) == "ValueError: no" and first_line(KeyError()) == "KeyError"
    assert issubclass(InputError, ValueError)


def test_channels_are_converted_as_pillow_does(rng):
    from PIL import Image

    images = rng.integers(0, 256, (4, 7, 5, 3)).astype("uint8")
    images[1] = images[1, ..., :1]  # gray in three channels
    rgb = Dataset.of_arrays(images, [0, 1, 2, 0])
    gray = rgb.with_channels(1)
    computed = gray.arrays()[0]
    assert gray.shape == (7, 5, 1) == computed.shape[1:] and computed.dtype == np.uint8
    assert "converted to gray" in gray.decoding and gray.identity != rgb.identity
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_array_equal(computed[..., 0], expected)
    np.testing.assert_array_equal(computed[1, ..., 0], images[1, ..., 0])
    repeated = gray.with_channels(3)
    np.testing.assert_array_equal(repeated.read([1])[0], images[1])
    assert "repeated" in repeated.decoding and repeated.shape == (7, 5, 3)
    assert rgb.with_channels(3) is rgb and rgb.with_channels(None) is rgb and rgb.with_channels(4) is rgb
