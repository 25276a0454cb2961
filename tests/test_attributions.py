"""The comparison of cheaper attributions with the full ones."""

import json
import re

import keras
import numpy as np
import pytest
from scipy import stats

from benchmarks import attribution_operations, attributions, operations
from keras_mma import models
from tests import oracles


def maps(rng, count=3):
    return rng.random((count, 8, 12, 1)).astype("float32")


def test_equal_maps_agree_and_others_do_not(rng):
    full, other = maps(rng), maps(rng)
    same = attributions.compare(full, 2.0 * full)  # neither the cells nor the labels depend on the scale
    assert same == pytest.approx({"correlation": 1, "cells": 1, "grafts": 1, "weight": 0, "attended": 1}, abs=1e-6)
    rest = attributions.compare(full, other)
    assert rest["correlation"] < 0.9 and rest["cells"] < 1 and rest["attended"] < 1 and rest["weight"] > 0
    assert rest == attributions.compare(full, other)  # from the same random numbers


def test_correlations_equal_those_of_pooled_cells(rng):
    full, other = maps(rng), maps(rng)
    other[2] = 1.0  # a constant map, which correlates with nothing
    pooled = [[oracles.area_pool(each[..., 0], 4, 4).ravel() for each in batch] for batch in (full, other)]
    expected = [stats.spearmanr(*pair).statistic for pair in list(zip(*pooled, strict=True))[:2]]
    np.testing.assert_allclose(attributions.rank_correlations(full, other), [*expected, 0.0], atol=1e-6)


def test_ways_name_their_arguments():
    chosen = attributions.ways(["stage1", "stage2"], 32)
    assert list(chosen)[:2] == ["activation", "activation, detector_size=24"]
    assert chosen["activation, attribution_layer=stage2, detector_size=18"] == {
        "detector": "activation",
        "attribution_layer": "stage2",
        "detector_size": 18,
    }
    assert chosen["gradient"] == {"detector": "gradient"} and len(chosen) == 14


def test_the_command_writes_the_record_and_the_page(monkeypatch, tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch does not count operations")
    keras.utils.set_random_seed(0)
    network = models.WideResNet(10, 1, (8, 8, 1))
    network = keras.Model(network.input, network.get_layer("stage2").output)
    pooled = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(network.output))
    network = keras.Model(network.input, pooled)
    monkeypatch.setattr(attributions, "load_network", lambda options, data: (network, "A network."))
    monkeypatch.setattr(attributions, "SIZES", (1 / 2, 1 / 4))
    target = tmp_path / "attributions.json"
    record = attributions.main(["--quick", "--image-size", "8", "--data-dir", "x", "--output", str(target)])
    assert json.loads(target.read_text()) == record
    assert record["command"] == f"python -m benchmarks.attributions --quick --image-size 8 --output {target}"
    rows = {(row["full"], row["way"]): row for row in record["rows"]}
    for full, passes in (("activation", 1), ("gradient", 2)):
        whole, half = rows[full, full], rows[full, f"{full}, detector_size=4"]
        assert whole["correlation"] == whole["cells"] == whole["grafts"] == whole["attended"] == 1
        # A step is three passes; gradients of weights that nobody needs are not among the operations.
        assert whole["operations"] - 1 == pytest.approx(passes / 3, rel=0.15)
        assert (half["operations"] - 1) / (whole["operations"] - 1) == pytest.approx(0.25, rel=0.3)
        assert half["correlation"] < 1
        assert rows[full, "map of another image"]["operations"] is None
    stage = rows["activation", "activation, attribution_layer=stage1"]
    assert 1 < stage["operations"] < rows["activation", "activation"]["operations"]
    assert list(record["missing"]) == ["activation, detector_size=2"]
    page = (tmp_path / "attributions.md").read_text()
    assert page == attributions.render(record)
    assert len(re.findall(r"^\| (activation|gradient)[ ,]", page, re.M)) == len(rows) - 4


def test_operations_are_those_of_the_arithmetic():
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch does not count operations")
    weights = np.ones((6, 5), "float32")
    count = operations.count(lambda x: keras.ops.matmul(x, weights), np.ones((4, 6), "float32"))
    assert count == 2 * 4 * 6 * 5


def test_operations_are_not_counted_on_torch(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match="Received: 'torch'"):
        operations.count(lambda x: x)


def test_the_record_of_operations_keeps_those_of_other_backends(monkeypatch, tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch does not count operations")
    path = tmp_path / "record.json"
    path.write_text('{"other": 1}')
    attribution_operations.main(["--network", "wideresnet-10-1", "--side", "16", "--output", str(path)])
    record = json.loads(path.read_text())
    counts = record[keras.backend.backend()]["operations"]
    assert record["other"] == 1
    assert 1 < counts["activation, detector_size=8"] < counts["activation"] < counts["gradient"] < 2
