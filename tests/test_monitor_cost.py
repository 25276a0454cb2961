"""What the benchmark of `MixingMonitor` measures."""

import time

import pytest

from benchmarks import monitor_cost


def test_the_clock_leaves_out_the_first_epoch(monkeypatch):
    now = iter([100.0, 130.0, 140.0])  # the first epoch takes 30 seconds, two more take 10
    clock = monitor_cost.Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    for epoch in range(3):
        clock.on_epoch_begin(epoch)
    clock.on_train_end()
    assert clock.seconds == 5.0


def test_ratios_are_those_of_each_round():
    rows = monitor_cost.summarize({"plain": [1.0, 2.0, 4.0], "figures": [1.1, 2.3, 4.8], "default": [1.0, 2.2, 4.0]})
    assert rows["plain"] == {"seconds": 2.0}
    assert rows["figures"]["ratio"] == pytest.approx({"median": 1.15, "min": 1.1, "max": 1.2})
    assert rows["figures"]["report_seconds"] == pytest.approx(0.3)
    assert rows["figures"]["epoch_seconds"] == pytest.approx(6.0)
    assert set(rows["default"]) == {"seconds", "ratio"}  # its epochs do not all end with a report
