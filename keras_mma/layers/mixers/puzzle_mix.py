"""Puzzle Mix (Kim et al., ICML 2020)."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_mma import sampling
from keras_mma.backend import xla_compiled
from keras_mma.layers import arguments, masks, puzzle, transport
from keras_mma.layers.mixer import Mixer
from keras_mma.plans import take_partner
from keras_mma.resampling import resize
from keras_mma.saliency.image_processing import to_levels

#: Side in pixels of the cells that are averaged before the two sides of a border are compared.
_NEIGHBORHOOD = 4


@keras.saving.register_keras_serializable("keras_mma")
class PuzzleMix(Mixer):
    """Takes the blocks of a grid from the image in which they are salient, and keeps the mixed image smooth.

    With lam ~ Beta(alpha, alpha) for each sample, and n x n blocks with n drawn for each batch, the share z of each
    block in {0, 1/2, 1} minimizes, with s the saliency of a block as a share of the whole:

        E(z) = sum_i (1 - z_i) s_i + z_i s_partner_i - eta / n^2 log P(z_i | lam)
             + beta / (16 n) sum_ij ((z_i - z_j)^2 + gamma D_ij(z_i, z_j))
        P(1) = lam^2,    P(1/2) = 2 lam (1 - lam),    P(0) = (1 - lam)^2

    over neighboring blocks i, j, with D_ij the difference of the pixels at both sides of their border. With M the
    shares as a map:

        x~ = M x + (1 - M) x_partner,    y~ = mean(M) y + (1 - mean(M)) y_partner

    With `transport=True`, the blocks of both images are moved first. Place j of an image shows its block p_j, where the
    permutation p has a low sum of xi C(p_j, j), with C the squared distance of two blocks divided by (n - 1)^2, minus
    the saliency of the blocks at the places where M shows the image.

    Args:
        alpha: Parameter of the Beta distribution of lam, positive; 1 is the uniform distribution.
        grids: The values of n, of which each batch draws one, integers of at least 2.
        beta: Weight of the smoothness of z, not negative.
        gamma: Weight of the smoothness of the image, in [0, 1].
        eta: Weight of the prior, not negative.
        transport: Whether blocks are moved. A plan cannot describe this to feature sites, so that `sites` must be (0,).
        xi: Weight of the distance over which blocks are moved, positive.
        detector: As for `Mixer`. The paper uses the gradient of the loss; `"gradient"`, inside a `MixModel`, is that of
            the highest score, because labels do not reach a layer. `"fine_grained"`, the default, needs no network.
        **kwargs: Arguments of `Mixer`: `probability`, `sites`, `partner`, `seed`, ... See `Mixer` for the call.

    Raises:
        ValueError: If an argument is out of range, or `transport=True` is combined with feature sites.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.PuzzleMix(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - J.-H. Kim, W. Choo, H. O. Song, Puzzle Mix: exploiting saliency and local statistics for optimal mixup,
          ICML 2020, arXiv:2009.06962. The weights of the terms are those of the authors' code.
    """

    uses_saliency = True

    alpha = arguments.Adjustable(arguments.positive)

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        grids: Sequence[int] = (2, 4, 8, 16),
        beta: float = 1.2,
        gamma: float = 0.5,
        eta: float = 0.2,
        transport: bool = False,
        xi: float = 0.8,
        detector: str | Callable | None = "fine_grained",
        **kwargs: Any,
    ) -> None:
        super().__init__(detector=detector, **kwargs)
        self.alpha = alpha
        if not isinstance(grids, (list, tuple)) or not grids:
            raise ValueError(f"`grids` must be a list of integers. Received: grids={grids!r}")
        self.grids = tuple(arguments.integer("grids", grid, 2) for grid in grids)
        self.beta = arguments.non_negative("beta", beta)
        # Above 1, a pair of blocks could gain from different shares.
        self.gamma = arguments.fraction("gamma", gamma)
        self.eta = arguments.non_negative("eta", eta)
        self.xi = arguments.positive("xi", xi)
        self.transport = self.is_input_only = arguments.boolean("transport", transport)
        if self.transport and self.sites != (0,):
            raise ValueError(
                "`transport` must be False when `sites` has feature sites, because a plan cannot describe blocks that "
                f"move. Received: transport=True, sites={self.sites}"
            )

    def sample_mask(self, images, partner, maps):
        sizes = self.image_size(ops.shape(images))
        lam = sampling.beta((ops.shape(images)[0],), self.step_value("alpha"), self.seed_generator)
        grid = sampling.choice(tuple(range(len(self.grids))), None, self.seed_generator)
        images = images if self.data_format == "channels_last" else ops.transpose(images, (0, 2, 3, 1))

        def branch(size):
            # Cells of at least 4 pixels, where the size is known.
            known = min(side if isinstance(side, int) else 1 for side in sizes)
            cells = size * max(1, known // size // _NEIGHBORHOOD)
            weights = self.beta, self.gamma, self.eta

            def solve():
                blocks = shares(images, partner, maps, lam, size, cells, *weights)
                moves = moved_pixels(blocks, partner, maps, self.xi, *sizes) if self.transport else ()
                return resize(blocks, *sizes, "nearest"), *moves

            return solve

        branches = [branch(size) for size in self.grids]
        return masks.Dense(*(branches[0]() if len(branches) == 1 else ops.switch(grid, branches)))

    def get_config(self):
        names = ("alpha", "beta", "gamma", "eta", "transport", "xi")
        return {**super().get_config(), "grids": list(self.grids), **{name: getattr(self, name) for name in names}}


@xla_compiled
def shares(images, partner, maps, lam, grid, cells, beta, gamma, eta):
    """The shares of the blocks, float32 (batch, grid, grid, 1); `cells` is the side of the images that are compared."""
    images = resize(to_levels(images) / 255.0, cells, cells, "area")
    saliency = ops.squeeze(resize(maps, grid, grid, "area"), -1)
    pairs = saliency, take_partner(saliency, partner), images, take_partner(images, partner)
    return puzzle.minimize(puzzle.make_energy(*pairs, lam, beta, gamma, eta))[..., None]


@xla_compiled
def moved_pixels(shares, partner, maps, xi, height, width):
    """The pixels that are shown of the partner's image and of each sample's own, `source` and `own_source` of a mask.

    A block counts as shown wherever its share is not 0. A sample that is its own partner stays as it is.
    """
    size = shares.shape[1]
    saliency = puzzle.normalize(ops.squeeze(resize(maps, size, size, "area"), -1))
    is_shown = shares[..., 0] < 1.0, shares[..., 0] > 0.0
    pairs = ops.stack([take_partner(saliency, partner), saliency], 1), ops.cast(ops.stack(is_shown, 1), "float32")
    blocks = transport.assign(*(ops.reshape(pair, (-1, size**2)) for pair in pairs), xi)
    blocks = ops.reshape(blocks, (-1, 2, size**2))
    has_partner = ops.reshape(partner != ops.arange(ops.shape(partner)[0], dtype="int32"), (-1, 1, 1))
    blocks = ops.where(has_partner, blocks, ops.arange(size**2, dtype="int32"))
    return tuple(transport.pixels(blocks[:, image], height, width) for image in (0, 1))
