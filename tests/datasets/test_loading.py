"""Datasets by name and the split into parts."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from keras_mma import datasets
from keras_mma.datasets import Parts
from keras_mma.errors import InputError
from tests.datasets.files import pixels, save_classes


def test_digits_are_those_of_scikit_learn_to_the_bit():
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(255 * np.clip(zoom(data.images / 16.0, (1, 2, 2), order=1), 0, 1)).astype("uint8")[..., None]
    expected = train_test_split(images, data.target, test_size=0.25, stratify=data.target, random_state=0)
    parts = datasets.load("digits", validation_fraction=0)
    for part, images, labels in ((parts.train, *expected[::2]), (parts.test, *expected[1::2])):
        assert (part.arrays()[0] == images).all() and (part.labels == labels).all()
        assert part.classes == 10 and part.exact and not part.flip and part.shape == (16, 16, 1)


def test_the_validation_part_is_balanced_drawn_by_the_seed_and_not_in_train():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    images = np.arange(100, dtype="uint8").reshape(-1, 1, 1, 1)

    def parts(**arguments):
        return Parts("x", {"train": lambda: datasets.Dataset.of_arrays(images, labels, "x")}, **arguments)

    first = parts(validation_fraction=0.2, seed=3)
    pixels = {part: getattr(first, part).arrays()[0].ravel().tolist() for part in datasets.PARTS}
    assert sorted(sum(pixels.values(), [])) == list(range(100))
    assert pixels["test"] == np.sort(np.random.default_rng(0).permutation(100)[::5]).tolist()
    counts = np.bincount(first.train.labels) + np.bincount(first.validation.labels)
    assert np.bincount(first.validation.labels).tolist() == np.maximum(1, np.round(counts * 0.2)).tolist()
    assert (labels[pixels["train"]] == first.train.labels).all()
    again, other = parts(validation_fraction=0.2, seed=3), parts(validation_fraction=0.2, seed=4)
    assert again.validation.digest() == first.validation.digest() != other.validation.digest()
    assert other.test.digest() == first.test.digest()
    undivided = parts(validation_fraction=0)
    assert len(undivided.train) == 80
    with pytest.raises(InputError, match="`validation_fraction` must be positive, because x has"):
        undivided.validation  # noqa: B018
    assert "of every class, drawn by seed 3" in first.validation.selection
    assert first.train.selection.endswith(f"held out, without {len(first.validation)} for validation")
    assert first.test.selection == "every fifth of 100 images, because there is no test part"


def test_parts_are_read_when_they_are_asked_for_and_once():
    asked = []

    def reader(part):
        def read():
            asked.append(part)
            return datasets.Dataset.of_arrays(np.zeros((20, 2, 2, 1), "uint8"), np.arange(20) % 2)

        return read

    parts = Parts("x", {part: reader(part) for part in ("train", "test")})
    assert not asked
    assert parts.test is parts.test and asked == ["test"]
    assert len(parts.train) == 18 and len(parts.validation) == 2 and asked == ["test", "train"]
    own = Parts("x", {part: reader(part) for part in datasets.PARTS})
    assert len(own.train) == len(own.validation) == len(own.test) == 20
    only = Parts("x", {part: reader(part) for part in ("train", "validation")})
    assert len(only.test) == 20 and len(only.train) == 18 and len(only.validation) == 2
    with pytest.raises(InputError, match="x must have a training part. Received: a test part only"):
        Parts("x", {"test": reader("test")}).train  # noqa: B018


def test_too_few_images_of_a_class_are_refused_by_name(tmp_path):
    save_classes(tmp_path / "train", [("a", 9), ("rare", 1)])
    save_classes(tmp_path / "test", [("a", 1), ("rare", 1)])
    parts = datasets.load(f"folder:{tmp_path}")
    match = "must have more training images of class rare, or `validation_fraction` must be smaller: .* 1 images"
    for part in ("train", "validation"):
        with pytest.raises(InputError, match=match):
            getattr(parts, part)
    assert len(parts.test) == 2 and len(datasets.load(f"folder:{tmp_path}", validation_fraction=0).train) == 10
    with pytest.raises(InputError, match="more training images of class a, .* Received: 9 images, .*=0.99"):
        datasets.load(f"folder:{tmp_path}", validation_fraction=0.99).train  # noqa: B018
    rows = np.sort(np.random.default_rng(0).permutation(10)[::5])
    labels = np.isin(np.arange(10), rows[:1]).astype(int)
    lost = Parts("x", {"train": lambda: datasets.Dataset.of_arrays(np.zeros((10, 2, 2, 1), "uint8"), labels)})
    with pytest.raises(InputError, match="x must have more images of class 1: none is left for training"):
        lost.train  # noqa: B018


def test_a_folder_with_train_and_test(tmp_path):
    from PIL import Image

    for part, count in (("train", 3), ("test", 2)):
        for value, name in ((50, "a"), (200, "b")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (10, 12), (value,) * 3).save(tmp_path / part / name / f"{number}.png")
    data = datasets.load(f"folder:{tmp_path}", image_size=8, validation_fraction=0)
    images, labels = data.train.arrays()
    assert images.shape == (6, 8, 8, 3) and data.test.arrays()[0].shape == (4, 8, 8, 3)
    assert data.train.class_names == ("a", "b") == data.test.class_names
    assert (images[:, 0, 0, 0] == np.where(labels == 0, 50, 200)).all()


def test_the_test_part_of_a_folder_without_parts_is_what_training_leaves_out(tmp_path):
    save_classes(tmp_path, [("a", 30), ("b", 20)])
    data = datasets.load(f"folder:{tmp_path}")
    images = {part: {image.tobytes() for image in getattr(data, part).arrays()[0]} for part in datasets.PARTS}
    assert [len(images[part]) for part in datasets.PARTS] == [36, 4, 10]
    assert not images["test"] & (images["train"] | images["validation"]) and not images["train"] & images["validation"]
    expected = np.sort(np.random.default_rng(0).permutation(50)[::5])
    assert images["test"] == {pixels(seed=seed).tobytes() for seed in expected}


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_a_validation_folder_is_no_class(tmp_path, validation):
    save_classes(tmp_path / "train", [("a", 5), ("b", 5)])
    save_classes(tmp_path / validation, [("a", 3), ("b", 2)])
    data = datasets.load(f"folder:{tmp_path}")
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1] and len(data.train) == 8 and len(data.validation) == 2
    save_classes(tmp_path / "test", [("a", 1), ("b", 1)])
    data = datasets.load(f"folder:{tmp_path}")
    assert len(data.test) == 2 and len(data.train) == 10 and len(data.validation) == 5


def test_parts_with_different_classes_are_refused(tmp_path):
    save_classes(tmp_path / "train", [("a", 2), ("b", 2), ("c", 2)])
    save_classes(tmp_path / "test", [("a", 2), ("c", 2)])
    match = r"train and .*test must have the same classes. Received: \['a', 'b', 'c'\], \['a', 'c'\]"
    with pytest.raises(InputError, match=match):
        datasets.load(f"folder:{tmp_path}")


def test_arrays_from_a_folder(tmp_path):
    images = np.stack([pixels(seed=seed)[..., 0] for seed in range(10)])
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(10)[:, None] % 3)
    data = datasets.load(f"arrays:{tmp_path}")
    held_out = np.sort(np.random.default_rng(0).permutation(10)[::5])
    assert data.test.classes == 3 and not data.test.exact and (data.test.arrays()[0][..., 0] == images[held_out]).all()
    assert len(data.train) + len(data.validation) == 8
    for part, rows in (("train", slice(0, 7)), ("test", slice(7, 10))):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "images.npy", images[rows])
        np.save(tmp_path / part / "labels.npy", np.arange(10)[rows] % 3)
    data = datasets.load(f"arrays:{tmp_path}", validation_fraction=0)
    assert (data.test.arrays()[0][..., 0] == images[7:]).all() and (data.train.arrays()[0][..., 0] == images[:7]).all()
    (tmp_path / "notes").mkdir()  # arrays have no folders of classes: any other folder means nothing
    again = datasets.load(f"arrays:{tmp_path}", validation_fraction=0)
    assert len(again.train) == 7 and (again.test.arrays()[0] == data.test.arrays()[0]).all()


def test_damaged_arrays_are_refused(tmp_path):
    with pytest.raises(InputError, match="images.npy must be a .npy file. Received: no such file"):
        datasets.load(f"arrays:{tmp_path}").test  # noqa: B018
    np.save(tmp_path / "whole.npy", np.zeros((5, 8, 8, 3), "uint8"))
    intact = (tmp_path / "whole.npy").read_bytes()
    for number, content in enumerate((intact[:-100], intact[:20], b"", b"no array", intact[:6] + b"\xff" + intact[7:])):
        (tmp_path / "images.npy").write_bytes(content)
        with pytest.raises(InputError, match="damaged or not a .npy file") as caught:
            datasets.load(f"arrays:{tmp_path}").test  # noqa: B018
        assert "\n" not in str(caught.value), number


class Code:
    """What runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_in_arrays_are_not_loaded(tmp_path):
    np.save(tmp_path / "images.npy", np.array([Code(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(InputError, match="images.npy is damaged or not a .npy file: .*Python objects"):
        datasets.load(f"arrays:{tmp_path}").test  # noqa: B018
    assert not (tmp_path / "ran").exists()


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
    file = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(40)
    (tmp_path / "images.npy").write_bytes(file)
    with pytest.raises(InputError, match="images.npy is damaged or not a .npy file") as caught:
        datasets.read_npy(tmp_path / "images.npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "", "folder:", "arrays:", "tfds:", "cifar10:x", "digits:x"])
def test_unknown_names_are_refused(name):
    match = "`dataset` must be digits, cifar10, cifar100, tfds:NAME, folder:PATH or arrays:FOLDER. Received: dataset="
    with pytest.raises(InputError, match=match):
        datasets.load(name)
    with pytest.raises(InputError, match=r"`validation_fraction` must be in \[0, 1\). Received: validation_fraction=1"):
        datasets.load("digits", validation_fraction=1)


class FakeBuilder:
    """A set of tensorflow-datasets, whose images count up."""

    def __init__(self, splits, shape=(32, 32, 3), label=None, dtype="uint8"):
        self.counts, self.shape, self.dtype, self.name = splits, shape, dtype, "fake"
        label = label or types.SimpleNamespace(num_classes=2, names=["a", "b"])
        features = {"image": types.SimpleNamespace(shape=shape), "label": label}
        self.info = types.SimpleNamespace(features=features, version="1.0.0", splits=splits)

    def download_and_prepare(self):
        self.prepared = True

    def as_dataset(self, split, batch_size=None):
        count = self.counts[split]
        labels = np.arange(count) % 2
        if None not in self.shape:
            assert batch_size == -1
            return {"image": np.full((count, *self.shape), np.iinfo(self.dtype).max, self.dtype), "label": labels}
        assert batch_size is None
        return [{"image": np.full((20 + n, 30, 3), 40 + n, "uint8"), "label": labels[n]} for n in range(count)]


@pytest.fixture
def serve(monkeypatch):
    """Put a fake tensorflow-datasets in place; return what it is asked for."""

    def install(builder):
        asked = []

        def make(name, data_dir):
            asked.append((name, data_dir))
            if isinstance(builder, Exception):
                raise builder
            return builder

        fake = types.SimpleNamespace(builder=make, as_numpy=lambda examples: examples, __version__="4")
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
        return asked

    return install


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tfds:cifar10"])
def test_cifar_comes_from_tensorflow_datasets(serve, name):
    builder = FakeBuilder({"train": 6, "test": 3}, dtype="uint16")
    asked = serve(builder)
    data = datasets.load(name, data_dir="here", validation_fraction=0)
    assert asked == [(name.removeprefix("tfds:"), "here")] and builder.prepared
    assert data.train.arrays()[0].shape == (6, 32, 32, 3) and (data.train.arrays()[0] == 255).all()
    assert data.test.labels.tolist() == [0, 1, 0] and data.test.class_names == ("a", "b") and data.test.exact
    assert data.test.name == name and data.test.flip and data.test.selection == "the test split"


def test_any_set_of_tensorflow_datasets(serve):
    serve(FakeBuilder({"train": 10}, shape=(None, None, 3)))
    data = datasets.load("tfds:flowers", image_size=8)
    assert len(data.test) == 2 and data.test.shape == (8, 8, 3) and len(data.train) + len(data.validation) == 8
    held_out = np.sort(np.random.default_rng(0).permutation(10)[::5])
    assert (data.test.arrays()[0][:, 0, 0, 0] == 40 + held_out).all()
    with pytest.raises(InputError, match="must be of one size, or `image_size` must be given. Received: 21 x 30"):
        datasets.load("tfds:flowers").test  # noqa: B018
    serve(FakeBuilder({"test": 4}))
    assert len(datasets.load("tfds:cifar10_corrupted/fog_3").test) == 4
    digits = FakeBuilder({"test": 4})
    digits.name = "mnist"
    serve(digits)
    assert not datasets.load("tfds:mnist").test.flip


def test_sets_of_tensorflow_datasets_that_cannot_be_used_are_refused(serve):
    serve(FakeBuilder({"train": 4}, label=types.SimpleNamespace(num_classes=None)))
    with pytest.raises(InputError, match="tfds:lfw must have labels that are class indices. Received: "):
        datasets.load("tfds:lfw")
    serve(FakeBuilder({"unlabeled": 4}))
    with pytest.raises(InputError, match="tfds:x must have a split train or test. Received: unlabeled"):
        datasets.load("tfds:x")
    builder = FakeBuilder({"train": 4})
    builder.info.features = {"image": 1, "objects": 2}
    serve(builder)
    with pytest.raises(InputError, match="tfds:coco must have the features image and label. Received: image, objects"):
        datasets.load("tfds:coco")
    serve(ConnectionError("no network\nat all"))
    with pytest.raises(InputError, match="not available from tensorflow-datasets: ConnectionError: no network$"):
        datasets.load("cifar10")


def test_large_images_need_a_size_whatever_their_source(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.resizing, "MAX_PIXELS", 32 * 32 - 1)
    match = "must have at most 1,023 pixels, or `image_size` must be given. Received: 32 x 32 pixels"
    builder = FakeBuilder({"test": 4})
    serve(builder)
    with pytest.raises(InputError, match=f"images of cifar10 {match}"):
        datasets.load("cifar10")
    assert not hasattr(builder, "prepared")  # not even downloaded
    assert datasets.load("cifar10", image_size=8).test.shape == (8, 8, 3)
    np.save(tmp_path / "images.npy", np.zeros((4, 32, 32), "uint8"))
    np.save(tmp_path / "labels.npy", np.arange(4) % 2)
    with pytest.raises(InputError, match=f"images of arrays:{tmp_path} {match}"):
        datasets.load(f"arrays:{tmp_path}").test  # noqa: B018
    assert datasets.load(f"arrays:{tmp_path}", image_size=8).test.shape == (8, 8, 1)


def test_parts_may_be_capitalized_and_classes_may_be_called_like_parts(tmp_path):
    for part in ("Train", "Test"):
        save_classes(tmp_path / "parts" / part, [("cat", 3), ("dog", 3)])
    parts = datasets.load(f"folder:{tmp_path / 'parts'}", image_size=8, validation_fraction=0)
    assert parts.train.class_names == ("cat", "dog") and len(parts.train) == len(parts.test) == 6
    save_classes(tmp_path / "parts" / "training", [("cat", 1), ("dog", 1)])  # the name that is taken stands first
    save_classes(tmp_path / "parts" / "docs", [("cat", 1)])
    again = datasets.load(f"folder:{tmp_path / 'parts'}", image_size=8, validation_fraction=0)
    assert len(again.train) == 6 and again.train.class_names == ("cat", "dog")
    save_classes(tmp_path / "flat", [("bus", 5), ("car", 5), ("train", 5)])
    flat = datasets.load(f"folder:{tmp_path / 'flat'}", image_size=8, validation_fraction=0)
    assert flat.train.class_names == ("bus", "car", "train") and len(flat.train) + len(flat.test) == 15


@pytest.mark.parametrize(
    ("error", "expected", "match"),
    [
        (MemoryError("no room"), MemoryError, "^no room$"),
        (OSError(24, "Too many open files"), InputError, r"cannot be read: OSError: \[Errno 24\] Too many open files$"),
    ],
)
def test_a_machine_without_memory_has_no_damaged_files(tmp_path, monkeypatch, error, expected, match):
    save_classes(tmp_path, [("a", 5), ("b", 5)])
    from keras_mma.datasets import folder

    def fail(picture):
        raise error

    monkeypatch.setattr(folder, "_rgb", fail)
    with pytest.raises(expected, match=match) as caught:
        datasets.load(f"folder:{tmp_path}", image_size=8, skip_damaged=True, validation_fraction=0).test  # noqa: B018
    assert not isinstance(caught.value, folder.DamagedFile)
