"""The process of `--sandbox`: its limits, its status, and that nothing of it remains."""

import os
import subprocess
import sys
import time

import pytest

from keras_mma import cli
from keras_mma.errors import InputError
from keras_mma.robustness import sandbox

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory")


def child(monkeypatch, code):
    """Let the sandbox run other code than the command."""
    monkeypatch.setattr(sandbox, "_CHILD", code)


@pytest.mark.parametrize("status", [0, 2, 130])
def test_the_status_and_the_words_are_passed_on(monkeypatch, status):
    child(monkeypatch, f"import sys; sys.exit({status} if sys.argv[1:] == ['a', '-b c'] else 99)")
    assert sandbox.run(["a", "-b c"]) == status


@on_linux
def test_memory_is_limited(monkeypatch, capfd):
    child(monkeypatch, "import time; time.sleep(0.5); bytearray(2**30)")
    with pytest.raises(InputError, match="failed as printed above: if memory was short, allow more than the 0.5 GiB"):
        sandbox.run([], gibibytes=0.5)
    assert "MemoryError" in capfd.readouterr().err
    assert sandbox.run([], gibibytes=4) == 0


def test_an_abort_is_told(monkeypatch):
    child(monkeypatch, "import os; os.abort()")
    with pytest.raises(InputError, match="was ended by SIGABRT"):
        sandbox.run([])


def test_time_is_limited_and_nothing_keeps_running(monkeypatch, tmp_path):
    code = "import os, subprocess, sys, time; p = subprocess.Popen(['sleep', '60']);"
    child(monkeypatch, code + "open(sys.argv[1], 'w').write(f'{os.getpid()} {p.pid}'); time.sleep(60)")
    with pytest.raises(
        InputError, match="took longer than the 0.02 minutes of `sandbox_minutes`; the same command res"
    ):
        sandbox.run([str(tmp_path / "pids")], minutes=0.02)
    deadline = time.monotonic() + 5
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        while _runs(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _runs(pid)


def test_nothing_keeps_running_when_the_parent_is_ended(tmp_path):
    pids = tmp_path / "pids"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    parent = (
        "import sys; from keras_mma.robustness import sandbox; sandbox._CHILD = sys.argv[1]; sandbox.run(sys.argv[2:])"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, code, str(pids)])
    deadline = time.monotonic() + 120
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.wait()
    deadline = time.monotonic() + 30
    while _runs(int(pids.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(pids.read_text()))


def test_modules_of_the_current_folder_are_not_imported(monkeypatch, tmp_path):
    (tmp_path / "keras_mma_command.py").write_text("def main():\n    return 99\n")
    monkeypatch.chdir(tmp_path)
    child(monkeypatch, "import keras_mma_command; sys.exit(keras_mma_command.__file__ == sys.argv[1])")
    assert sandbox.run([str(tmp_path / "keras_mma_command.py")]) == 0


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return not state.startswith("Z") and bool(state)


def test_an_interruption_reaches_the_process(monkeypatch):
    child(monkeypatch, "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit(130)); time.sleep(60)")
    wait = subprocess.Popen.wait
    calls = []

    def interrupted(self, timeout=None):
        calls.append(timeout)
        if len(calls) == 1:
            time.sleep(0.5)
            raise KeyboardInterrupt
        return wait(self, 10)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    assert sandbox.run([]) == 130


def test_a_system_without_limits_says_so(monkeypatch, capsys):
    import resource

    monkeypatch.delattr(resource, "prlimit", raising=False)
    child(monkeypatch, "")
    assert sandbox.run([]) == 0
    assert capsys.readouterr().err == (
        "keras-mma: warning: this system cannot limit the memory of the evaluation, only its time\n"
    )


@pytest.mark.parametrize(
    ("option", "value"), [("--sandbox-minutes", "0"), ("--sandbox-gib", "-1"), ("--sandbox-gib", "nan")]
)
def test_limits_must_be_positive(capsys, option, value):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "m", "--dataset", "digits", "--sandbox", option, value])
    assert f"error: {option} must be a positive number" in capsys.readouterr().err


def test_the_command_passes_everything_but_the_switch(monkeypatch):
    seen = []
    monkeypatch.setattr(sandbox, "run", lambda *arguments: seen.append(arguments) or 3)
    words = ["evaluate", "m", "--dataset", "digits", "--sandbox-minutes", "5", "--limit", "9"]
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--sandbox"])
    assert caught.value.code == 3 and seen == [(words, 5.0, 16.0)]


@pytest.mark.slow
def test_a_report_is_written_in_a_sandbox(tmp_path, needs_tensorflow):
    from tests.robustness.test_model import channel_means, saved_model
    from tests.test_cli import save_arrays

    model, arrays = saved_model(tmp_path / "m", channel_means), save_arrays(tmp_path / "arrays")
    words = [
        "evaluate",
        str(model),
        "--dataset",
        arrays,
        "--only",
        "clean",
        "--output",
        str(tmp_path / "r"),
        "--sandbox",
    ]
    assert cli.main(words) == 0
    assert (tmp_path / "r" / "report.html").exists()
