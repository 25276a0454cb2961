"""The base of the layers that mix features at a site inside the network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mma import plans, resampling
from keras_mma.layers import arguments, tokens


class FeatureMixer(keras.layers.Layer):
    """Base of the layers that mix features by the plan.

    A subclass implements `sample_mask(features, plan)`. The base decides whether the site fires, takes the features of
    the partners, keeps unmixed samples exactly as they are, handles token sequences and data formats, and updates the
    plan. Only the layer of the site that was drawn for the step computes anything; outside training, no layer does.

    Args:
        site: The site of this mixing point, a positive integer. The mixer's `sites` must include it.
        label: `"adapted"`: the labels follow the mean of this layer's mask. `"mixer"`: they keep the mixer's weight.
        grid: Rows and columns of the patches, for features that are a token sequence of a vision transformer; by
            default those of the square patches that fit the image. Tokens before the patches (class, registers) are
            mixed by the mean of the mask.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        features: Float tensor (batch, height, width, channels), or channels first; or a token sequence
            (batch, tokens, channels) that ends with the patches in row-major order.
        plan: The plan of the mixer, or of the previous feature mixer.
        training: Whether to mix; by default only inside the training of a model.

    Returns:
        `(features, plan)`: the features with the same shape and dtype, and the plan with the `weight` and the `mask`
        that labels follow from here on. If the site fires, they are those of this layer's mask, at the size of the
        images; a mask over channels becomes its mean everywhere. With `label="mixer"` they are the mixer's.

    Raises:
        ValueError: If an argument is out of range, the features have another rank, no grid fits a token sequence, or
            the plan is not a plan for the same batch.
    """

    def __init__(
        self,
        site: int,
        *,
        label: str = "adapted",
        grid: Sequence[int] | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.site = arguments.integer("site", site, 1)
        self.label = arguments.choice("label", label, ("adapted", "mixer"))
        self.grid = None if grid is None else arguments.size("grid", grid)
        self.data_format = arguments.data_format(data_format)

    def sample_mask(self, features, plan):
        """Compute the share of its own features that each sample keeps.

        Args:
            features: Float tensor (batch, height, width, channels), also for token sequences and channels first.
            plan: The plan.

        Returns:
            A float32 tensor in [0, 1] of shape (batch, height, width, 1), or (batch, 1, 1, channels) for a mask over
            channels.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `sample_mask(features, plan)`.")

    def call(self, features: Any, plan: Any, training: bool | None = None) -> Any:
        self._check(features, plan)
        if not training:
            return features, plan

        def mix():
            mask = self.mask(features, plan)
            weight = ops.mean(mask, axis=(1, 2, 3)) if self.label == "adapted" else plan["weight"]
            partner = plans.active_partner(plan["partner"], plans.find_unmixed(plan["mask"]))
            partner_features = plans.take_partner(features, partner)
            # Otherwise TensorFlow differentiates how the mask is repeated and resized, which XLA cannot compile.
            mixed = plans.blend(features, partner_features, ops.stop_gradient(self._like_features(mask, features)))
            return mixed, *map(ops.stop_gradient, (weight, self._mask_of_images(mask, weight, plan)))

        features, weight, mask = ops.cond(
            plan["site"] == self.site, mix, lambda: (features, plan["weight"], plan["mask"])
        )
        return features, {**plan, "weight": weight, "mask": mask}

    def mask(self, features, plan):
        """The mask by which these features are mixed.

        Args:
            features: As for `call`.
            plan: The plan.

        Returns:
            The mask of `sample_mask`, without gradient, 1 everywhere for unmixed samples. For a token sequence, its
            height and width are those of the grid.
        """
        features = self.to_maps(features, plan)
        is_unmixed = ops.reshape(plans.find_unmixed(plan["mask"]), (-1, 1, 1, 1))
        return ops.stop_gradient(ops.where(is_unmixed, 1.0, self.sample_mask(features, plan)))

    def to_maps(self, features, plan):
        """Features as maps (batch, height, width, channels); the grid of tokens may depend on the images' size."""
        if len(features.shape) == 3:
            return tokens.to_maps(features, self._grid_of(features, plan))
        return features if self.data_format == "channels_last" else ops.transpose(features, (0, 2, 3, 1))

    def compute_output_spec(self, features, plan, training=None):
        self._check(features, plan)
        spec = {key: keras.KerasTensor(plan[key].shape, plan[key].dtype) for key in plans.KEYS}
        return keras.KerasTensor(features.shape, features.dtype), spec

    def get_config(self):
        return {
            **super().get_config(),
            "site": self.site,
            "label": self.label,
            "grid": None if self.grid is None else list(self.grid),
            "data_format": self.data_format,
        }

    def _like_features(self, mask, features):
        """The mask in the layout of the features."""
        if len(features.shape) == 3:
            return tokens.to_sequence(mask, features.shape[1])
        return mask if self.data_format == "channels_last" else ops.transpose(mask, (0, 3, 1, 2))

    def _mask_of_images(self, mask, weight, plan):
        """The mask at the size of the images, for labels that are maps."""
        height, width = ops.shape(plan["mask"])[1:3]
        if self.label != "adapted":
            return plan["mask"]
        if mask.shape[-1] != 1:  # over channels
            return ops.broadcast_to(ops.reshape(weight, (-1, 1, 1, 1)), (ops.shape(weight)[0], height, width, 1))
        return resampling.resize_mask(mask, height, width)

    def _grid_of(self, features, plan):
        size = plan["mask"].shape[1:3]
        grid = self.grid or tokens.find_grid(features.shape[1], *size)
        count = features.shape[1]
        if grid is None or count is None or not 0 <= count - grid[0] * grid[1] <= tokens.MAX_PREFIX_TOKENS:
            raise ValueError(
                "`grid` must be the rows and columns of the patches of a token sequence, preceded by at most "
                f"{tokens.MAX_PREFIX_TOKENS} other tokens; by default, square patches of the images, of size "
                f"{tuple(size)} here. Received: grid={self.grid}, features of shape {tuple(features.shape)}"
            )
        return grid

    def _check(self, features, plan):
        if len(features.shape) not in (3, 4):
            raise ValueError(
                f"`features` must be a batch of maps of rank 4 ({self.data_format}) or of token sequences of rank 3. "
                f"Received: shape {tuple(features.shape)}"
            )
        plans.check(plan, features.shape[0])
        if len(features.shape) == 3:
            self._grid_of(features, plan)
