"""Files are written completely or not at all, also if the process is killed or the power fails."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from keras_mma import cli, files, robustness, terminal
from keras_mma.errors import InputError
from keras_mma.robustness.output import OutputFolder
from keras_mma.study import training
from keras_mma.study.study import study


@pytest.fixture
def calls(monkeypatch):
    """The names of what reaches the disk and of what is renamed, in order."""
    seen = []

    def fsync(number, original=os.fsync):
        seen.append(("sync", Path(os.readlink(f"/proc/self/fd/{number}")).name))
        original(number)

    def replace(self, target, original=Path.replace):
        seen.append(("replace", Path(target).name))
        return original(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    return seen


def test_content_reaches_the_disk_before_it_replaces_what_was_there(tmp_path, calls):
    files.write(tmp_path / "a.txt", "new")
    (first, name), *rest = calls
    assert first == "sync" and name.endswith(".unfinished")
    assert rest == [("replace", "a.txt"), ("sync", tmp_path.name)]
    assert (tmp_path / "a.txt").read_text() == "new" and files.entries(tmp_path) == ["a.txt"]


def test_all_files_of_a_folder_reach_the_disk(tmp_path, calls):
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "variables" / "data").write_text("1")
    (tmp_path / "model" / "graph").write_text("2")
    files.replace(tmp_path / "model", tmp_path / "saved_model")
    before = calls[: calls.index(("replace", "saved_model"))]
    assert {name for _, name in before} == {"model", "variables", "data", "graph"}
    assert (tmp_path / "saved_model" / "variables" / "data").read_text() == "1"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    files.write(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        files.write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_removed_and_does_not_count_as_content(tmp_path):
    left = tmp_path / f".{'0' * 32}.unfinished"
    left.write_text("half")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / left.name).write_text("half")
    (tmp_path / ".mine.unfinished").write_text("of the user")
    (tmp_path / f".{'1' * 32}.unfinished" / "saved_model").mkdir(parents=True)
    assert files.entries(tmp_path) == [".mine.unfinished", "below"]
    files.remove_unfinished(tmp_path)
    assert files.entries(tmp_path) == sorted(path.name for path in tmp_path.iterdir())
    assert list((tmp_path / "below").iterdir())
    files.remove_unfinished(tmp_path, is_recursive=True)
    assert not left.exists() and not list((tmp_path / "below").iterdir())
    assert (tmp_path / ".mine.unfinished").exists()


def test_a_temporary_folder_is_removed_whatever_happens_in_it(tmp_path):
    with pytest.raises(OSError, match="full"), files.temporary_folder(tmp_path) as folder:
        assert folder.parent == tmp_path and files.entries(tmp_path) == []
        (folder / "half").write_text("")
        raise OSError("full")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_the_first_write_was_killed_is_used_again(tmp_path):
    (tmp_path / f".{'0' * 32}.unfinished").write_text("half")
    with OutputFolder(tmp_path, "report") as folder:
        folder.write("a.txt", "whole")
    assert files.entries(tmp_path) == [".keras-mma.json", ".lock", "a.txt"]
    assert not list(tmp_path.glob("*unfinished"))


def test_a_full_disk_is_known_before_a_library_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    files.require_space(tmp_path, 1000)
    with pytest.raises(OSError, match="No space left on device for 0.0 MB") as caught:
        files.require_space(tmp_path, 1001)
    assert files.is_full_disk(caught.value)
    outer = ValueError("wrapped")
    outer.__cause__ = caught.value
    assert files.is_full_disk(outer) and not files.is_full_disk(ValueError("other"))


def test_the_command_says_what_to_do_if_the_disk_is_full(tmp_path, monkeypatch, capsys):
    def evaluate(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(robustness, "evaluate", evaluate)
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "m", "--dataset", "digits", "--output", str(tmp_path)])
    line = (
        f"keras-mma: error: the disk of {tmp_path} is full: make room and run the same command again, which resumes\n"
    )
    assert capsys.readouterr().err == line


def test_a_command_that_does_not_resume_says_no_such_thing(tmp_path, monkeypatch, capsys):
    def compare(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(robustness, "compare", compare)
    with pytest.raises(SystemExit):
        cli.main(["compare", "a", "b", "--output", str(tmp_path)])
    assert capsys.readouterr().err == "keras-mma: error: [Errno 28] No space left on device\n"


def test_a_folder_that_cannot_be_flushed_is_written_to(tmp_path, monkeypatch):
    def fsync(number, original=os.fsync):
        if os.path.isdir(f"/proc/self/fd/{number}"):
            raise OSError(22, "Invalid argument")
        original(number)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_state_is_not_written_where_it_finds_no_room(tmp_path, monkeypatch):
    log = training.EpochLog(tmp_path, keep_states=True)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1000)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    log.set_model(model)
    size = 4 * 3 * model.count_params()  # with the two moments of Adam
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=size))
    with pytest.raises(OSError, match="No space left"):
        log.on_epoch_end(0, {"loss": 1.0})
    assert [path.name for path in (tmp_path / "states").iterdir()] == []
    monkeypatch.undo()
    log.on_epoch_end(1, {"loss": 1.0})
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["00002.weights.h5"]


def test_missing_matplotlib_is_known_before_anything_is_measured_or_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    with pytest.raises(InputError, match="plots need matplotlib: pip install"):
        robustness.evaluate(model, "digits", output=tmp_path / "x")
    with pytest.raises(InputError, match="plots need matplotlib: pip install"):
        study(tmp_path / "x", ["none", "cutmix"], dataset="digits", on_plan=lambda plan: pytest.fail("it is trained"))
    assert not (tmp_path / "x").exists()


def test_characters_that_a_terminal_lacks_are_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show("−0.5 é\nКошка")
    stream.flush()
    lines = stream.buffer.getvalue().decode("cp1252").splitlines()
    assert lines == [r"\u22120.5 é", r"\u041a\u043e\u0448\u043a\u0430"]
