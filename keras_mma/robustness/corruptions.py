"""Fourteen of Hendrycks & Dietterich's fifteen corruptions, made anew on any images.

Each function takes float64 images (batch, height, width, channels) in [0, 1], one random generator for each image and
the parameters of a severity, and returns images of the same shape, which `corrupt` clips and turns into bytes.
"""

import io

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness.draws import generators
from keras_mma.robustness.severities import REGENERATED, SEVERITIES, parameters
from keras_mma.robustness.textures import blur_along, clipped_zoom, plasma


def corrupt(images, name, severity, seed=0, indices=None):
    """Corrupt images as Hendrycks & Dietterich do, seeded for each image.

    Args:
        images: Uint8 images (batch, height, width, channels) of 1 or 3 channels. Up to 32 pixels the severities are
            those of CIFAR-10-C, above those of ImageNet-C.
        name: One of `severities.REGENERATED`: all corruptions but frost, which needs files with textures.
        severity: 1 to 5.
        seed: Int from 0.
        indices: Numbers of the images in their data set, which choose their random numbers; 0 to batch - 1 by default.

    Returns:
        Uint8 images of the same shape, cut off to whole levels as the published files are.

    Raises:
        InputError: if there is no such corruption or severity, or the images are of another form.

    Example:

    >>> from keras_mma.robustness.corruptions import corrupt
    >>> images = np.random.randint(0, 256, (2, 32, 32, 3), "uint8")
    >>> corrupt(images, "fog", severity=3, seed=1).shape
    (2, 32, 32, 3)

    References:
        - D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
          ICLR 2019, arXiv:1903.12261.
    """
    if name not in REGENERATED or severity not in SEVERITIES:
        raise InputError(
            f"`name` must be one of {', '.join(REGENERATED)} and `severity` 1 to 5. Received: {name!r}, {severity!r}"
        )
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(
            "corruptions take uint8 images (batch, height, width, channels) of 1 or 3 channels. Received: "
            f"{images.dtype} {images.shape}"
        )
    indices = range(len(images)) if indices is None else indices
    rngs = generators(seed, f"corruption/{name}/{severity}", indices)
    changed = globals()[name](images / 255.0, rngs, *parameters(name, severity, *images.shape[1:3]))
    return (np.clip(changed, 0, 1) * 255).astype("uint8")


def gaussian_noise(images, rngs, sigma):
    """x + n, n ~ N(0, sigma²) for each value."""
    return images + sigma * _draw(rngs, lambda rng: rng.normal(size=images.shape[1:]))


def shot_noise(images, rngs, photons):
    """Poisson(photons x) / photons."""
    return np.stack([rng.poisson(image * photons) for image, rng in zip(images, rngs, strict=True)]) / photons


def impulse_noise(images, rngs, share):
    """A share of the values is black or white, each as often."""
    drawn = _draw(rngs, lambda rng: rng.random((2, *images.shape[1:])))
    return np.where(drawn[:, 0] < share, (drawn[:, 1] < 0.5).astype("float64"), images)


def defocus_blur(images, rngs, radius, sigma):
    """The mean over a disk, whose rim is smoothed."""
    import cv2

    reach = 8 if radius <= 8 else radius
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype("float32")
    side = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (side, side), sigmaX=sigma)
    return np.stack([cv2.filter2D(image, -1, kernel).reshape(image.shape) for image in images])


def glass_blur(images, rngs, sigma, reach, rounds):
    """Pixels taken from a neighbour in turn, from the last to the first, between two blurs.

    As in the published files a pixel takes its neighbour's value and the neighbour keeps it: the two are not exchanged.
    """
    height, width = images.shape[1:3]
    pixels = np.floor(_gaussian(images, sigma) * 255)
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    steps = _draw(rngs, lambda rng: rng.integers(-reach, reach, (rounds, len(rows), len(columns), 2)))
    each = np.arange(len(images))
    for turn in range(rounds):
        for i, y in enumerate(rows):
            for j, x in enumerate(columns):
                step = steps[:, turn, i, j]
                pixels[:, y, x] = pixels[each, y + step[:, 1], x + step[:, 0]]
    return _gaussian(pixels / 255, sigma)


def motion_blur(images, rngs, radius, sigma):
    """A one-sided Gaussian along a direction between -45° and 45°."""
    angles = [rng.uniform(-45, 45) for rng in rngs]
    return np.stack([blur_along(image, radius, sigma, angle) for image, angle in zip(images, angles, strict=True)])


def zoom_blur(images, rngs, end, step):
    """The mean of the image and of its zooms by 1, 1 + step, ... to the end."""
    factors = np.arange(1, end, step)
    return (images + sum(clipped_zoom(images, factor) for factor in factors)) / (len(factors) + 1)


def snow(images, rngs, mean, sigma, zoom, threshold, radius, blur_sigma, own):
    """Flakes of thresholded noise, blown about, added twice over a whitened image."""
    import cv2

    height, width, channels = images.shape[1:]
    layers = clipped_zoom(_draw(rngs, lambda rng: rng.normal(mean, sigma, (height, width)))[..., None], zoom)[..., 0]
    layers = np.floor(np.clip(np.where(layers < threshold, 0, layers), 0, 1) * 255)
    angles = [rng.uniform(-135, -45) for rng in rngs]
    blown = [blur_along(layer, radius, blur_sigma, angle) for layer, angle in zip(layers, angles, strict=True)]
    flakes = np.rint(np.stack(blown))[..., None] / 255
    if channels == 3:
        stacked = images.astype("float32").reshape(-1, width, 3)
        gray = cv2.cvtColor(stacked, cv2.COLOR_RGB2GRAY).reshape(-1, height, width, 1)
    else:
        gray = images
    whitened = own * images + (1 - own) * np.maximum(images, gray * 1.5 + 0.5)
    return whitened + flakes + flakes[:, ::-1, ::-1]


def fog(images, rngs, strength, decay):
    """A plasma fractal is added, and the image's brightest value kept."""
    height, width = images.shape[1:3]
    side = 2 ** int(np.ceil(np.log2(max(height, width))))
    noise = _draw(rngs, lambda rng: rng.uniform(-1, 1, (side, side)))
    clouds = plasma(noise, decay)[:, :height, :width, None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    return (images + strength * clouds) * brightest / (brightest + strength)


def brightness(images, rngs, shift):
    """The V of HSV is raised."""
    import cv2

    if images.shape[-1] == 1:
        return np.minimum(images + shift, 1)
    stacked = images.astype("float32").reshape(-1, images.shape[2], 3)
    hsv = cv2.cvtColor(stacked, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + shift, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(images.shape).astype("float64")


def contrast(images, rngs, factor):
    """Values are drawn towards the mean of their channel."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return (images - means) * factor + means


def elastic_transform(images, rngs, shift, sigma, reach):
    """A random affine map of three points, then a smooth random displacement of each pixel."""
    import cv2
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = images.shape[1:3]
    side = min(height, width)
    shift, sigma, reach = shift * side, sigma * side, reach * side
    centre, third = np.float32([width, height]) // 2, side // 3
    corners = np.float32([centre + third, centre + [third, -third], centre - third])
    grid = np.mgrid[:height, :width]
    changed = np.empty_like(images)
    for image, rng, out in zip(images, rngs, changed, strict=True):
        moved = corners + rng.uniform(-reach, reach, (3, 2)).astype("float32")
        matrix = cv2.getAffineTransform(corners, moved)
        warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        warped = warped.reshape(image.shape)
        drawn = rng.uniform(-1, 1, (2, height, width))
        moves = [shift * gaussian_filter(part, sigma, mode="reflect", truncate=3) for part in drawn]
        for channel in range(image.shape[-1]):
            out[..., channel] = map_coordinates(warped[..., channel], grid + moves, order=1, mode="reflect")
    return changed


def pixelate(images, rngs, share):
    """Box-shrunk and box-enlarged."""
    from PIL import Image

    height, width = images.shape[1:3]
    small = max(1, int(width * share)), max(1, int(height * share))

    def change(picture):
        return picture.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)

    return _by_pillow(images, change)


def jpeg_compression(images, rngs, quality):
    """Written as JPEG of a quality and read again."""
    from PIL import Image

    def change(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _by_pillow(images, change)


def _by_pillow(images, change):
    from PIL import Image

    changed = []
    for image in np.rint(images * 255).astype("uint8"):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        changed.append(np.asarray(change(picture)).reshape(image.shape))
    # A quarter of a level more, so that cutting off to whole levels gives back these.
    return (np.stack(changed) + 0.25) / 255


def _draw(rngs, draw):
    """Draw everything random of a batch at once, each image from its own generator."""
    return np.stack([draw(rng) for rng in rngs])


def _gaussian(images, sigma):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest", truncate=4)
