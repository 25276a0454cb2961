"""Saliency Grafting: masks and weights equal the loops; properties of the calibrated label."""

import numpy as np
import pytest
from keras import ops

from keras_mma import layers, sampling
from keras_mma.layers import pairing
from keras_mma.layers.label_rules import covered_share, saliency_weight
from keras_mma.layers.mixers.saliency_grafting import graft_cells
from tests import oracles
from tests.layers.mixers import red, to_numpy, training_plan
from tests.pictures import blobs


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize(
    ("grid", "temperature", "threshold"), [(4, 1.0, None), (5, 0.3, 0.05), (7, 2.0, 0.0), (1, 1.0, None)]
)
def test_mask_and_weight_equal_the_loop(rng, monkeypatch, norm, grid, temperature, threshold):
    images = (rng.random((8, 13, 18, 3)) ** 4).astype("float32")
    rate = rng.random(8).astype("float32")
    noise = rng.random((8, grid, grid, 1)).astype("float32")
    monkeypatch.setattr(sampling, "beta", lambda shape, alpha, seed: ops.convert_to_tensor(rate))
    # Cells are drawn from the noise; the draws of `probability`, of rank 1, mix every sample.
    monkeypatch.setattr(
        sampling, "uniform", lambda shape, seed: ops.convert_to_tensor(noise) if len(shape) == 4 else ops.zeros(shape)
    )
    monkeypatch.setattr(pairing, "shuffle", lambda size, seed: ops.convert_to_tensor(np.roll(np.arange(8), 3), "int32"))
    mixer = layers.SaliencyGrafting(grid=grid, temperature=temperature, threshold=threshold, norm=norm, detector=red)
    mixed, plan = training_plan(mixer, images)
    for sample, partner in enumerate(np.roll(np.arange(8), 3)):
        mask, weight = oracles.graft(
            images[sample, ..., 0].astype("float64"),
            images[partner, ..., 0].astype("float64"),
            rate[sample],
            noise[sample, ..., 0],
            temperature,
            1 / grid**2 if threshold is None else threshold,
            norm,
        )
        np.testing.assert_allclose(plan["mask"][sample, ..., 0], mask, atol=1e-5)
        np.testing.assert_allclose(plan["weight"][sample], weight, atol=1e-5)
        expected = np.where(mask[..., None] == 1, images[sample], images[partner])
        np.testing.assert_allclose(mixed[sample], expected, atol=1e-6)


class TestCalibration:
    """Each image is salient in one half; the weight depends on which half is kept."""

    left = np.zeros((1, 8, 8, 1), "float32")
    left[:, :, :4] = 0.7
    right = left[:, :, ::-1].copy()
    keep_left = (left > 0).astype("float32")

    def weight(self, own, partner, mask, norm=2):
        return ops.convert_to_numpy(saliency_weight(*map(ops.convert_to_tensor, (own, partner, mask)), norm))[0]

    @pytest.mark.parametrize("norm", [1, 2])
    def test_a_contribution_without_saliency_has_no_weight(self, norm):
        assert self.weight(self.left, self.left, self.keep_left, norm) == 1.0

    @pytest.mark.parametrize("norm", [1, 2])
    def test_keeping_and_pasting_all_saliency_gives_one_half(self, norm):
        assert self.weight(self.left, self.right, self.keep_left, norm) == pytest.approx(0.5, abs=1e-6)

    @pytest.mark.parametrize("norm", [1, 2])
    def test_uniform_saliency_gives_the_norm_of_the_area(self, rng, norm):
        mask = np.zeros((1, 8, 8, 1), "float32")
        mask[:, :, :3] = 1
        kept, pasted = (3 / 8) ** (1 / norm), (5 / 8) ** (1 / norm)
        for level in (1e-12, 0.3, 1e12):
            uniform = np.full((1, 8, 8, 1), level, "float32")
            assert self.weight(uniform, uniform, mask, norm) == pytest.approx(kept / (kept + pasted), abs=1e-6)

    def test_zero_saliency_counts_as_uniform(self, rng):
        mask = (rng.random((1, 8, 8, 1)) < 0.4).astype("float32")
        zeros = np.zeros((1, 8, 8, 1), "float32")
        assert self.weight(zeros, zeros, mask, 1) == pytest.approx(mask.mean(), abs=1e-6)

    def test_the_area_decides_where_no_saliency_is_kept_or_pasted(self):
        assert self.weight(self.left, self.left, np.ones_like(self.left)) == 1.0
        assert self.weight(self.left, self.right, 1 - self.keep_left) == pytest.approx(0.5)

    def test_empty_and_full_grafts(self, rng):
        own, partner = rng.random((2, 1, 8, 8, 1)).astype("float32")
        assert self.weight(own, partner, np.ones((1, 8, 8, 1), "float32")) == 1.0
        assert self.weight(own, partner, np.zeros((1, 8, 8, 1), "float32")) == 0.0

    def test_shares_neither_underflow_nor_overflow(self, rng):
        maps, mask = rng.random((1, 8, 8, 1)), (rng.random((1, 8, 8, 1)) < 0.5).astype("float32")
        expected = np.sqrt(((maps * mask) ** 2).sum() / (maps**2).sum())
        for scale in (1e-30, 1.0, 1e30):
            share = ops.convert_to_numpy(covered_share(ops.convert_to_tensor(maps * scale, "float32"), mask, 2))[0]
            assert share == pytest.approx(expected, rel=1e-4)


def test_an_empty_graft_leaves_sample_and_label_unchanged(rng):
    cells = ops.convert_to_numpy(graft_cells(ops.ones((2, 8, 8, 1)), ops.zeros((2,)), ops.zeros((2, 4, 4, 1))))
    assert not cells.any()
    images = blobs(rng, 64, 16, 16)
    mixed, plan = training_plan(layers.SaliencyGrafting(alpha=0.05, grid=2, seed=1), images)
    is_empty = (plan["mask"] == 1).all((1, 2, 3))
    assert is_empty.any() and (plan["weight"][is_empty] == 1).all()
    np.testing.assert_array_equal(mixed[is_empty], images[is_empty])


def test_a_full_graft_has_weight_zero(rng):
    mixer = layers.SaliencyGrafting(alpha=0.05, threshold=0.0, grid=2, seed=1)
    mixed, plan = training_plan(mixer, blobs(rng, 64, 16, 16))
    is_full = (plan["mask"] == 0).all((1, 2, 3))
    assert is_full.any() and (plan["weight"][is_full] == 0).all()


@pytest.mark.parametrize("level", [0.0, 0.3, 77.0])
def test_all_cells_of_a_constant_map_are_candidates(level):
    for grid in (3, 4, 7):
        maps = ops.full((2, 21, 21, 1), level)
        cells = graft_cells(maps, ops.ones((2,)), ops.zeros((2, grid, grid, 1)))
        assert ops.convert_to_numpy(cells).all()


def test_at_the_lowest_temperatures_only_the_most_salient_cell_is_a_candidate(rng):
    maps = ops.convert_to_tensor(rng.uniform(size=(4, 8, 8, 1)).astype("float32"))
    for temperature in (1e-6, 1e-40):
        cells = graft_cells(maps, ops.ones((4,)), ops.zeros((4, 4, 4, 1)), temperature)
        np.testing.assert_array_equal(to_numpy(ops.sum(cells, axis=(1, 2, 3))), 1.0)


def test_grafts_are_salient_and_diverse(rng):
    images = np.tile(blobs(rng, 2, 32, 32), (200, 1, 1, 1)).astype("float32")
    maps = ops.convert_to_numpy(layers.SaliencyGrafting(detector=red).saliency_maps(images))
    _, plan = training_plan(layers.SaliencyGrafting(detector=red, seed=1), images)
    grafts = 1 - plan["mask"]
    partner_maps = maps[plan["partner"]]
    assert (partner_maps * grafts).sum() / grafts.sum() > 1.3 * partner_maps.mean()
    assert len(np.unique(grafts, axis=0)) > 10  # subsets of a few salient cells


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"grid": 0}, "`grid` must be an integer of at least 1. Received: grid=0"),
        ({"grid": 2.5}, "`grid` must be .* Received: grid=2.5"),
        ({"temperature": 0}, "`temperature` must be .* Received: temperature=0"),
        ({"threshold": 1.5}, "`threshold` must be .* Received: threshold=1.5"),
        ({"norm": 3}, "`norm` must be one of .* Received: norm=3"),
        ({"detector": "edges"}, "`detector` must be one of .* Received: detector='edges'"),
        ({"detector_size": 0}, "`detector_size` must be an integer of at least 1"),
        ({"attribution_layer": "stage1"}, "`attribution_layer` requires `detector='activation'`"),
    ],
)
def test_invalid_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        layers.SaliencyGrafting(**arguments)


def test_an_attribution_without_a_network_raises(rng):
    for detector in ("activation", "gradient"):
        mixer = layers.SaliencyGrafting(detector=detector)
        with pytest.raises(
            ValueError,
            match="must have a network, from which it computes the saliency: use the mixer inside a `MixModel`",
        ):
            mixer(blobs(rng), np.eye(8))
