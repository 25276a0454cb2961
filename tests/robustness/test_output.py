"""The folder that a command writes to: what is refused, and that nothing of others is touched."""

import json
import threading

import filelock
import pytest

from keras_mma.files import LOCK
from keras_mma.robustness import InputError
from keras_mma.robustness.output import MARKER, OutputFolder, write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_empty_folder_is_written_to_and_again(tmp_path, exists):
    path = tmp_path / "some" / "new"
    if exists:
        path.mkdir(parents=True)
    for content in ("first", "second"):
        with OutputFolder(path, "report") as folder:
            folder.write("a.txt", content)
            folder.write("below/b.bin", b"bytes")
    assert names(path) == [MARKER, LOCK, "a.txt", "below"] and (path / "a.txt").read_text() == "second"
    with OutputFolder(path, "report") as folder:
        assert folder.written() == ["a.txt", "below/b.bin"]
        folder.remove(folder.written("below/"))
        assert folder.written() == ["a.txt"]
    assert names(path) == [MARKER, LOCK, "a.txt"]
    assert json.loads((path / MARKER).read_text()) == {"content": "report", "files": ["a.txt"]}
    (path / "below").mkdir()
    (path / "below" / "b.bin").write_text("mine")  # of a name that was ours once
    with (
        OutputFolder(path, "report") as folder,
        pytest.raises(InputError, match="b.bin, which keras-mma did not write"),
    ):
        folder.write("below/b.bin", b"bytes")
    assert (path / "below" / "b.bin").read_text() == "mine"


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_left_where_nothing_was_written(tmp_path, exists):
    path = tmp_path / "some" / "new"
    if exists:
        path.mkdir(parents=True)
    with pytest.raises(KeyError), OutputFolder(path, "report"):
        assert names(path) == [LOCK]
        raise KeyError
    assert names(path) == [] if exists else names(tmp_path) == []


def test_a_folder_of_others_is_refused_and_left_as_it_is(tmp_path):
    for name in ("unfinished", "attack.png", ".hidden"):
        path = tmp_path / f"with {name}"
        path.mkdir()
        (path / name).write_text("mine")
        match = f"`output` must be a new or empty folder, or one that keras-mma has written. Received: .*holds {name}"
        with pytest.raises(InputError, match=match), OutputFolder(path, "report"):
            pass
        assert names(path) == [name] and (path / name).read_text() == "mine"


def test_files_that_were_put_into_our_folder_are_neither_replaced_nor_removed(tmp_path):
    with OutputFolder(tmp_path / "ours", "report") as folder:
        folder.write("a.txt", "ours")
        folder.write("unfinished/b.txt", "ours")
    path = tmp_path / "ours"
    (path / "attack.png").write_text("mine")
    (path / "unfinished" / "mine.txt").write_text("mine")
    with OutputFolder(path, "report") as folder:
        with pytest.raises(InputError, match="Received: .*attack.png, which keras-mma did not write"):
            folder.claim(["a.txt", "attack.png"])
        with pytest.raises(InputError, match="attack.png"):
            folder.write("attack.png", "ours")
        folder.remove(["attack.png", "unfinished/mine.txt", *folder.written()])
    assert (path / "attack.png").read_text() == (path / "unfinished" / "mine.txt").read_text() == "mine"
    assert names(path) == [MARKER, LOCK, "attack.png", "unfinished"] and names(path / "unfinished") == ["mine.txt"]


def test_other_content_and_a_damaged_marker_are_refused(tmp_path):
    with OutputFolder(tmp_path / "ours", "report") as folder:
        folder.write("a.txt", "ours")
    with pytest.raises(InputError, match="must not hold a report: choose"), OutputFolder(tmp_path / "ours", "study"):
        pass
    for text in ("", "[]", "{}", json.dumps({"content": "report", "files": 3}), "[" * 100_000):
        (tmp_path / "ours" / MARKER).write_text(text)
        with pytest.raises(InputError, match="has a damaged"), OutputFolder(tmp_path / "ours", "report"):
            pass


def test_folders_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below", "a" * 300, "new/" + "a" * 300):
        match = "`output` .*(cannot be written to|must be a folder)"
        with pytest.raises(InputError, match=match), OutputFolder(tmp_path / name, "report"):
            pass
    assert names(tmp_path) == ["file"]


def test_a_second_process_is_refused(tmp_path):
    with OutputFolder(tmp_path / "ours", "report") as folder:
        with pytest.raises(InputError, match="in use by another process"), OutputFolder(tmp_path / "ours", "report"):
            pass
        folder.write("a.txt", "still ours")
    with OutputFolder(tmp_path / "ours", "report") as folder, pytest.raises(filelock.Timeout):
        filelock.FileLock(tmp_path / "ours" / LOCK, timeout=0).acquire()


def test_two_writers_of_a_file_never_mix(tmp_path):
    stop, wrong = threading.Event(), []

    def work(letter):
        while not stop.is_set():
            write(tmp_path / "file", letter * 200_000)

    writers = [threading.Thread(target=work, args=letter) for letter in "ab"]
    write(tmp_path / "file", "a" * 200_000)
    for thread in writers:
        thread.start()
    for _ in range(300):
        text = (tmp_path / "file").read_text()
        if text not in ("a" * 200_000, "b" * 200_000):
            wrong.append(len(text))
    stop.set()
    for thread in writers:
        thread.join()
    assert wrong == [] and names(tmp_path) == ["file"]
