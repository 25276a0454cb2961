"""Pairing of samples, and GuidedMixup."""

import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_mma import layers, sampling
from keras_mma.layers import pairing
from tests import oracles
from tests.layers.mixers import red, to_numpy, training_plan
from tests.pictures import blobs, crops


def cycle(distance, start):
    cycles = pairing.farthest_cycles(ops.convert_to_tensor(distance[None]), ops.convert_to_tensor([start]))
    return ops.convert_to_numpy(cycles)[0]


def distances(maps):
    return ops.convert_to_numpy(pairing.distances(ops.convert_to_tensor(maps.reshape(1, len(maps), -1))))[0]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 33])
def test_the_farthest_cycle_equals_the_loop(rng, size):
    for _ in range(3):
        points = rng.random((size, 4))
        distance = ((points[:, None] - points[None]) ** 2).sum(-1).astype("float32")
        start = int(rng.integers(size))
        partner = cycle(distance, start)
        assert partner.tolist() == oracles.farthest_cycle(distance, start)
        assert partner.dtype == "int32"


def test_partners_form_a_single_cycle(rng):
    distance = rng.random((17, 17)).astype("float32")
    partner = cycle(distance + distance.T, 3)
    sample, visited = 0, []
    for _ in range(17):
        visited.append(sample)
        sample = partner[sample]
    assert sorted(visited) == list(range(17)) and sample == 0


def test_the_start_of_the_cycle_is_drawn(monkeypatch, rng):
    starts, seed, inner = set(), sampling.SeedGenerator(1), pairing._farthest
    monkeypatch.setattr(
        pairing,
        "_farthest",
        lambda maps, start, groups: starts.add(int(to_numpy(start)[0])) or inner(maps, start, groups),
    )
    maps = ops.convert_to_tensor(rng.random((4, 2, 2, 1)).astype("float32"))
    for _ in range(40):
        pairing.farthest(maps, seed)
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("scheme", ["distance", "shuffle", "derangement", "roll"])
def test_each_device_pairs_its_own_samples(monkeypatch, rng, scheme):
    monkeypatch.setattr(pairing, "device_groups", lambda batch_size: 2 if batch_size == 6 else 1)
    maps, seed = ops.convert_to_tensor(rng.random((6, 2, 2, 1)).astype("float32")), sampling.SeedGenerator(1)
    pairs = {
        "distance": lambda: pairing.farthest(maps, seed),
        "shuffle": lambda: pairing.shuffle(6, seed),
        "derangement": lambda: pairing.derangement(6, seed),
        "roll": lambda: pairing.roll(6),
    }
    partner = to_numpy(pairs[scheme]())
    assert (partner // 3).tolist() == [0, 0, 0, 1, 1, 1] and sorted(partner) == list(range(6))


def test_distances_equal_the_loop(rng):
    maps = rng.random((6, 5, 7, 1)).astype("float32")
    maps[2] = 0
    shares = [m / m.sum() if m.any() else m for m in maps.astype("float64")]
    expected = [[((a - b) ** 2).sum() for b in shares] for a in shares]
    np.testing.assert_allclose(distances(maps), expected, atol=1e-6)


@pytest.mark.parametrize("samples", [3, 4, 8, 9, 11])
def test_distances_in_blocks_are_the_same(rng, samples, monkeypatch):
    maps = rng.random((2, samples, 6)).astype("float32")
    expected = to_numpy(pairing.distances(ops.convert_to_tensor(maps)))
    blocks, whole = [], pairing._distances
    monkeypatch.setattr(pairing, "_LARGE", 4)
    monkeypatch.setattr(pairing, "_BLOCK", 3)
    monkeypatch.setattr(pairing, "_distances", lambda *args: blocks.append(args[0].shape[1]) or whole(*args))
    in_blocks = to_numpy(pairing.distances(ops.convert_to_tensor(maps)))
    np.testing.assert_allclose(in_blocks, expected, atol=1e-7)
    starts = ops.convert_to_tensor([0, 2])
    cycles = [to_numpy(pairing.farthest_cycles(ops.convert_to_tensor(each), starts)) for each in (in_blocks, expected)]
    np.testing.assert_array_equal(*cycles)
    assert set(blocks) == {3 if samples > 4 else samples}


def test_roll_pairs_each_sample_with_the_previous_one(rng):
    assert ops.convert_to_numpy(pairing.roll(5)).tolist() == [4, 0, 1, 2, 3]
    _, plan = training_plan(layers.MixUp(partner="roll", seed=1), blobs(rng, 5))
    assert plan["partner"].tolist() == [4, 0, 1, 2, 3]


def test_distance_compares_the_saliency_maps_of_the_mixer(rng):
    images = blobs(rng, 9)
    mixer = layers.SaliencyMix(partner="distance", alpha=50.0, seed=1)
    _, plan = training_plan(mixer, images)
    distance = distances(ops.convert_to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images))))
    assert plan["partner"].tolist() in [oracles.farthest_cycle(distance, start) for start in range(9)]
    for cls in (layers.MixUp, layers.CutMix):
        with pytest.raises(ValueError, match="`partner` must be one of .* Received: partner='distance'"):
            cls(partner="distance")


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_cycles_compile(needs_tensorflow, rng, xla):
    import tensorflow as tf

    distance = rng.random((2, 12, 12)).astype("float32")
    spec = None if xla else [tf.TensorSpec((None, None, None), tf.float32), tf.TensorSpec((None,), tf.int32)]
    compiled = tf.function(pairing.farthest_cycles, jit_compile=xla, input_signature=spec)
    expected = [oracles.farthest_cycle(distance[0], 4), oracles.farthest_cycle(distance[1], 7)]
    assert compiled(tf.constant(distance), tf.constant([4, 7])).numpy().tolist() == expected


def test_guided_mixup_blends_in_proportion_to_saliency(rng):
    images = rng.random((6, 9, 11, 3)).astype("float32")
    images[:, :2, :2, 0] = 0  # no image is salient here
    mixed, plan = training_plan(layers.GuidedMixup(detector=red, blur_sigma=0, seed=1), images)
    for sample, partner in enumerate(plan["partner"]):
        for y in range(9):
            for x in range(11):
                own = float(images[sample, y, x, 0]) / images[sample, ..., 0].sum(dtype="float64")
                other = float(images[partner, y, x, 0]) / images[partner, ..., 0].sum(dtype="float64")
                expected = own / (own + other) if own + other else 0.5
                assert plan["mask"][sample, y, x, 0] == pytest.approx(expected, abs=1e-5)
        np.testing.assert_allclose(plan["weight"][sample], plan["mask"][sample].mean(), atol=1e-6)


def test_guided_mixup_blurs_the_saliency_as_published(rng):
    images = rng.random((3, 9, 11, 3)).astype("float32")
    mixer = layers.GuidedMixup(detector=red, seed=1)
    blurred = ops.convert_to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images)))[..., 0]
    for image, saliency in zip(images[..., 0], blurred, strict=True):
        np.testing.assert_allclose(saliency, oracles.blur(image, oracles.gaussian(7, 3.0), "reflect"), atol=1e-5)


def test_guided_mixup_blends_as_smoothly_as_published():
    """On CIFAR-10, 0.09 % of the values of the published masks are outside [0.1, 0.9]; the weights deviate by 0.014."""
    images = crops(32, 40)
    _, plan = training_plan(layers.GuidedMixup(seed=1), images)
    _, sharp = training_plan(layers.GuidedMixup(detector="spectral_residual", blur_sigma=0, seed=1), images)
    assert np.mean(np.abs(plan["mask"] - 0.5) > 0.4) < 0.005 < np.mean(np.abs(sharp["mask"] - 0.5) > 0.4)
    assert plan["weight"].std() < 0.04
    assert plan["mask"].std() < 0.75 * sharp["mask"].std()


def test_guided_mixup_leaves_a_batch_of_one_unmixed(rng):
    image = blobs(rng, 1)
    mixed, plan = training_plan(layers.GuidedMixup(), image)
    np.testing.assert_array_equal(mixed, image)
    assert plan["weight"][0] == 1


def test_shuffled_partners_are_uniform_permutations():
    generator = sampling.SeedGenerator(1)
    counts = np.zeros((5, 5))
    for _ in range(600):
        partner = ops.convert_to_numpy(pairing.shuffle(5, generator))
        assert sorted(partner) == list(range(5)) and partner.dtype == "int32"
        counts[np.arange(5), partner] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
