"""Folders of image files: what is decoded, and what is refused by name."""

import os

import numpy as np
import pytest

from keras_mma import datasets
from keras_mma.datasets import folder
from keras_mma.errors import InputError
from tests.datasets.files import pixels, save_classes

Image = pytest.importorskip("PIL.Image")


def read(path, **arguments):
    return folder.read_folder(path, "pictures", **arguments)


def test_images_and_labels_follow_the_names(tmp_path):
    save_classes(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    dataset = read(tmp_path)
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and dataset.class_names == ("a", "b") and dataset.exact
    assert (dataset.read([5, 1]) == [pixels(seed=5), pixels(seed=1)]).all() and dataset.shape == (16, 16, 3)
    assert read(tmp_path, image_size=8).read([0, 7]).shape == (2, 8, 8, 3)
    assert dataset.decoding.startswith("RGB decoded by Pillow ") and dataset.decoding.endswith(", not resized")


def test_hidden_files_are_no_images(tmp_path):
    save_classes(tmp_path)
    (tmp_path / "a" / "._0.png").write_text("resources of macOS")
    (tmp_path / "b" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "b" / ".ipynb_checkpoints" / "0.png").write_bytes((tmp_path / "b" / "0.png").read_bytes())
    assert read(tmp_path).labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_parts_are_no_classes(tmp_path):
    for part in ("train_set", "test_set"):
        save_classes(tmp_path / part)
    match = "the parts in .* must be named train, validation and test. Received: "
    with pytest.raises(InputError, match=f"{match}test_set, train_set"):
        datasets.load(f"folder:{tmp_path}")
    (tmp_path / "train_set").rename(tmp_path / "train")
    with pytest.raises(InputError, match=f"{match}test_set$"):
        datasets.load(f"folder:{tmp_path}")
    (tmp_path / "test_set").rename(tmp_path / "test")
    for other in ("devkit", "train_extra", "test-logs"):  # nothing is missing
        (tmp_path / other).mkdir()
    assert datasets.load(f"folder:{tmp_path}").test.class_names == ("a", "b")


@pytest.mark.parametrize("names", [("test_negative", "test_positive"), ("train", "valley"), ("device_a", "valve")])
def test_classes_may_have_such_names(tmp_path, names):
    save_classes(tmp_path, [(name, 5) for name in names])
    assert datasets.load(f"folder:{tmp_path}").test.class_names == names


@pytest.mark.parametrize("ending", [*datasets.FORMATS, ".PNG"])
def test_every_listed_format_is_read(tmp_path, ending):
    save_classes(tmp_path, [("a", 1), ("b", 1)])
    file = tmp_path / "b" / f"0{ending}"
    (tmp_path / "b" / "0.png").unlink()
    Image.new("L" if ending == ".pgm" else "RGB", (16, 16), 100 if ending == ".pgm" else (100,) * 3).save(file)
    assert np.abs(read(tmp_path).read([1]).astype(int) - 100).max() <= 1


@pytest.mark.parametrize("ending", ["png", "pgm", "tif"])
def test_16_bit_images_are_scaled(tmp_path, ending):
    cv2 = pytest.importorskip("cv2")
    ramp = np.arange(0, 65536, dtype="uint16").reshape(256, 256)
    cv2.imwrite(str(tmp_path / f"ramp.{ending}"), ramp)
    decoded = folder.decode(tmp_path / f"ramp.{ending}")
    assert (decoded == np.round(ramp / 257).astype("uint8")[..., None]).all()
    if ending == "png":
        cv2.imwrite(str(tmp_path / "color.png"), np.stack([ramp] * 3, -1))
        assert np.abs(folder.decode(tmp_path / "color.png") - ramp[..., None] / 257).max() <= 1


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.linspace(0, 1, 64, dtype="float32").reshape(8, 8)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((8, 8), 70000, "int32")).save(tmp_path / "long.tif")
    with pytest.raises(InputError, match="float.tif is damaged or not an image: .*whose range is unknown"):
        folder.decode(tmp_path / "float.tif")
    with pytest.raises(InputError, match="long.tif .* gray values must be 0 to 65535. Received: 70000 to 70000"):
        folder.decode(tmp_path / "long.tif")


def test_damaged_files_are_named_or_skipped_and_counted(tmp_path):
    save_classes(tmp_path)
    content = (tmp_path / "a" / "3.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    (tmp_path / "b" / "1.png").write_bytes(content[: len(content) // 2])
    for row, name in ((2, "a/2.png"), (5, "b/1.png")):
        with pytest.raises(InputError, match=f"{name} is damaged or not an image: [^\n]*$"):
            read(tmp_path).read([row])
    dataset = read(tmp_path, skip_damaged=True)
    assert dataset.skipped == ("a/2.png", "b/1.png") and dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (dataset.read([2, 4]) == [pixels(seed=3), pixels(seed=6)]).all()
    for number in (0, 1, 3):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"")
    with pytest.raises(
        InputError, match="/a must hold more image files: none is left for use. Received: 4 files, 4 damaged"
    ):
        read(tmp_path, skip_damaged=True)


def test_skipping_does_not_move_other_images_between_the_parts(tmp_path):
    save_classes(tmp_path, [("a", 20), ("b", 20)])
    before = datasets.load(f"folder:{tmp_path}").test
    (tmp_path / "a" / "00.png").write_bytes(b"")
    (tmp_path / "b" / "07.png").write_bytes(b"")
    after = datasets.load(f"folder:{tmp_path}", skip_damaged=True).test
    images = {image.tobytes() for image in after.arrays()[0]}
    assert images <= {pixels(seed=seed).tobytes() for seed in range(40)}
    unharmed = [row for row, seed in enumerate(_seeds_of(40)) if seed not in (0, 27)]
    assert images == {image.tobytes() for image in before.read(unharmed)}


def _seeds_of(count):
    """The images of the test part."""
    return np.sort(np.random.default_rng(0).permutation(count)[::5])


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    save_classes(tmp_path / "single", [("a", 3)])
    save_classes(tmp_path / "class")
    (tmp_path / "class" / "c").mkdir()
    save_classes(tmp_path / "sizes")
    Image.new("RGB", (20, 16)).save(tmp_path / "sizes" / "a" / "1.png")
    with pytest.raises(InputError, match="`dataset` folder:PATH must name a folder. Received: .*nowhere"):
        datasets.load(f"folder:{tmp_path}/nowhere")
    for folders, received in ((tmp_path / "empty", "no folder"), (tmp_path / "single", "a")):
        match = f"must hold images in one folder for each class, at least two. Received: {received}$"
        with pytest.raises(InputError, match=match):
            read(folders)
    with pytest.raises(InputError, match=r"/class/c must hold at least one image file \(.bmp, .gif, .*without any"):
        read(tmp_path / "class")
    match = r"images must be of one size, or `image_size` must be given. Received: 0.png of \(16, 16\), 1.png of"
    with pytest.raises(InputError, match=match):
        read(tmp_path / "sizes").read([0, 1])


def test_a_fifo_is_one_clear_line_and_does_not_block(tmp_path):
    save_classes(tmp_path)
    os.mkfifo(tmp_path / "b" / "9.png")
    with pytest.raises(InputError, match="b/9.png must be a regular file. Received: a FIFO"):
        read(tmp_path).arrays()
    assert read(tmp_path, skip_damaged=True).skipped == ("b/9.png",)
    (tmp_path / "b" / "9.png").unlink()
    (tmp_path / "b" / "9.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="b/9.png must be .*a missing file or a broken link"):
        read(tmp_path)
    assert read(tmp_path, skip_damaged=True).skipped == ("b/9.png",)


def test_a_fifo_in_one_part_is_refused_by_both(tmp_path):
    """Training reads all parts, an evaluation the test part."""
    save_classes(tmp_path, [("a", 10), ("b", 10)])
    test = _seeds_of(20)
    for row in (np.setdiff1d(range(20), test)[0], test[0]):
        path = tmp_path / "ab"[row // 10] / f"{row % 10}.png"
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        for part in ("train", "test"):
            with pytest.raises(InputError, match=f"{path} must be a regular file. Received: a FIFO"):
                getattr(datasets.load(f"folder:{tmp_path}"), part)
        path.unlink()
        path.write_bytes(content)
    assert len(datasets.load(f"folder:{tmp_path}").test) == 4


@pytest.mark.parametrize("name", [b"b/\xff.png", b"caf\xe9"])
def test_names_that_are_not_utf8_are_one_clear_line(tmp_path, name):
    save_classes(tmp_path)
    path = os.fsencode(tmp_path) + b"/" + name
    os.rename(tmp_path / "b" / "0.png", path) if name.endswith(b"png") else os.rename(tmp_path / "b", path)
    with pytest.raises(InputError, match=r"file names must be UTF-8. Received: .*\\x") as caught:
        read(tmp_path)
    str(caught.value).encode()


def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    save_classes(tmp_path)
    monkeypatch.setattr(datasets.resizing, "MAX_PIXELS", 255)
    monkeypatch.setattr(Image.Image, "load", lambda picture: pytest.fail("decoded"))
    match = "0.png must have at most 255 pixels, or `image_size` must be given. Received: 16 x 16 pixels"
    with pytest.raises(InputError, match=match):
        read(tmp_path)
    monkeypatch.undo()
    assert read(tmp_path, image_size=8).shape == (8, 8, 3)


def test_images_that_pillow_refuses_are_refused(tmp_path, monkeypatch):
    save_classes(tmp_path)
    dataset = read(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 16)
        with pytest.raises(InputError, match="1.png is damaged or not an image: DecompressionBombError"):
            dataset.read([1])

    def convert(picture, mode):
        raise ValueError("conversion not supported\nat all")

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(
        InputError,
        match="image: ValueError: conversion not supported; `skip_damaged` leaves such files out$",
    ):
        dataset.read([1])


def test_images_are_decoded_once(tmp_path, monkeypatch):
    save_classes(tmp_path)
    dataset = read(tmp_path)
    first = dataset.arrays()[0]
    monkeypatch.setattr(folder, "decode", lambda *arguments: pytest.fail("decoded again"))
    assert (dataset.arrays()[0] == first).all()


def test_the_identity_changes_with_the_files_and_not_with_their_place(tmp_path):
    save_classes(tmp_path / "one")
    identity = read(tmp_path / "one").identity
    assert read(tmp_path / "one", image_size=8).identity != identity
    (tmp_path / "one").rename(tmp_path / "two")
    assert read(tmp_path / "two").identity == identity
    (tmp_path / "two" / "a" / "0.png").rename(tmp_path / "two" / "a" / "00.png")
    assert read(tmp_path / "two").identity != identity
