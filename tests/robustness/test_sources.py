"""Test images by name, from arrays, pictures and the published files."""

import sys
import types

import numpy as np
import pytest

from keras_mma import datasets
from keras_mma.robustness import InputError, published, sources
from keras_mma.robustness.severities import CORRUPTIONS
from tests.robustness.networks import pictures


def test_digits_are_those_of_the_datasets():
    expected = datasets.load("digits").test
    ours = sources.load("digits")
    assert (ours.read(np.arange(len(ours))) == expected.arrays()[0]).all() and ours.classes == 10
    assert (ours.labels == expected.labels).all()


def test_rows_are_drawn_by_the_seed_and_batches_cover_them():
    dataset = sources.Dataset.of_arrays(pictures(20), np.arange(20) % 3)
    assert dataset.rows().tolist() == list(range(20)) == dataset.rows(50).tolist()
    rows = dataset.rows(7, seed=1)
    assert len(set(rows)) == 7 and rows.tolist() == sorted(rows) and rows.tolist() != dataset.rows(7, seed=2).tolist()
    seen = list(dataset.batches(rows, 3))
    assert [len(part) for part, _, _ in seen] == [3, 3, 1]
    assert np.concatenate([part for part, _, _ in seen]).tolist() == rows.tolist()
    assert (np.concatenate([images for _, images, _ in seen]) == dataset.read(rows)).all()
    assert (np.concatenate([labels for _, _, labels in seen]) == rows % 3).all()


def test_arrays_from_a_folder(tmp_path):
    images = pictures(6, channels=1)[..., 0]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.array([[0], [1], [2], [0], [1], [2]]))
    dataset = sources.load(f"arrays:{tmp_path}")
    assert dataset.classes == 3 and not dataset.exact and (dataset.read([1])[..., 0] == images[1]).all()


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (np.zeros((3, 8, 8, 3), "float32"), [0, 1, 2], "images must be uint8.*Received: float32"),
        (np.zeros((3, 8), "uint8"), [0, 1, 2], r"images must be uint8.*\(3, 8\)"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0, 1], "labels must be 3 whole numbers"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0.0, 1.0, 2.0], "labels must be 3 whole numbers.*float64"),
        (np.zeros((3, 8, 8, 3), "uint8"), [0, -1, 2], "class numbers must be 0 to 2. Received: -1 to 2"),
        (np.zeros((0, 8, 8, 3), "uint8"), np.zeros(0, int), "at least one image"),
    ],
)
def test_arrays_of_another_form_are_refused(images, labels, match):
    with pytest.raises(InputError, match=match):
        sources.Dataset.of_arrays(images, np.asarray(labels))


def test_damaged_arrays_are_refused(tmp_path):
    with pytest.raises(InputError, match="images.npy is missing"):
        sources.load(f"arrays:{tmp_path}")
    np.save(tmp_path / "whole.npy", np.zeros((5, 8, 8, 3), "uint8"))
    whole = (tmp_path / "whole.npy").read_bytes()
    for number, content in enumerate((whole[:-100], whole[:20], b"", b"no array", whole[:6] + b"\xff" + whole[7:])):
        (tmp_path / "images.npy").write_bytes(content)
        with pytest.raises(InputError, match="damaged or no .npy file") as caught:
            sources.load(f"arrays:{tmp_path}")
        assert "\n" not in str(caught.value), number


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': ((5, 8), }",  # tokenize.TokenError
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (5, 8L, }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 8)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 8)}",  # OverflowError
        b"{1: 2, 'descr': 3}",  # TypeError
        b"-" * 5000 + b"1",  # RecursionError or MemoryError
        b"\xff\x00{",
    ],
)
def test_damaged_headers_are_refused(tmp_path, header):
    whole = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(40)
    (tmp_path / "images.npy").write_bytes(whole)
    with pytest.raises(InputError, match="images.npy is damaged or no .npy file") as caught:
        sources.read_npy(tmp_path / "images.npy")
    assert "\n" not in str(caught.value)


def save_pictures(path, sizes=((16, 16),) * 4, classes="ab"):
    from PIL import Image

    for name in classes:
        (path / name).mkdir(parents=True)
        for number, (height, width) in enumerate(sizes):
            Image.fromarray(pictures(1, height, width, seed=number)[0]).save(path / name / f"{number}.png")


def test_pictures_of_a_folder(tmp_path):
    save_pictures(tmp_path / "test")
    dataset = sources.load(f"folder:{tmp_path}")
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and dataset.classes == 2 and dataset.exact
    assert (dataset.read([5])[0] == pictures(1, seed=1)[0]).all()
    assert sources.load(f"folder:{tmp_path}", image_size=8).read([0, 7]).shape == (2, 8, 8, 3)


def test_folders_that_do_not_do_are_refused(tmp_path):
    (tmp_path / "empty" / "a").mkdir(parents=True)
    save_pictures(tmp_path / "sizes", [(16, 16), (16, 20)])
    save_pictures(tmp_path / "damaged")
    (tmp_path / "damaged" / "a" / "2.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="must name a folder. Received: .*nowhere"):
        sources.load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(InputError, match="must hold pictures in one folder for each class. Received: none"):
        sources.load(f"folder:{tmp_path}/empty")
    with pytest.raises(InputError, match="must be of one size, or --image-size given. Received: 0.png of .* 1.png"):
        sources.load(f"folder:{tmp_path}/sizes").read([0, 1])
    with pytest.raises(InputError, match="2.png is damaged or no picture"):
        sources.load(f"folder:{tmp_path}/damaged").read([2])
    with pytest.raises(InputError, match="--dataset must be digits, cifar10, .* Received: 'mnist'"):
        sources.load("mnist")
    with pytest.raises(InputError, match="--image-size has a meaning for folder:PATH only"):
        sources.load("digits", image_size=8)


def test_pictures_that_pillow_refuses_are_refused(tmp_path, monkeypatch):
    from PIL import Image

    save_pictures(tmp_path)
    dataset = sources.load(f"folder:{tmp_path}")
    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 16)
        with pytest.raises(InputError, match="1.png is damaged or no picture: DecompressionBombError"):
            dataset.read([1])

    def convert(picture, mode):
        raise ValueError("conversion not supported\nat all")

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(InputError, match="1.png is damaged or no picture: ValueError: conversion not supported$"):
        dataset.read([1])


@pytest.fixture
def asked(monkeypatch):
    """tensorflow-datasets, which is asked and gives black images."""
    names = []

    def builder(name, data_dir):
        names.append((name, data_dir))
        if name.endswith("_5"):
            raise ConnectionError("no network\nat all")
        feature = types.SimpleNamespace(num_classes=10)
        info = types.SimpleNamespace(features={"label": feature}, version="1.0.0")

        def as_dataset(split, batch_size):
            assert (split, batch_size) == ("test", -1)
            return {"image": np.zeros((4, 32, 32, 3), "uint8"), "label": np.arange(4)}

        return types.SimpleNamespace(info=info, download_and_prepare=lambda: None, as_dataset=as_dataset)

    fake = types.SimpleNamespace(builder=builder, as_numpy=lambda examples: examples)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    return names


def test_cifar_and_its_corruptions_come_from_tensorflow_datasets(asked):
    dataset = sources.load("cifar10", "here")
    assert len(dataset) == 4 and dataset.classes == 10 and dataset.exact
    source = published.TensorflowDatasets("cifar10", "here")
    for name in CORRUPTIONS:
        source.load(name, 2)
    assert asked[:2] == [("cifar10", "here"), ("cifar10_corrupted/gaussian_noise_2", "here")]
    names = [name for name, _ in asked]
    assert "cifar10_corrupted/frosted_glass_blur_2" in names and "cifar10_corrupted/elastic_2" in names
    with pytest.raises(InputError, match="cannot be had from tensorflow-datasets: ConnectionError: no network$"):
        source.load("fog", 5)
    with pytest.raises(InputError, match="needs --dataset cifar10; CIFAR-100-C is read from the folder"):
        published.TensorflowDatasets("cifar100")


def test_the_names_are_those_of_tensorflow_datasets():
    module = pytest.importorskip("tensorflow_datasets.image_classification.cifar10_corrupted")
    known = {config.name for config in module.Cifar10Corrupted.BUILDER_CONFIGS}
    for name in CORRUPTIONS:
        assert f"{published._TFDS_NAMES.get(name, name)}_3" in known


def save_published(path, count=3, side=16, repeat_labels=True, channels=3):
    """Five severities of each corruption; the first pixel tells which, the labels count up."""
    path.mkdir()
    for number, name in enumerate(CORRUPTIONS):
        images = np.zeros((5 * count, side, side, channels), "uint8")
        images[:, 0, 0, 0], images[:, 0, 0, -1] = number, np.repeat(range(1, 6), count)
        np.save(path / f"{name}.npy", images)
    np.save(path / "labels.npy", np.tile(np.arange(count), 5 if repeat_labels else 1).astype("uint8"))
    return path


@pytest.mark.parametrize("repeat_labels", [True, False])
def test_the_published_files_hold_the_severities_one_after_the_other(tmp_path, repeat_labels):
    clean = sources.Dataset.of_arrays(pictures(3), np.arange(3), "cifar10", classes=10)
    source = published.Folder(save_published(tmp_path / "c", repeat_labels=repeat_labels), clean)
    assert source.label == "CIFAR-10-C, published (folder c)"
    for number, name in enumerate(CORRUPTIONS):
        for severity in range(1, 6):
            dataset = source.load(name, severity)
            images = dataset.read(np.arange(3))
            assert len(dataset) == 3 and dataset.labels.tolist() == [0, 1, 2]
            assert (images[:, 0, 0, 0] == number).all() and (images[:, 0, 0, -1] == severity).all()


def test_published_folders_that_do_not_do_are_refused(tmp_path):
    clean = sources.Dataset.of_arrays(pictures(3), np.arange(3))
    (tmp_path / "empty").mkdir()
    lacking, uneven, damaged = (save_published(tmp_path / name) for name in ("lacking", "uneven", "damaged"))
    (lacking / "fog.npy").unlink()
    np.save(uneven / "fog.npy", np.zeros((14, 16, 16, 3), "uint8"))
    (damaged / "fog.npy").write_bytes((damaged / "fog.npy").read_bytes()[:-50])
    for path, match in [
        (tmp_path / "nowhere", "--corruptions must be regenerate, tfds or a folder"),
        (tmp_path / "empty", "must hold the published .npy files"),
        (lacking, "lacks fog.npy"),
        (uneven, r"fog.npy must hold five severities .* Received: \(14, 16, 16, 3\)"),
        (damaged, "fog.npy is damaged or no .npy file"),
    ]:
        with pytest.raises(InputError, match=match):
            published.Folder(path, clean)


def test_published_files_of_other_images_are_refused(tmp_path):
    """A size, a number of images or classes that are not those of the data set, in any file, before anything is run."""
    clean = sources.Dataset.of_arrays(pictures(3), np.arange(3), "cifar100", classes=100)
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
    few = sources.Dataset.of_arrays(pictures(3), np.array([0, 1, 1]), "cifar10", classes=2)
    with pytest.raises(InputError, match="class numbers must be 0 to 1. Received: 0 to 2"):
        published.Folder(tmp_path / "good", few)
