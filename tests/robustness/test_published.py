"""The published corrupted test sets, from tensorflow-datasets and from `.npy` files."""

import re
import shutil

import numpy as np
import pytest

from keras_mma import datasets
from keras_mma.robustness import InputError
from keras_mma.robustness.perturbations import published
from keras_mma.robustness.perturbations.corruptions import CORRUPTIONS, registry
from tests.robustness.networks import pictures


def test_cifar_10_c_comes_from_tensorflow_datasets(monkeypatch):
    loaded = []

    class Parts:
        test = "the test part"

    monkeypatch.setattr(datasets, "load", lambda name, data_dir: loaded.append((name, data_dir)) or Parts)
    source = published.TensorflowDatasets("cifar10", data_dir="here")
    assert {source.load(name, 2) for name in published.CORRUPTIONS} == {"the test part"}
    assert loaded[0] == ("tfds:cifar10_corrupted/gaussian_noise_2", "here")
    names = [name for name, _ in loaded]
    assert "tfds:cifar10_corrupted/frosted_glass_blur_2" in names and "tfds:cifar10_corrupted/elastic_2" in names
    with pytest.raises(InputError, match="needs `dataset` cifar10; CIFAR-100-C is read from the folder"):
        published.TensorflowDatasets("cifar100")
    with pytest.raises(InputError, match="needs color images of 32 x 32 pixels.* Received: 64 x 64 x 3"):
        published.TensorflowDatasets("cifar10", (64, 64, 3))


def test_a_sixteenth_corruption_leaves_the_published_files_readable(tmp_path, monkeypatch):
    monkeypatch.setitem(CORRUPTIONS, "rain", registry.Corruption(lambda images, rngs: images, "weather", {}))
    clean = datasets.Dataset.of_arrays(pictures(3), np.arange(3), "cifar10", classes=10)
    assert published.Folder(save_published(tmp_path / "c"), clean).load("fog", 1)


def test_the_names_are_those_of_tensorflow_datasets():
    module = pytest.importorskip("tensorflow_datasets.image_classification.cifar10_corrupted")
    known = {config.name for config in module.Cifar10Corrupted.BUILDER_CONFIGS}
    for name in published.CORRUPTIONS:
        assert f"{published._TFDS_NAMES.get(name, name)}_3" in known


def save_published(path, count=3, side=16, repeat_labels=True, channels=3):
    """Five severities of each corruption; the first pixel tells which, the labels count up."""
    path.mkdir()
    for number, name in enumerate(published.CORRUPTIONS):
        images = np.zeros((5 * count, side, side, channels), "uint8")
        images[:, 0, 0, 0], images[:, 0, 0, -1] = number, np.repeat(range(1, 6), count)
        np.save(path / f"{name}.npy", images)
    np.save(path / "labels.npy", np.tile(np.arange(count), 5 if repeat_labels else 1).astype("uint8"))
    return path


def test_a_set_is_known_by_its_files(tmp_path):
    clean = datasets.Dataset.of_arrays(pictures(3), np.arange(3), "cifar10", classes=10)
    first = save_published(tmp_path / "first")
    copy = shutil.copytree(first, tmp_path / "copy")
    other = shutil.copytree(first, tmp_path / "b" / "C")
    images = np.load(other / "fog.npy")
    images[-1, -1, -1] += 1
    np.save(other / "fog.npy", images)
    labels = [published.Folder(folder, clean).label for folder in (first, copy, other)]
    assert labels[0] == labels[1] != labels[2]


@pytest.mark.parametrize("repeat_labels", [True, False])
def test_the_published_files_hold_the_severities_one_after_the_other(tmp_path, repeat_labels):
    clean = datasets.Dataset.of_arrays(pictures(3), np.arange(3), "cifar10", classes=10)
    source = published.Folder(save_published(tmp_path / "c", repeat_labels=repeat_labels), clean)
    assert re.fullmatch(r"CIFAR-10-C, published \(SHA-256 [0-9a-f]{12}\)", source.label)
    for number, name in enumerate(published.CORRUPTIONS):
        for severity in range(1, 6):
            dataset = source.load(name, severity)
            images = dataset.read(np.arange(3))
            assert len(dataset) == 3 and dataset.labels.tolist() == [0, 1, 2]
            assert (images[:, 0, 0, 0] == number).all() and (images[:, 0, 0, -1] == severity).all()


def test_published_folders_that_do_not_do_are_refused(tmp_path):
    clean = datasets.Dataset.of_arrays(pictures(3), np.arange(3))
    (tmp_path / "empty").mkdir()
    lacking, uneven, damaged = (save_published(tmp_path / name) for name in ("lacking", "uneven", "damaged"))
    (lacking / "fog.npy").unlink()
    np.save(uneven / "fog.npy", np.zeros((14, 16, 16, 3), "uint8"))
    (damaged / "fog.npy").write_bytes((damaged / "fog.npy").read_bytes()[:-50])
    for path, match in [
        (tmp_path / "nowhere", "`corruptions` must be regenerate, tfds or a folder"),
        (tmp_path / "empty", "must hold the published .npy files"),
        (lacking, "a folder without fog.npy"),
        (uneven, r"fog.npy must hold five severities .* Received: \(14, 16, 16, 3\)"),
        (damaged, "fog.npy is damaged or not a .npy file"),
    ]:
        with pytest.raises(InputError, match=match):
            published.Folder(path, clean)


def test_published_files_of_other_images_are_refused(tmp_path):
    """A size, a number of images or classes that are not those of the data set, in any file, before anything is run."""
    clean = datasets.Dataset.of_arrays(pictures(3), np.arange(3), "cifar100", classes=100)
    published.Folder(save_published(tmp_path / "good"), clean)
    small = save_published(tmp_path / "small", side=8)
    many = save_published(tmp_path / "many", count=6)
    last, classes, label = (save_published(tmp_path / name) for name in ("last", "classes", "label"))
    np.save(last / "jpeg_compression.npy", np.zeros((15, 16, 18, 3), "uint8"))
    np.save(classes / "labels.npy", np.array([0, 1, 2] * 4 + [0, 1, 1]))
    np.save(label / "labels.npy", np.array(3))
    for path, match in [
        (small, r"gaussian_noise.npy must hold .* images of cifar100, \(15, 16, 16, 3\). Received: \(15, 8, 8, 3\)"),
        (many, r"gaussian_noise.npy must hold .* Received: \(30, 16, 16, 3\)"),
        (last, r"jpeg_compression.npy must hold .* Received: \(15, 16, 18, 3\)"),
        (classes, r"labels.npy must hold each class as often as cifar100: .* Received: 1, 2, 0, 0, 0, ... images"),
        (label, r"as many images as labels.npy has labels. Received: \(15, 16, 16, 3\) and \(\)"),
    ]:
        with pytest.raises(InputError, match=match):
            published.Folder(path, clean)
    few = datasets.Dataset.of_arrays(pictures(3), np.array([0, 1, 1]), "cifar10", classes=2)
    with pytest.raises(InputError, match="labels must be 0 to 1. Received: 0 to 2"):
        published.Folder(tmp_path / "good", few)
