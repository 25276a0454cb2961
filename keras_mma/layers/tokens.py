"""Token sequences of vision transformers: patches on a grid, row by row, after some tokens of no place."""

from keras import ops

#: How many tokens of no place stand before the patches: none, a class token, one for distillation too, four registers.
PREFIX_TOKENS = (0, 1, 2, 4, 5)
#: With a grid that is given, no network has more.
MOST_PREFIX_TOKENS = 8


def find_grid(tokens, height, width):
    """The grid of square patches that makes a sequence of so many tokens from an image.

    Args:
        tokens: Number of tokens, those before the patches included.
        height, width: Of the image, in pixels.

    Returns:
        `(rows, columns)` for the fewest tokens before the patches, or `None` if no grid of square patches fits.
    """
    if None in (tokens, height, width):
        return None
    grids = {}
    patches = range(1, min(height, width) + 1)
    # Patches that fit come first; then those that leave a rest, which is dropped or padded.
    fitting = [size for size in patches if height % size == 0 and width % size == 0]
    for size in (*fitting, *patches):
        for rows, columns in ((height // size, width // size), (-(-height // size), -(-width // size))):
            grids.setdefault(rows * columns, (rows, columns))
    return next((grids[tokens - prefix] for prefix in PREFIX_TOKENS if tokens - prefix in grids), None)


def to_maps(features, grid):
    """The patches' tokens as maps.

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
    """A mask of maps as one of tokens: what stands before the patches is mixed by the mask's mean.

    Args:
        mask: Tensor (batch, rows, columns, 1).
        tokens: Number of tokens, those before the patches included.

    Returns:
        A tensor (batch, tokens, 1).
    """
    rows, columns = mask.shape[1:3]
    patches = ops.reshape(mask, (-1, rows * columns, 1))
    prefix = ops.repeat(ops.mean(patches, axis=1, keepdims=True), tokens - rows * columns, axis=1)
    return ops.concatenate([prefix, patches], axis=1)
