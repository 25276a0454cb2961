"""Puzzle Mix: its energy block by block, and its minimum by exhaustion and by graph cuts."""

import itertools
import math

import maxflow
import numpy as np
import pytest
from keras import ops

from keras_mma import layers
from keras_mma.layers import puzzle
from tests import oracles
from tests.layers.mixers import record_draws, red, to_numpy, training_plan
from tests.pictures import blobs

SHARES = (0.0, 0.5, 1.0)


def energies(rng, size, samples, kind, beta=1.2):
    """An `Energy` of blobs or of noise, and its arrays."""
    cells = max(1, 8 // size)
    images = blobs(rng, 2 * samples, size * cells, size * cells) / 255.0
    if kind == "noise":
        images = rng.random((2 * samples, size * cells, size * cells, 3))
    saliency = images.mean(3).reshape(2 * samples, size, cells, size, cells).mean((2, 4)) ** 3
    parts = (*np.split(saliency, 2), *np.split(images, 2), rng.beta(1, 1, samples))
    energy = puzzle.make_energy(*(ops.convert_to_tensor(part.astype("float32")) for part in parts), beta=beta)
    return energy, parts, [part.astype("float64") for part in to_numpy(tuple(energy))]


def value(shares, costs, down, right):
    """The energy of one sample, block by block."""
    rows, columns = shares.shape
    total = 0.0
    for i, j in itertools.product(range(rows), range(columns)):
        total += costs[i, j, int(2 * shares[i, j])]
        if i + 1 < rows:
            total += down[i, j] * (shares[i + 1, j] - shares[i, j]) ** 2
        if j + 1 < columns:
            total += right[i, j] * (shares[i, j + 1] - shares[i, j]) ** 2
    return total


def lowest(costs, down, right):
    """The lowest energy of one sample: all configurations of each row, given the best for each of the row before."""
    rows, columns = costs.shape[:2]
    states = np.array(list(itertools.product(SHARES, repeat=columns)))
    best = 0.0
    for i in range(rows):
        own = sum(costs[i, j, (2 * states[:, j]).astype(int)] for j in range(columns))
        own += ((states[:, 1:] - states[:, :-1]) ** 2 * right[i]).sum(1)
        if i:
            steps = ((states[:, None] - states[None]) ** 2 * down[i - 1]).sum(2)
            best = (best[None] + steps).min(1)
        best = best + own
    return best.min()


def cut(costs, down, right):
    """The shares of the lowest energy of one sample, by a minimum cut.

    Each block has a node for z >= 1/2 and one for z = 1, in a chain from the source to the sink; the edge that is cut
    is its share. (z - z')^2 is a sum of such edges, because it is convex.
    """
    rows, columns = costs.shape[:2]
    graph = maxflow.Graph[float]()
    nodes = np.array(graph.add_nodes(2 * rows * columns)).reshape(rows, columns, 2)
    for i, j in itertools.product(range(rows), range(columns)):
        cost = costs[i, j] - costs[i, j].min() + 1
        graph.add_tedge(nodes[i, j, 0], cost[0], 0)
        graph.add_edge(nodes[i, j, 0], nodes[i, j, 1], cost[1], 1e6)
        graph.add_tedge(nodes[i, j, 1], 0, cost[2])
        for i2, j2, weight in ((i + 1, j, down), (i, j + 1, right)):
            if i2 == rows or j2 == columns:
                continue
            for a, b in ((nodes[i, j], nodes[i2, j2]), (nodes[i2, j2], nodes[i, j])):
                graph.add_edge(a[0], b[0], weight[i, j] / 4, 0)
                graph.add_edge(a[1], b[1], weight[i, j] / 4, 0)
                graph.add_edge(a[1], b[0], weight[i, j] / 2, 0)
    graph.maxflow()
    is_source = np.array([graph.get_segment(node) == 0 for node in nodes.ravel()]).reshape(nodes.shape)
    return 0.5 * is_source.sum(2)


def test_the_energy_equals_the_equation(rng):
    """Up to a number for each pair of blocks that does not depend on the shares, for shares 0 and 1."""
    size, eta, weight, gamma = 4, 0.2, 1.2 / (16 * 4), 0.5
    energy, (own, partner, image, other, lam), _ = energies(rng, size, 3, "noise")

    def expected(sample, shares):
        total = 0.0
        images = {0: other[sample], 1: image[sample]}
        for i, j in itertools.product(range(size), range(size)):
            z = shares[i, j]
            total += (1 - z) * own[sample, i, j] / own[sample].sum()
            total += z * partner[sample, i, j] / partner[sample].sum()
            total -= eta / size**2 * math.log(lam[sample] ** 2 if z else (1 - lam[sample]) ** 2)
            for i2, j2 in ((i + 1, j), (i, j + 1)):
                if i2 == size or j2 == size:
                    continue
                total += weight * (shares[i2, j2] - z) ** 2
                first, second = images[int(z)], images[int(shares[i2, j2])]
                if i2 > i:
                    pixels = first[2 * i + 1, 2 * j : 2 * j + 2], second[2 * i2, 2 * j : 2 * j + 2]
                else:
                    pixels = first[2 * i : 2 * i + 2, 2 * j + 1], second[2 * i : 2 * i + 2, 2 * j2]
                total += weight * gamma * np.abs(pixels[0] - pixels[1]).mean()
        return total

    draws = (rng.random((6, 3, size, size)) < 0.5).astype("float32")
    ours = np.stack([to_numpy(energy(ops.convert_to_tensor(shares))) for shares in draws])
    theirs = np.array([[expected(sample, shares[sample]) for sample in range(3)] for shares in draws])
    np.testing.assert_allclose(ours - ours[:1], theirs - theirs[:1], atol=1e-5)
    assert np.abs(ours - ours[:1]).max() > 0.01


@pytest.mark.parametrize("beta", [1.2, 4.0])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_the_energy_is_within_1_percent_of_the_exhaustive_minimum_on_4_x_4_blocks(kind, beta, rng):
    energy, _, arrays = energies(rng, 4, 40, kind, beta)
    shares = to_numpy(puzzle.minimize(energy))
    np.testing.assert_allclose(to_numpy(energy(shares)), list(map(value, shares, *arrays)), rtol=1e-4)
    reached, minimum = np.array(list(map(value, shares, *arrays))), np.array(list(map(lowest, *arrays)))
    assert (reached >= minimum - 1e-5).all() and ((reached - minimum) / minimum).max() < 0.01
    alone = 0.5 * np.argmin(arrays[0], axis=3)
    assert np.mean(list(map(value, alone, *arrays)) - minimum) > 10 * np.mean(reached - minimum)


@pytest.mark.parametrize("beta", [1.2, 4.0])
@pytest.mark.parametrize("kind", ["blobs", "noise"])
def test_the_energy_is_within_3_percent_of_that_of_a_graph_cut_on_8_x_8_blocks(kind, beta, rng):
    energy, _, arrays = energies(rng, 8, 30, kind, beta)
    reached = np.array(list(map(value, to_numpy(puzzle.minimize(energy)), *arrays)))
    minimum = np.array([value(cut(*sample), *sample) for sample in zip(*arrays, strict=True)])
    assert (reached >= minimum - 1e-5).all() and ((reached - minimum) / minimum).max() < 0.03


def test_the_graph_cut_finds_the_exhaustive_minimum(rng):
    _, _, arrays = energies(rng, 4, 10, "noise", 4.0)
    for sample in zip(*arrays, strict=True):
        np.testing.assert_allclose(value(cut(*sample), *sample), lowest(*sample), atol=1e-6)


@pytest.mark.parametrize("size", [2, 4])
def test_the_mask_shows_the_shares_of_the_energy_of_the_images(size, rng, monkeypatch):
    draws = record_draws(monkeypatch)
    images = rng.random((8, 16, 32, 3)).astype("float32")
    mixer = layers.PuzzleMix(grids=(size,), detector=red, partner="roll", seed=2)
    _, plan = training_plan(mixer, images)
    cells = size * max(1, 16 // size // 4)
    levels = np.stack(
        [
            [oracles.area_pool(np.floor(image[..., channel] * 255 + 0.5) / 255, cells, cells) for channel in range(3)]
            for image in images
        ]
    ).transpose(0, 2, 3, 1)
    saliency = np.stack([oracles.area_pool(image[..., 0], size, size) for image in images])
    parts = saliency, np.roll(saliency, 1, 0), levels, np.roll(levels, 1, 0), draws[0][1]
    energy = puzzle.make_energy(*(ops.convert_to_tensor(part.astype("float32")) for part in parts))
    arrays = [part.astype("float64") for part in to_numpy(tuple(energy))]
    for sample in range(8):
        shares = plan["mask"][sample, 8 // size :: 16 // size, 16 // size :: 32 // size, 0]
        expected = np.kron(shares, np.ones((16 // size, 32 // size)))
        np.testing.assert_array_equal(plan["mask"][sample, ..., 0], expected)
        own = [array[sample] for array in arrays]
        assert set(shares.ravel()) <= set(SHARES) and value(shares, *own) <= lowest(*own) * 1.01


def test_one_grid_is_drawn_for_each_batch(rng):
    mixer, sizes = layers.PuzzleMix(grids=(2, 8), seed=1), set()
    for _ in range(8):
        _, plan = training_plan(mixer, blobs(rng, 8, 16, 16))
        edges = np.abs(np.diff(plan["mask"][..., 0], axis=1)).sum((0, 2)) > 0
        sizes.add(bool(np.delete(edges, 7).any()))
    assert sizes == {False, True}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"grids": ()}, r"`grids` must be a list of integers. Received: grids=\(\)"),
        ({"grids": (1,)}, "`grids` must be an integer of at least 2. Received: grids=1"),
        ({"gamma": 1.5}, r"`gamma` must be a number in \[0, 1\]. Received: gamma=1.5"),
        ({"beta": -1}, "`beta` must be a non-negative"),
    ],
)
def test_invalid_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        layers.PuzzleMix(**arguments)
