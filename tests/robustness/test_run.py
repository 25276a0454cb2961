"""Parts: kept when finished, measured again when damaged; random numbers that belong to the image."""

import io
import json
import time

import numpy as np
import pytest

from keras_mma.robustness.clock import Clock
from keras_mma.robustness.output import OutputFolder
from keras_mma.robustness.perturbations.seeds import generators
from keras_mma.robustness.run import Part, run


def counting(names=("corruption/fog/1", "corruption/fog/2")):
    """Parts, and the list of those that are measured."""
    measured = []

    def part(name):
        return Part(name, 9, lambda on_progress: measured.append(name) or {"error": len(name) / 100})

    return [part(name) for name in names], measured


def test_finished_parts_are_not_measured_again(tmp_path):
    parts, measured = counting()
    with OutputFolder(tmp_path, "report") as folder:
        first = run(parts[:1], folder, "key")
        second = run(parts, folder, "key")
        other = run(parts, folder, "another key")
    assert measured == ["corruption/fog/1", "corruption/fog/2", "corruption/fog/1", "corruption/fog/2"]
    assert first.resumed == [] and second.resumed == ["corruption/fog/1"] and other.resumed == []
    assert second.results == {part.name: {"error": 0.16} for part in parts} and second.seconds >= first.seconds


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0.16", "NaN"),
        lambda text: text.replace("0.16", "0.61"),
        lambda text: "{}",
        lambda text: "[]",
        lambda text: json.dumps({"entry": 1, "sha256": 2}),
        lambda text: "[" * 100_000,
        lambda text: b"\xff\xfe",
    ],
)
def test_a_damaged_part_is_measured_again(tmp_path, damage):
    parts, measured = counting()
    with OutputFolder(tmp_path, "report") as folder:
        run(parts, folder, "key")
        path = tmp_path / "unfinished" / "key" / "corruption-fog-2.json"
        damaged = damage(path.read_text())
        path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        again = run(parts, folder, "key")
        assert again.damaged == ["corruption/fog/2"] == measured[2:] and again.resumed == ["corruption/fog/1"]
        assert again.results["corruption/fog/2"] == {"error": 0.16}
        assert run(parts, folder, "key").damaged == []


def test_a_bar_shows_the_progress(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        run([Part("corruption/fog/1", 9, lambda on_progress: on_progress(9) or {})], progress=True)
        assert ("corruption/fog/1" in stream.getvalue() and "9/9" in stream.getvalue()) == shown


def test_draws_differ_by_seed_part_and_image():
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (1, "a", 1)]
    assert len({generators(seed, part, [index])[0].random() for seed, part, index in keys}) == 5
    first, second = generators(0, "a", [np.int64(3)])[0], generators(0, "a", [1, 3])[1]
    assert first.random() == second.random()


def test_a_part_gets_the_results_of_the_parts_that_it_needs(tmp_path):
    first = Part("attack/fgsm", 9, lambda on_progress: {"correct": 3})
    second = Part("attack/pgd/4", 9, lambda on_progress, earlier: {"correct": earlier["correct"] - 1}, ("attack/fgsm",))
    with OutputFolder(tmp_path, "report") as folder:
        run([first], folder, "key")
        measured = run([first, second], folder, "key")
    assert measured.resumed == ["attack/fgsm"] and measured.results["attack/pgd/4"] == {"correct": 2}


def test_times_are_divided_by_kind_and_kept(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()

    def measure(on_progress):
        for kind, seconds in (("forward", 5), ("gradient", 3), ("perturbation", 1.5), (None, 0.5)):
            if kind is None:
                now[0] += seconds
                continue
            with clock.measure(kind):
                now[0] += seconds
        return {}

    parts = [Part(name, 9, measure) for name in ("corruption/fog/1", "corruption/fog/2")]
    one = {"forward": 5, "gradient": 3, "perturbation": 1.5, "rest": 0.5}
    with OutputFolder(tmp_path, "report") as folder:
        first = run(parts[:1], folder, "key", clock=clock)
        both = run(parts, folder, "key", clock=clock)
    assert first.time == pytest.approx(one) and first.seconds == 10
    assert both.time == pytest.approx({kind: 2 * seconds for kind, seconds in one.items()}) and both.seconds == 20
