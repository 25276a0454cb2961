"""The formulas as plain Python loops over samples and pixels, in float64. They share no code with the package."""

import math

import numpy as np


def mix(images, plan):
    """mask x + (1 - mask) x_partner, pixel by pixel."""
    mixed = np.empty(images.shape, "float64")
    for sample, partner in enumerate(plan["partner"]):
        for y in range(images.shape[1]):
            for x in range(images.shape[2]):
                own = float(plan["mask"][sample, y, x, 0])
                mixed[sample, y, x] = own * images[sample, y, x].astype("float64") + (1 - own) * images[partner, y, x]
    return mixed


def mix_labels(labels, plan):
    """weight y + (1 - weight) y_partner, sample by sample."""
    mixed = np.empty(labels.shape, "float64")
    for sample, partner in enumerate(plan["partner"]):
        weight = float(plan["weight"][sample])
        mixed[sample] = weight * labels[sample].astype("float64") + (1 - weight) * labels[partner]
    return mixed


def box(lam, pixel, height, width, border):
    """The box around a pixel: (top, bottom), (left, right), the ends exclusive."""
    bounds = []
    for center, size in zip(pixel, (height, width), strict=True):
        length = int(math.floor(size * math.sqrt(1 - lam)))
        start, end = center - length // 2, center - length // 2 + length
        if border == "clip":
            end = center + length // 2
            start, end = max(start, 0), min(end, size)
        elif start < 0:
            start, end = 0, length
        elif end > size:
            start, end = size - length, size
        bounds.append((start, end))
    return bounds


def fine_grained(gray):
    """The detector of Montabone and Soto, window by window, of a blurred integer gray image (height, width)."""
    height, width = gray.shape
    on, off = np.zeros((height, width), int), np.zeros((height, width), int)
    for window in (12, 24, 48, 28, 56, 112):
        for y in range(height):
            for x in range(width):
                patch = gray[max(y - window + 1, 0) : y + window + 1, max(x - window + 1, 0) : x + window + 1].astype(
                    int
                )
                center = int(gray[y, x])
                total, others = int(patch.sum()) - center, patch.size - 1
                # The floors of g - m and m - g, in integers.
                on[y, x] += max(center * others - total, 0) // others
                off[y, x] += max(total - center * others, 0) // others
    both = np.minimum(_levels(on) + _levels(off), 255)
    return _levels(both) / 255


def _levels(values):
    return np.floor(255.0 * values / values.max()).astype(int) if values.max() else values


def area_pool(mask, height, width):
    """Mean of the source under each target pixel, weighted by the area of overlap."""
    source_height, source_width = mask.shape
    pooled = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            top, bottom = i * source_height / height, (i + 1) * source_height / height
            left, right = j * source_width / width, (j + 1) * source_width / width
            total = 0.0
            for y in range(int(top), math.ceil(bottom)):
                for x in range(int(left), math.ceil(right)):
                    overlap_y = max(0.0, min(bottom, y + 1) - max(top, y))
                    overlap_x = max(0.0, min(right, x + 1) - max(left, x))
                    total += overlap_y * overlap_x * mask[y, x]
            pooled[i, j] = total / ((bottom - top) * (right - left))
    return pooled


def adapt(
    features,
    plan,
    temperature=0.5,
    attention=True,
    attention_spread=1,
    combine="add",
    preserve_ratio=None,
    edge_blur=None,
    smooth=True,
):
    """The mask of MMA, pixel by pixel, for features of shape (batch, height, width, channels)."""
    from scipy import ndimage, optimize

    edge_blur = int(smooth) if edge_blur is None else edge_blur
    preserve_ratio = smooth if preserve_ratio is None else preserve_ratio
    size, height, width, channels = features.shape
    maps = np.ones((size, height, width))
    for sample in range(size):
        for y in range(height):
            for x in range(width):
                maps[sample, y, x] = sum(abs(float(v)) for v in features[sample, y, x]) / channels
        maps[sample] /= maps[sample].sum() / (height * width)
        if attention_spread is not None and height * width > 1:
            maps[sample] = np.maximum(1 + attention_spread * (maps[sample] - 1) / maps[sample].std(), 0)
    adapted = np.empty((size, height, width, 1))
    for sample, partner in enumerate(plan["partner"]):
        mask = plan["mask"][sample, :, :, 0].astype("float64")
        pooled = area_pool(mask, height, width)
        if edge_blur:
            pooled = ndimage.gaussian_filter(pooled, edge_blur, mode="nearest", truncate=3)
        for y in range(height):
            for x in range(width):
                m, own, other = pooled[y, x], maps[sample, y, x], maps[partner, y, x]
                if not attention:
                    a, b = m, 1 - m
                elif combine == "multiply":
                    a, b = m * own, (1 - m) * other
                else:
                    a, b = m + own, 1 - m + other
                adapted[sample, y, x, 0] = (a - b) / temperature if smooth else a / (a + b)
        if smooth:
            logits, shift = adapted[sample], 0
            if preserve_ratio and 0 < pooled.mean() < 1:
                shift = optimize.brentq(
                    lambda s, z=logits, p=pooled: (1 / (1 + np.exp(-z - s))).mean() - p.mean(), -99, 99
                )
            adapted[sample] = 1 / (1 + np.exp(-logits - shift))
        if (mask == 1).all():
            adapted[sample] = 1
    return adapted


def graft(own, partner, rate, noise, temperature, threshold, norm):
    """Mask (height, width) and weight of Saliency Grafting for one sample.

    `own` and `partner` are saliency maps (height, width); `noise` is (grid, grid).
    """
    height, width = own.shape
    grid = noise.shape[0]
    pooled = area_pool(partner, grid, grid)
    mean = pooled.sum() / grid**2
    exponentials = [[math.exp(pooled[i, j] / (temperature * mean)) for j in range(grid)] for i in range(grid)]
    total = sum(map(sum, exponentials))
    candidates = {(i, j) for i in range(grid) for j in range(grid) if exponentials[i][j] / total > threshold}
    candidates = candidates or {(i, j) for i in range(grid) for j in range(grid)}
    mask = np.ones((height, width))
    for y in range(height):
        for x in range(width):
            cell = int((y + 0.5) * grid / height), int((x + 0.5) * grid / width)
            if cell in candidates and noise[cell] < rate:
                mask[y, x] = 0

    def influence(saliency, region):
        def length(values):
            return sum(abs(v) ** norm for v in values) ** (1 / norm)

        return length(s * r for s, r in zip(saliency.ravel(), region.ravel(), strict=True)) / length(saliency.ravel())

    kept, pasted = influence(own, mask), influence(partner, 1 - mask)
    return mask, kept / (kept + pasted)


def farthest_cycle(distance, start):
    """Greedy pairing: each sample is followed by the farthest of those left; the last is followed by the first."""
    left, current, partner = set(range(len(distance))) - {start}, start, {}
    while left:
        following = max(left, key=lambda sample: distance[current][sample])
        partner[current] = following
        left.remove(following)
        current = following
    partner[current] = start
    return [partner[sample] for sample in range(len(distance))]


def blur(values, weights, pad):
    """Filter a 2-D array along both axes, weight by weight; `pad` is a mode of `np.pad`."""
    radius = len(weights) // 2
    for axis in (0, 1):
        padded = np.pad(values, [(radius, radius) if other == axis else (0, 0) for other in (0, 1)], mode=pad)
        length = values.shape[axis]
        taps = [np.take(padded, range(offset, offset + length), axis=axis) for offset in range(len(weights))]
        values = sum(weight * tap for weight, tap in zip(weights, taps, strict=True))
    return values


def gaussian(length, sigma):
    """Weights of a Gaussian along one axis."""
    weights = np.exp(-0.5 * ((np.arange(length) - length // 2) / sigma) ** 2)
    return weights / weights.sum()


def published_spectral_residual(gray):
    """The spectral residual of the authors of GuidedMixup: at full resolution, not squared, with a 7 x 7 blur."""
    spectrum = np.fft.fft2(gray.astype("float64"))
    amplitude = np.abs(spectrum)
    residual = np.log(amplitude) - blur(np.log(amplitude), [1 / 3] * 3, "edge")
    return blur(np.abs(np.fft.ifft2(spectrum / amplitude * np.exp(residual))), gaussian(7, 3.0), "reflect")
