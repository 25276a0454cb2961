"""MMA, mixup mask adaptation (Kang et al., Image and Vision Computing 2024)."""

import keras
from keras import ops

from keras_mma import plan as plans
from keras_mma.layers import arguments, tokens
from keras_mma.layers.attention import ATTENTIONS, normalize
from keras_mma.resampling import resize

# Halvings of the bracket of the shift: 2^-30 of it is below float32's resolution of the share.
_BISECTION_STEPS = 30
# sigmoid(-16) is 1e-7: the bracket reaches every share a float32 mean can have.
_BRACKET = 16.0


@keras.saving.register_keras_serializable("keras_mma")
class FeatureMixAdapt(keras.layers.Layer):
    """Mixes feature maps by the plan's mask, adapted to them by attention and smoothed by softmax.

    With m the host's mask at the feature map's resolution and A the spatial attention of each map, of mean 1
    (a reconstruction; the paper's text is not its source beyond the order of the steps):

        A   = mean_c |F| / mean_hw(mean_c |F|)
        a   = m A_own / T,    b = (1 - m) A_partner / T
        M   = exp a / (exp a + exp b)
        F~  = M F + (1 - M) F_partner,    weight = mean_hw(M)

    A row that the host left unmixed stays exactly as it is. Only the site that the plan names does anything,
    the others cost nothing; outside training none does.

    Args:
        site: Which mixing point this is, a whole number from 1. The host's `sites` must name it.
        temperature: T, positive. At 1 the shares of all rows are drawn towards 1/2, at 0.25 they keep near the
            host's.
        attention: `"activation"` (the mean magnitude of the channels, as above), `"cbam"` (the spatial gate of CBAM
            on the channels' mean and maximum, its 7 x 7 kernel uniform because masks carry no gradient to train it),
            `None` (the same everywhere), or a callable that takes features (batch, height, width, channels) and
            returns non-negative maps (batch, height, width, 1).
        combine: `"multiply"` as above; `"add"`: a = (m + A_own) / T, b = (1 - m + A_partner) / T.
        preserve_ratio: Whether to shift a - b by a number for each row so that the mean of M is the mean of m, and
            the label keeps the share that the host gave (ours, in no paper). Needs `smooth`.
        label: `"adapted"`: the label follows the mean of M. `"host"`: it keeps the host's weight.
        resize: How the mask reaches the feature map's resolution, `"area"` or `"nearest"`.
        grid: Rows and columns of the patches, for features that are a token sequence of a vision transformer; by
            default those of the square patches that fit the image. Tokens before the patches (class, registers) are
            mixed by the mean of M.
        smooth: Whether M is the softmax above; if not, M = a / (a + b). `smooth=False` with `attention=None` and
            `resize="nearest"` is the naive use of the host's mask.
        data_format: `"channels_last"` or `"channels_first"`; Keras' own setting by default.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        features: Float tensor (batch, height, width, channels), or channels first; or a token sequence
            (batch, tokens, channels), whose last tokens are the patches, row by row.
        plan: The plan that came from the host, or from the `FeatureMixAdapt` before.
        training: Whether to mix; by default only inside the training of a model.

    Returns:
        `(features, plan)`: the features of the same shape and dtype, and the plan with the `weight` that the labels
        must follow from here on.

    Raises:
        ValueError: if an argument is out of its range, the features are of another rank, no grid fits a token
            sequence, or the plan is not a plan for the same batch.

    Example:

    >>> inputs = keras.Input((32, 32, 3))
    >>> x, plan = keras_mma.layers.CutMix(sites=(0, 1))(inputs)
    >>> x = keras.layers.Conv2D(8, 3, strides=2)(x)
    >>> x, plan = keras_mma.layers.FeatureMixAdapt(site=1)(x, plan)
    >>> outputs = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    >>> model = keras_mma.MixModel(inputs, (outputs, plan))

    References:
        - M. Kang, M. Kang, S.-W. Lee, S. Kim, mixup mask adaptation, Image and Vision Computing 146 (2024): the
          order of the steps (attention, then softmax). The formula is a reconstruction.
        - S. Woo et al., CBAM: convolutional block attention module, ECCV 2018, arXiv:1807.06521, equation 3.
    """

    def __init__(
        self,
        site,
        temperature=0.25,
        attention="activation",
        combine="multiply",
        preserve_ratio=False,
        label="adapted",
        resize="area",
        smooth=True,
        grid=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.site = arguments.whole("site", site, 1)
        self.temperature = arguments.positive("temperature", temperature)
        if attention is not None and not callable(attention):
            arguments.one_of("attention", attention, (*ATTENTIONS, None))
        self.attention = attention
        self.combine = arguments.one_of("combine", combine, ("multiply", "add"))
        self.preserve_ratio = arguments.boolean("preserve_ratio", preserve_ratio)
        self.label = arguments.one_of("label", label, ("adapted", "host"))
        self.resize = arguments.one_of("resize", resize, ("area", "nearest"))
        self.smooth = arguments.boolean("smooth", smooth)
        self.grid = None if grid is None else arguments.size("grid", grid)
        self.data_format = arguments.data_format(data_format)
        if preserve_ratio and not smooth:
            raise ValueError(
                "`preserve_ratio` needs `smooth`: the shift acts inside the softmax. Received: smooth=False"
            )

    def call(self, features, plan, training=None):
        self._check(features, plan)
        if not training:
            return features, plan

        def mix():
            mask = self.adapt(features, plan)
            donors = plans.take_rows(features, plans.active_partner(plan))
            weight = ops.mean(mask, axis=(1, 2, 3)) if self.label == "adapted" else plan["weight"]
            if len(features.shape) == 3:
                mask = tokens.to_sequence(mask, features.shape[1])
            elif self.data_format == "channels_first":
                mask = ops.transpose(mask, (0, 3, 1, 2))
            return plans.blend(features, donors, mask), weight

        fires = plan["site"] == self.site
        features, weight = ops.cond(fires, mix, lambda: (features, plan["weight"]))
        return features, {**plan, "weight": weight}

    def compute_output_spec(self, features, plan, training=None):
        self._check(features, plan)
        spec = {key: keras.KerasTensor(plan[key].shape, plan[key].dtype) for key in plans.KEYS}
        return keras.KerasTensor(features.shape, features.dtype), spec

    def adapt(self, features, plan):
        """The mask M for these features.

        Args:
            features: Float tensor (batch, height, width, channels), or channels first, or (batch, tokens, channels).
            plan: The plan.

        Returns:
            A float32 tensor (batch, height, width, 1), without gradient: 1 everywhere in unmixed rows. For tokens the
            height and width are those of the grid.
        """
        if len(features.shape) == 3:
            features = tokens.to_maps(features, self._grid_of(features, plan))
        elif self.data_format == "channels_first":
            features = ops.transpose(features, (0, 2, 3, 1))
        height, width = ops.shape(features)[1:3]
        mask = resize(plan["mask"], height, width, self.resize)
        own = donor = None
        if self.attention is not None:
            own = self._attend(features)
            donor = plans.take_rows(own, plan["partner"])
        adapted = adapt_mask(mask, own, donor, self.temperature, self.combine, self.smooth, self.preserve_ratio)
        unmixed = ops.reshape(plans.is_row_unmixed(plan), (-1, 1, 1, 1))
        return ops.stop_gradient(ops.where(unmixed, 1.0, adapted))

    def get_config(self):
        return {
            **super().get_config(),
            "site": self.site,
            "temperature": self.temperature,
            "attention": keras.saving.serialize_keras_object(self.attention),
            "combine": self.combine,
            "preserve_ratio": self.preserve_ratio,
            "label": self.label,
            "resize": self.resize,
            "smooth": self.smooth,
            "grid": None if self.grid is None else list(self.grid),
            "data_format": self.data_format,
        }

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})

    def _attend(self, features):
        attend = self.attention if callable(self.attention) else ATTENTIONS[self.attention]
        features = ops.stop_gradient(ops.cast(features, "float32"))
        attention = ops.cast(attend(features), "float32")
        arguments.maps_of("attention", attention, features.shape)
        return normalize(ops.maximum(attention, 0.0))

    def _grid_of(self, features, plan):
        size = plan["mask"].shape[1:3]
        grid = self.grid or tokens.find_grid(features.shape[1], *size)
        count = features.shape[1]
        if grid is None or count is None or not 0 <= count - grid[0] * grid[1] <= tokens.MOST_PREFIX_TOKENS:
            raise ValueError(
                "`grid` must be the rows and columns of the patches of a token sequence, which stand after at "
                f"most {tokens.MOST_PREFIX_TOKENS} other tokens; by default square patches of the images, "
                f"of {tuple(size)} pixels here. Received: grid={self.grid}, features of shape {tuple(features.shape)}"
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


def adapt_mask(mask, own, donor, temperature=0.25, combine="multiply", smooth=True, preserve_ratio=False):
    """Adapt a mask to the attention of the two maps it mixes.

    Args:
        mask: Float32 tensor (batch, height, width, 1) in [0, 1], at the features' resolution.
        own, donor: Attention of the row's own and of its partner's features, same shape, of mean 1; or `None`.
        temperature, combine, smooth, preserve_ratio: See `FeatureMixAdapt`.

    Returns:
        The adapted mask, of the same shape.
    """
    rest = 1.0 - mask
    if own is None:
        keep, give = mask, rest
    elif combine == "multiply":
        keep, give = mask * own, rest * donor
    else:
        keep, give = mask + own, rest + donor
    if not smooth:
        total = keep + give
        return ops.where(total > 0.0, keep / ops.where(total > 0.0, total, 1.0), mask)
    logits = (keep - give) / temperature
    if preserve_ratio:
        logits = logits + balance(logits, ops.mean(mask, axis=(1, 2, 3), keepdims=True))
    return ops.sigmoid(logits)


def balance(logits, share):
    """The number for each row that, added to its logits, makes the mean of their sigmoid the given share.

    Args:
        logits: Float32 tensor (batch, height, width, 1).
        share: Float32 tensor (batch, 1, 1, 1) in [0, 1].

    Returns:
        A float32 tensor (batch, 1, 1, 1), by bisection.
    """
    high = ops.max(ops.abs(logits), axis=(1, 2, 3), keepdims=True) + _BRACKET
    low = -high
    for _ in range(_BISECTION_STEPS):
        middle = 0.5 * (low + high)
        is_low = ops.mean(ops.sigmoid(logits + middle), axis=(1, 2, 3), keepdims=True) < share
        low, high = ops.where(is_low, middle, low), ops.where(is_low, high, middle)
    return 0.5 * (low + high)
