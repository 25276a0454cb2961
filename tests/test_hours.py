"""The benchmark of hours of training: what it notes and which limits it checks."""

import json
import shlex

import keras
import numpy as np
import pytest

from benchmarks import hours

GOOD = {"growth": 1.01, "later_traces": 0, "finite": True}


@pytest.mark.parametrize("change", [{"growth": 1.03}, {"growth": None}, {"later_traces": 1}, {"finite": False}])
def test_each_limit_is_checked(change):
    assert hours.is_good(GOOD) and hours.is_good(GOOD | {"later_traces": None})
    assert not hours.is_good(GOOD | change)


def test_growth_is_that_of_the_late_part_over_the_early_part():
    samples = [(second, 100.0 + second) for second in range(11)]
    assert hours.growth(samples) == pytest.approx(109 / 103)
    assert hours.growth([(second, 5.0) for second in range(11)]) == 1.0
    late = [(50.0 + second, memory) for second, memory in samples]  # after a long time of tracing
    assert hours.growth(late) == hours.growth(samples)
    assert hours.growth([]) is None and hours.growth(samples[:2]) is None


def test_memory_that_is_kept_is_seen():
    before = hours.resident_mebibytes()
    kept = np.ones(2**25, "uint8")  # 32 MiB
    assert 30 < hours.resident_mebibytes() - before < 40
    del kept


@pytest.mark.slow
def test_a_short_run_writes_its_record(tmp_path):
    path = tmp_path / "hours.json"
    path.write_text('{"other": {}}')
    hours.main(["--hours", "0.001", "--methods", "gmix+mma", "resizemix", "--output", str(path)])
    record = json.loads(path.read_text())
    (run,) = [record[name] for name in record if name != "other"]
    assert [row["method"] for row in run["trainings"]] == ["gmix+mma", "resizemix"]
    assert all(row["finite"] and row["steps"] >= 3 for row in run["trainings"])


def test_a_later_run_of_some_methods_keeps_the_rows_of_the_others(tmp_path, monkeypatch):
    path, backend = tmp_path / "hours.json", keras.backend.backend()

    def noted(method, dataset, seconds):
        return GOOD | {"method": method, "seconds": seconds, "losses": [1.0, None]}

    monkeypatch.setattr(hours, "train", noted)
    commands = []
    for methods in (["cutmix+mma", "resizemix"], ["resizemix"]):
        words = ["--hours", "1", "--methods", *methods, "--output", str(path)]
        commands.append(f"KERAS_BACKEND={backend} python -m benchmarks.hours {shlex.join(words)}")
        assert hours.main(words) == 0
    run = json.loads(path.read_text())[backend]
    kept, new = run["trainings"]
    assert kept["method"] == "cutmix+mma" and kept["command"] == commands[0] and kept["day"] == run["day"]
    assert new["method"] == "resizemix" and "command" not in new and run["command"] == commands[1]
