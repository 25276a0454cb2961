"""A layer that mixes a further input of a model as its images are mixed."""

import functools
from typing import Any

import keras
from keras import ops

from keras_mma import plans, resampling
from keras_mma.layers import arguments


@keras.saving.register_keras_serializable("keras_mma")
class FollowPlan(keras.layers.Layer):
    """Mixes a further input of a model by the plan that its images follow.

    With w the plan's weight and m its mask, at the size of the maps:

        o~ = w o + (1 - w) o_partner    for vectors and sequences
        o~ = m o + (1 - m) o_partner    for maps (batch, height, width, channels)

    Call it with the plan that applies where the input joins the features; a mixing point after that place mixes both.
    Inside a `MixModel`, the layer therefore mixes only in steps in which an earlier site fires. Called by itself, it
    always follows the plan. Outside training, it is the identity. A Keras mask of a sequence stays that of the sample,
    also where the partner has more steps.

    Args:
        data_format: Layout of maps, `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        other: Float tensor (batch,), (batch, features) or (batch, steps, features); or maps
            (batch, height, width, channels), such as a second view, of any integer or float dtype. `None` if the
            input is optional and absent from the batch.
        plan: The plan of the mixer, or of the last `FeatureMixAdapt` in front of the place where the input is used.
        training: Whether to mix; by default only inside the training of a model.

    Returns:
        A tensor like `other`, or `None`.

    Raises:
        ValueError: If `other` has an unsupported rank or a different number of samples than the plan, or holds integers
            but is not a map; or if `plan` is not a plan. `MixModel` raises if the mixer moves the partner's image and
            `other` is a map, because the plan does not say where to.

    Example:

    >>> images, age = keras.Input((16, 16, 3)), keras.Input((1,), name="age")
    >>> x, plan = keras_mma.layers.CutMix()(images)
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(x))
    >>> x = keras.layers.Concatenate()([x, keras_mma.layers.FollowPlan()(age, plan)])
    >>> model = keras_mma.MixModel([images, age], (keras.layers.Dense(4)(x), plan))

    References:
        - H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018, arXiv:1710.09412, equation 2: all of a
          sample is mixed by one share.
    """

    def __init__(self, *, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.data_format = arguments.data_format(data_format)
        self.supports_masking = True
        # Set by a `MixModel` whenever it is built: the sites in front of this layer. `None` stands for all.
        self.sites: tuple[int, ...] | None = None

    def call(self, other: Any, plan: Any, training: bool | None = None) -> Any:
        if other is None:
            return None
        self._check(other, plan)
        if not training:
            return other

        def mix():
            partner = plans.take_partner(other, plan["partner"])
            return plans.blend(other, partner, self._share(other, plan))

        if self.sites is None:
            return mix()
        is_in_front = functools.reduce(ops.logical_or, [plan["site"] == site for site in self.sites])
        return ops.cond(is_in_front, mix, lambda: other)

    def compute_output_spec(self, other, plan, training=None):
        if other is None:
            return None
        self._check(other, plan)
        return keras.KerasTensor(other.shape, other.dtype)

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}

    def _share(self, other, plan):
        """The share of its own values that each location keeps, in a shape that broadcasts to the tensor."""
        if len(other.shape) != 4:
            return ops.reshape(plan["weight"], [-1] + [1] * (len(other.shape) - 1))
        is_last = self.data_format == "channels_last"
        height, width = ops.shape(other)[1:3] if is_last else ops.shape(other)[2:4]
        mask = resampling.resize_mask(plan["mask"], height, width)
        return mask if is_last else ops.transpose(mask, (0, 3, 1, 2))

    def _check(self, other, plan):
        plans.check(plan)
        shape, dtype = tuple(other.shape), keras.backend.standardize_dtype(other.dtype)
        received = f"Received: other of shape {shape} and dtype {dtype} in {self.name!r}"
        if not 1 <= len(shape) <= 4:
            raise ValueError(
                "`other` must be vectors (batch, features), sequences (batch, steps, features) or maps "
                f"(batch, height, width, channels). {received}"
            )
        samples = plan["weight"].shape[0]
        if None not in (samples, shape[0]) and samples != shape[0]:
            raise ValueError(f"`other` must have as many samples as the plan: expected {samples}. {received}")
        if len(shape) != 4 and not keras.backend.is_float_dtype(dtype):
            raise ValueError(
                "`other` must be floats, because indices cannot be averaged: call this layer on their embedding or "
                f"their one-hot encoding. {received}"
            )
