"""Token sequences of vision transformers: patch tokens in row-major order, preceded by non-spatial tokens."""

from keras import ops

#: Numbers of non-spatial tokens before the patches: none, class, class and distillation, four registers without or with
#: a class token.
PREFIX_TOKENS = (0, 1, 2, 4, 5)
#: Largest number of non-spatial tokens that is accepted with an explicit grid.
MAX_PREFIX_TOKENS = 8


def find_grid(tokens, height, width):
    """The grid of square patches that splits an image into a sequence of this length.

    Args:
        tokens: Number of tokens, including those before the patches.
        height, width: Size of the image in pixels.

    Returns:
        `(rows, columns)` with the fewest tokens before the patches, or `None` if no grid of square patches fits.
    """
    if None in (tokens, height, width):
        return None
    grids = {}
    patches = range(1, min(height, width) + 1)
    # Patches that divide the image come first; the others are cropped or padded at the border.
    dividing = [size for size in patches if height % size == 0 and width % size == 0]
    for size in (*dividing, *patches):
        for rows, columns in ((height // size, width // size), (-(-height // size), -(-width // size))):
            grids.setdefault(rows * columns, (rows, columns))
    return next((grids[tokens - prefix] for prefix in PREFIX_TOKENS if tokens - prefix in grids), None)


def to_maps(features, grid):
    """The patch tokens as feature maps.

    Args:
        features: Tensor (batch, tokens, channels).
        grid: `(rows, columns)`.

    Returns:
        A tensor (batch, rows, columns, channels).
    """
    rows, columns = grid
    patches = features[:, features.shape[1] - rows * columns :]
    return ops.reshape(patches, (-1, rows, columns, features.shape[2]))


def to_sequence(mask, tokens):
    """A mask of feature maps as a mask of tokens: tokens before the patches get the mean of the mask.

    Args:
        mask: Tensor (batch, rows, columns, 1), or (batch, 1, 1, channels) for a mask over channels.
        tokens: Number of tokens, including those before the patches.

    Returns:
        A tensor (batch, tokens, 1), or (batch, 1, channels).
    """
    rows, columns, channels = mask.shape[1:]
    patches = ops.reshape(mask, (-1, rows * columns, channels))
    if rows * columns == 1 and tokens > 1:
        return patches
    prefix = ops.repeat(ops.mean(patches, axis=1, keepdims=True), tokens - rows * columns, axis=1)
    return ops.concatenate([prefix, patches], axis=1)
