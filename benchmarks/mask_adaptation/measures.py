"""Measures of an adapted mask, as pure NumPy functions. Maps are float arrays (batch, height, width).

M is the adapted mask and m the mixer's mask at the resolution of the features. A cell is on the own side where m is 1
and on the partner's side where m is 0; in between, the edge of m crosses the cell.
"""

import numpy as np

# Fewer cells have no meaningful correlation.
_FEWEST_CELLS = 3
# Values that differ by less are constant: float32 rounds at this level.
_CONSTANT = 1e-6


def correlation(x, y, where=None):
    """Pearson correlation over the cells of each sample.

    Args:
        x, y: Maps.
        where: Booleans of the same shape, the cells that count; all by default.

    Returns:
        Array (batch,). It is 0 where x is constant, because x says nothing about y, and NaN where y is constant or
        fewer than three cells count.
    """
    where = np.ones(x.shape, bool) if where is None else where
    values = np.full(len(x), np.nan)
    for sample, cells in enumerate(where):
        a, b = x[sample][cells].astype("float64"), y[sample][cells].astype("float64")
        if len(a) < _FEWEST_CELLS or np.ptp(b) < _CONSTANT:
            continue
        values[sample] = 0.0 if np.ptp(a) < _CONSTANT else np.corrcoef(a, b)[0, 1]
    return values


def deviation(x, where):
    """Standard deviation over the cells that count, of each sample (batch,); NaN where no cell counts."""
    count = where.sum((1, 2))
    total = np.where(count > 0, count, np.nan)
    mean = (x * where).sum((1, 2)) / total
    return np.sqrt((np.square(x - np.nan_to_num(mean)[:, None, None]) * where).sum((1, 2)) / total)


def jump(mask, side):
    """Difference of the mask across the edge, between the own side and the partner's side.

    Args:
        mask: M.
        side: Integers, 1 on the own side, -1 on the partner's side, 0 where the edge crosses the cell.

    Returns:
        Two arrays (batch,): the sum over all pairs of cells of different sides that are neighbors in a row or a column,
        or have a single cell that the edge crosses between them; and the number of these pairs. For a hard mask, each
        difference is 1.
    """
    total, count = np.zeros(len(mask)), np.zeros(len(mask), int)
    for axis in (1, 2):
        values, sides = np.moveaxis(mask, axis, 2), np.moveaxis(side, axis, 2)
        for distance in (1, 2):
            first, second = sides[..., :-distance], sides[..., distance:]
            is_pair = first * second == -1
            if distance == 2:
                is_pair &= sides[..., 1:-1] == 0
            difference = (values[..., distance:] - values[..., :-distance]) * second
            total += (difference * is_pair).sum((1, 2))
            count += is_pair.sum((1, 2))
    return total, count


def neighbor_differences(mask):
    """How hard the mask is anywhere, not only where the mixer's mask has its edge.

    Returns:
        Two arrays (batch,), over the pairs of cells that are neighbors in a row or a column: the mean absolute
        difference, and the share of pairs that differ by more than 1/2.
    """
    pairs = [np.abs(np.diff(mask, axis=axis)).reshape(len(mask), -1) for axis in (1, 2)]
    differences = np.concatenate(pairs, axis=1)
    return differences.mean(1), (differences > 0.5).mean(1)


def near_edge(own):
    """Cells within one cell of the edge.

    Args:
        own: Booleans, true where most of the cell belongs to the own side.

    Returns:
        Booleans, true for the cells of which one of the eight neighbors differs.
    """
    padded = np.pad(own, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = own.shape[1:]
    shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.any([other != own for other in shifted], axis=0)


def soft_share(mask):
    """Share of cells of each sample (batch,) that are neither one image nor the other: 0.1 < M < 0.9."""
    return ((mask > 0.1) & (mask < 0.9)).mean((1, 2))


def distortion(mixed, own, partner, mask):
    """How far a block's output for mixed features is from the mixture of its outputs.

        mean_c |G(mixed) - (M G(own) + (1 - M) G(partner))|

    Args:
        mixed, own, partner: Outputs of the block G, (batch, height, width, channels).
        mask: M at their resolution.

    Returns:
        Maps.
    """
    mask = mask[..., None]
    return np.abs(mixed - (mask * own + (1.0 - mask) * partner)).mean(-1)
