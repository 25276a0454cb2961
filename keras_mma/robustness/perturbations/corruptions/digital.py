"""Digital corruptions."""

import numpy as np

from keras_mma.robustness.perturbations.corruptions.registry import as_jpeg, corruption, from_levels

_IMAGENET_SIDE = 244 / 224  # ImageNet-C was made with 244 instead of the side of 224


@corruption(
    "digital",
    cifar=(0.75, 0.5, 0.4, 0.3, 0.15),
    tiny_imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
    imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
)
def contrast(images, rngs, factor):
    """Values move towards the mean of their channel."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return (images - means) * factor + means


@corruption(
    "digital",
    # shift, its sigma and the reach of the affine map, all as shares of the side
    cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    tiny_imagenet=((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    imagenet=tuple(
        tuple(share * _IMAGENET_SIDE for share in row)
        for row in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
)
def elastic_transform(images, rngs, shift, sigma, reach):
    """A random affine map of three points, then a smooth random displacement of each pixel."""
    import cv2
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = images.shape[1:3]
    side = min(height, width)
    shift, sigma, reach = shift * side, sigma * side, reach * side
    center, third = np.float32([width, height]) // 2, side // 3
    corners = np.float32([center + third, center + [third, -third], center - third])
    grid = np.mgrid[:height, :width]
    images = images.astype("float32")
    changed = np.empty_like(images)
    for image, rng, out in zip(images, rngs, changed, strict=True):
        moved = corners + rng.uniform(-reach, reach, (3, 2)).astype("float32")
        matrix = cv2.getAffineTransform(corners, moved)
        warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        warped = warped.reshape(image.shape)
        drawn = rng.uniform(-1, 1, (2, height, width))
        moves = [shift * gaussian_filter(part, sigma, mode="reflect", truncate=3) for part in drawn]
        places = grid + np.float32(moves)
        for channel in range(image.shape[-1]):
            out[..., channel] = map_coordinates(warped[..., channel], places, order=1, mode="reflect")
    return changed


@corruption(
    "digital",
    cifar=(0.95, 0.9, 0.85, 0.75, 0.65),
    tiny_imagenet=(0.9, 0.8, 0.7, 0.6, 0.5),
    imagenet=(0.6, 0.5, 0.4, 0.3, 0.25),
)
def pixelate(images, rngs, share):
    """Downsample to a share of the side and upsample again, with box filters."""
    from PIL import Image

    height, width = images.shape[1:3]
    small = max(1, int(width * share)), max(1, int(height * share))

    def change(image):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return picture.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)

    return _of_levels(images, change)


@corruption("digital", cifar=(80, 65, 58, 50, 40), tiny_imagenet=(65, 58, 50, 40, 25), imagenet=(25, 18, 15, 10, 7))
def jpeg_compression(images, rngs, quality):
    """Encode as JPEG with a quality from 1 to 100, and decode."""
    return _of_levels(images, lambda image: as_jpeg(image, quality))


def _of_levels(images, change):
    """Apply a function to each image, as uint8 (height, width, channels)."""
    levels = np.rint(images * 255).astype("uint8")
    return from_levels(np.stack([np.asarray(change(image)).reshape(image.shape) for image in levels]))
