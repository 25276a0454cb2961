"""The energy of Puzzle Mix on a grid of blocks, and its minimization for all samples of a batch at once.

Each block keeps a share z in {0, 1/2, 1} of its own image. For L_i(z) a cost of each block and W_ij >= 0 a weight of
each pair of neighbors,

    E(z) = sum_i L_i(z_i) + sum_ij W_ij (z_i - z_j)^2

With L_i convex in z, the relaxation to z in [0, 1] is convex too and needs no graph cut.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

#: Sweeps over the relaxed problem, and over the shares themselves.
RELAXED_SWEEPS = 10
SWEEPS = 5
_TINY = 1e-8


class Energy(NamedTuple):
    """The energy of a batch of grids.

    Args:
        costs: Float32 tensor (batch, rows, columns, 3), the cost of z = 0, 1/2 and 1.
        down: Float32 tensor (batch, rows - 1, columns), the weight of each block and the one below.
        right: Float32 tensor (batch, rows, columns - 1), the weight of each block and the one to the right.
    """

    costs: Any
    down: Any
    right: Any

    def __call__(self, shares):
        """The energy (batch,) of shares (batch, rows, columns)."""
        step = ops.cast(ops.round(2.0 * shares), "int32")
        own = ops.squeeze(ops.take_along_axis(self.costs, step[..., None], axis=3), 3)
        down = self.down * ops.square(shares[:, 1:] - shares[:, :-1])
        right = self.right * ops.square(shares[:, :, 1:] - shares[:, :, :-1])
        return sum(ops.sum(part, axis=(1, 2)) for part in (own, down, right))

    def neighbors(self):
        """The weights of the neighbors of each block: above, below, left and right, (batch, rows, columns, 4)."""
        none_down = ops.zeros_like(self.costs[:, :1, :, 0])
        none_right = ops.zeros_like(self.costs[:, :, :1, 0])
        return ops.stack(
            [
                ops.concatenate([none_down, self.down], 1),
                ops.concatenate([self.down, none_down], 1),
                ops.concatenate([none_right, self.right], 2),
                ops.concatenate([self.right, none_right], 2),
            ],
            axis=3,
        )


def make_energy(own, partner, own_image, partner_image, lam, beta=1.2, gamma=0.5, eta=0.2):
    """The energy of Puzzle Mix.

    With s the saliency of each block as a share of the whole, |x - x'| the mean difference of two images across the
    border of two blocks, and n^2 blocks:

        E(z) = sum_i (1 - z_i) s_i + z_i s_partner_i - eta / n^2 log P(z_i | lam)
             + beta / (16 n) sum_ij ((z_i - z_j)^2 + gamma D_ij(z_i, z_j))
        P(1) = lam^2,    P(1/2) = 2 lam (1 - lam),    P(0) = (1 - lam)^2

    D_ij is |x - x'| for the images that z shows at both sides, and quadratic between.

    Args:
        own, partner: Saliency (batch, n, n), non-negative.
        own_image, partner_image: Images (batch, n k, n k, channels) with values in [0, 1].
        lam: Float32 tensor (batch,).
        beta, gamma, eta: See `PuzzleMix`.

    Returns:
        An `Energy`.
    """
    size = own.shape[1]
    own, partner = normalize(own), normalize(partner)
    images = {0: partner_image, 1: own_image}
    weight = beta / (16.0 * size)
    lost = {0: own, 1: partner}
    pairs = []
    for axis in (1, 2):
        across = {
            (a, b): weight * gamma * _difference(images[a], images[b], axis, size) for a in (0, 1) for b in (0, 1)
        }
        pairs.append(weight + 0.5 * (across[1, 0] + across[0, 1] - across[1, 1] - across[0, 0]))
        for z in (0, 1):
            first = 0.5 * (across[z, 0] + across[z, 1])
            second = 0.5 * (across[0, z] + across[1, z])
            empty = ops.zeros_like(own[:, :1] if axis == 1 else own[:, :, :1])
            lost[z] = lost[z] + ops.concatenate([first, empty], axis) + ops.concatenate([empty, second], axis)
    lam = ops.reshape(lam, (-1, 1, 1))
    prior = [ops.square(1.0 - lam), 2.0 * lam * (1.0 - lam), ops.square(lam)]
    costs = [
        (1.0 - z) * lost[0] + z * lost[1] - eta / size**2 * ops.log(probability + _TINY)
        for z, probability in zip((0.0, 0.5, 1.0), prior, strict=True)
    ]
    return Energy(ops.stack(costs, axis=3), *pairs)


def minimize(energy):
    """The shares (batch, rows, columns) in {0, 1/2, 1} of low energy.

    The relaxed problem is solved by turns for the black and the white blocks of a checkerboard, each exactly. Its
    solution, rounded in several ways, is where the same sweeps over the shares themselves start; the best result wins.
    """
    rows, columns = energy.costs.shape[1:3]
    start = 0.5 * ops.cast(ops.argmin(energy.costs, axis=3), "float32")
    relaxed = _sweep(start, energy.neighbors(), _relaxed_best(energy), RELAXED_SWEEPS)
    # Rounded at several thresholds; each block on its own; and the same share everywhere.
    starts = [0.5 * ops.floor(2.0 * relaxed + threshold) for threshold in (0.1, 0.3, 0.5, 0.7, 0.9)]
    starts += [start, *(ops.full_like(start, share) for share in (0.0, 0.5, 1.0))]
    many = Energy(*(ops.concatenate([part] * len(starts), axis=0) for part in energy))
    shares = _sweep(ops.concatenate(starts, axis=0), many.neighbors(), _best(many), SWEEPS)
    values = ops.reshape(many(shares), (len(starts), -1))
    best = ops.argmin(values, axis=0)[None, :, None, None]
    shares = ops.reshape(shares, (len(starts), -1, rows, columns))
    return ops.squeeze(ops.take_along_axis(shares, best, axis=0), 0)


def _sweep(shares, neighbors, best, times):
    """Replace the shares of the black and of the white blocks in turns by the best ones for the weighted sum around."""
    rows, columns = shares.shape[1:]
    parity = np.add.outer(np.arange(rows), np.arange(columns)) % 2

    def step(index, current):
        for color in (0, 1):
            padded = ops.pad(current, ((0, 0), (1, 1), (1, 1)))
            middle = padded[:, 1:-1], padded[:, :, 1:-1]
            around = middle[1][:, :-2], middle[1][:, 2:], middle[0][:, :, :-2], middle[0][:, :, 2:]
            weighted = ops.sum(neighbors * ops.stack(around, axis=3), axis=3, keepdims=True)
            current = ops.where(parity == color, best(weighted), current)
        return current

    return ops.fori_loop(0, times, step, shares)


def _relaxed_best(energy):
    """A function from the weighted sum of the neighbors to the share in [0, 1] that minimizes the relaxed energy."""
    weights = ops.maximum(ops.sum(energy.neighbors(), axis=3, keepdims=True), _TINY)
    # The cost is linear between 0 and 1/2 and between 1/2 and 1: half of its slopes.
    slopes = energy.costs[..., 1:] - energy.costs[..., :-1]
    low, high = np.array([0.0, 0.5], "float32"), np.array([0.5, 1.0], "float32")

    def best(weighted):
        # The second slope is the larger one: at most one of the two pieces is not at the end that they share.
        pieces = ops.minimum(ops.maximum((weighted - slopes) / weights, low), high)
        return ops.sum(pieces, axis=3) - 0.5

    return best


def _best(energy):
    """A function from the weighted sum of the neighbors to the share in {0, 1/2, 1} that minimizes the energy."""
    # A tensor: PyTorch cannot combine an array with one that is on a GPU.
    shares = ops.convert_to_tensor(np.array([0.0, 0.5, 1.0], "float32"))
    weights = ops.sum(energy.neighbors(), axis=3, keepdims=True)
    # sum_j W (z - z_j)^2 without the term that does not depend on z.
    costs = energy.costs + weights * ops.square(shares)

    def best(weighted):
        return 0.5 * ops.cast(ops.argmin(costs - weighted * (2.0 * shares), axis=3), "float32")

    return best


def normalize(saliency):
    """Saliency (batch, n, n) as shares of the whole; equal shares where it is 0 everywhere."""
    total = ops.sum(saliency, axis=(1, 2), keepdims=True)
    size = saliency.shape[1] * saliency.shape[2]
    return ops.where(total > 0.0, saliency / ops.where(total > 0.0, total, 1.0), 1.0 / size)


def _difference(first, second, axis, size):
    """Mean difference of two images across the borders of neighboring blocks along an axis."""
    cells = first.shape[1] // size
    if axis == 2:
        first, second = (ops.transpose(image, (0, 2, 1, 3)) for image in (first, second))
    # Row n k - 1 of each block, and row 0 of the next one.
    above = first[:, cells - 1 : -1 : cells]
    below = second[:, cells::cells]
    across = ops.mean(ops.abs(above - below), axis=3)
    across = ops.mean(ops.reshape(across, (-1, size - 1, size, cells)), axis=3)
    return across if axis == 1 else ops.transpose(across, (0, 2, 1))
