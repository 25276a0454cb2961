"""Batches: repeatable, the same from any epoch on, cropped and mirrored as the recipe says."""

import dataclasses

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from keras_mma.datasets import Dataset
from keras_mma.study import batches
from keras_mma.study.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=16)


@pytest.fixture
def train(rng):
    return Dataset.of_arrays(rng.integers(1, 256, (40, 32, 32, 3), "uint8"), np.arange(40) % 4)


def read(dataset):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def same(first, second):
    return len(first) == len(second) and all(
        (a == b).all() for batch, other in zip(first, second, strict=True) for a, b in zip(batch, other, strict=True)
    )


def test_a_seed_repeats_the_batches_from_any_epoch_on(train):
    first = read(batches.training_batches(RECIPE, train))
    assert same(first, read(batches.training_batches(RECIPE, train)))
    assert same(first[6:], read(batches.training_batches(RECIPE, train, first_epoch=2)))
    assert same(first, read(batches.training_batches(dataclasses.replace(RECIPE, method="none"), train)))
    assert not same(first, read(batches.training_batches(dataclasses.replace(RECIPE, seed=1), train)))
    assert not same(first[:3], first[3:6])


def test_every_epoch_has_every_image_once_and_keeps_the_last_batch(train):
    plain = dataclasses.replace(RECIPE, augmentation=False)
    seen = read(batches.training_batches(plain, train))
    assert [len(images) for images, _ in seen] == [16, 16, 8] * 3
    assert batches.steps_per_epoch(plain, 40) == 3
    originals = {image.tobytes(): label for image, label in zip(*train.arrays(), strict=True)}
    orders = []
    for epoch in range(3):
        images = np.concatenate([images for images, _ in seen[3 * epoch : 3 * epoch + 3]])
        labels = np.concatenate([labels for _, labels in seen[3 * epoch : 3 * epoch + 3]])
        orders.append([image.tobytes() for image in images])
        assert set(orders[-1]) == set(originals) and len(images) == 40 and images.dtype == np.uint8
        assert (labels == np.eye(4)[[originals[image] for image in orders[-1]]]).all() and labels.dtype == np.float32
    assert orders[0] != orders[1] != orders[2] != [image.tobytes() for image in train.arrays()[0]]


def test_batches_are_multiples_of_the_devices(train):
    recipe = dataclasses.replace(RECIPE, epochs=1)
    part = train.take(np.arange(39))
    assert [len(images) for images, _ in read(batches.training_batches(recipe, part, devices=2))] == [16, 16, 6]
    assert batches.steps_per_epoch(recipe, 39, devices=2) == 3 and batches.steps_per_epoch(recipe, 33, devices=2) == 2
    assert [len(images) for images, _ in read(batches.evaluation_batches(part, 16, devices=2))] == [16, 16, 6]
    few = dataclasses.replace(recipe, batch_size=128)
    assert batches.steps_per_epoch(few, 39) == 1
    assert [len(images) for images, _ in read(batches.training_batches(few, part))] == [39]


def test_crops_of_padded_images_and_mirror_images(train):
    shifts, flips = set(), 0
    (crops, _) = next(iter(batches.training_batches(dataclasses.replace(RECIPE, batch_size=40), train)))
    for image in crops.numpy():
        # Black rows and columns tell the crop, what is left tells the image and whether it was mirrored.
        rows, columns = np.flatnonzero(image.any((1, 2))), np.flatnonzero(image.any((0, 2)))
        inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shifts.add((rows[0], 31 - rows[-1], columns[0], 31 - columns[-1]))
        flips += not any(inside.tobytes() in _windows(original, inside.shape) for original in train.arrays()[0])
    assert len(shifts) > 15 and max(map(max, shifts)) == 4  # padded by 4
    assert 8 < flips < 32


def _windows(image, shape):
    height, width = shape[:2]
    return {image[y : y + height, x : x + width].tobytes() for y in range(33 - height) for x in range(33 - width)}


def test_crop_and_flip_against_a_loop(rng):
    images = rng.integers(1, 256, (30, 6, 9, 2), "uint8")
    corners, mirrored = rng.integers(0, 7, (30, 2)).astype("int32"), rng.random(30) < 0.5
    expected = np.zeros_like(images)
    for n in range(30):
        for y in range(6):
            for x in range(9):
                source_y, source_x = y + corners[n, 0] - 3, x + corners[n, 1] - 3
                if 0 <= source_y < 6 and 0 <= source_x < 9:
                    expected[n, y, 8 - x if mirrored[n] else x] = images[n, source_y, source_x]
    assert (batches.crop_and_flip(images, corners, mirrored, 3).numpy() == expected).all()


@pytest.mark.parametrize(
    ("of_dataset", "of_recipe", "flips"), [(True, None, 1), (False, None, 0), (True, False, 0), (False, True, 1)]
)
def test_images_are_mirrored_where_that_keeps_the_class(rng, of_dataset, of_recipe, flips):
    ramp = np.tile(np.arange(1, 33, dtype="uint8")[None, None, :, None], (40, 32, 1, 1))
    train = Dataset.of_arrays(ramp, np.arange(40) % 4, flip=of_dataset)
    recipe = dataclasses.replace(RECIPE, epochs=1, batch_size=40, flip=of_recipe)
    ((images, _),) = read(batches.training_batches(recipe, train))
    middle = images[:, 16, 10:20, 0].astype(int)
    assert (np.diff(middle) < 0).any() == flips
    off = dataclasses.replace(recipe, augmentation=False, flip=None)
    ((images, _),) = read(batches.training_batches(off, train))
    assert (images == ramp).all()


def test_evaluation_batches_are_the_images_in_their_order(train):
    seen = read(batches.evaluation_batches(train, 16))
    assert (np.concatenate([images for images, _ in seen]) == train.arrays()[0]).all()
    assert (np.concatenate([labels for _, labels in seen]) == keras.utils.to_categorical(train.labels, 4)).all()
