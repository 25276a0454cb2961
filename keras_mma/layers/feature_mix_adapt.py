"""MMA, mixup mask adaptation (Kang et al., Image and Vision Computing 2024)."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mma import inference_mode
from keras_mma.layers import arguments, configs
from keras_mma.layers.feature_mixer import FeatureMixer
from keras_mma.plans import take_partner
from keras_mma.resampling import METHODS, resize
from keras_mma.saliency.detectors import check_maps
from keras_mma.saliency.image_processing import edge_pad, gaussian, separable


def activation(features):
    """Mean magnitude of the channels."""
    return ops.mean(ops.abs(features), axis=-1, keepdims=True)


def cbam(features):
    """CBAM's spatial gate with a uniform kernel: sigmoid of the 7 x 7 mean of the channels' mean and maximum."""
    pooled = ops.mean(features, axis=-1, keepdims=True) + ops.max(features, axis=-1, keepdims=True)
    smoothed = ops.average_pool(pooled, 7, strides=1, padding="same", data_format="channels_last")
    return ops.sigmoid(smoothed)


ATTENTIONS = {"activation": activation, "cbam": cbam}

# 30 halvings of the bracket: 2^-30 of it is below the resolution of a float32 mean.
_BISECTION_STEPS = 30
# sigmoid(-16) is 1e-7: the bracket reaches every mean that float32 can represent.
_BRACKET = 16.0


@keras.saving.register_keras_serializable("keras_mma")
class FeatureMixAdapt(FeatureMixer):
    """Mixes feature maps by the mixer's mask, adapted to them by attention and smoothed by softmax.

    With m the mixer's mask at the resolution of the feature map, blurred, and A the spatial attention of each map,
    mean_c |F| scaled to a mean and a standard deviation of 1 and cut off at 0 (a reconstruction: only the order of the
    steps comes from the paper):

        a   = (m + A_own) / T + s,    b = (1 - m + A_partner) / T
        M   = exp a / (exp a + exp b)
        F~  = M F + (1 - M) F_partner,    weight = mean_hw(M)

    where s is the number per sample for which mean_hw(M) = mean_hw(m). The label therefore keeps the share of the
    mixer's mask, except that the blur changes masks that touch the border: by 0.01 on average for 4 x 4 maps, by less
    for larger ones. A sample that the mixer left unmixed stays exactly as it is. Only the layer of the site that was
    drawn for the step computes anything; outside training, no layer does.

    Args:
        site: The site of this mixing point, a positive integer. The mixer's `sites` must include it.
        temperature: T, positive. A low temperature makes masks hard, a high one draws them towards an even blend.
        attention: `"activation"` (the mean magnitude of the channels, as above), `"cbam"` (the spatial gate of CBAM
            on the mean and maximum of the channels; its 7 x 7 kernel is uniform, because masks carry no gradient to
            train it), `None` (the same everywhere), or a callable from features (batch, height, width, channels) to
            non-negative maps (batch, height, width, 1). A layer must be built and have `trainable=False`; it is called
            with `training=False`.
        attention_spread: Standard deviation to which each attention map is scaled around its mean of 1, before negative
            values become 0; `None` keeps the deviation that the features have, which is small in most networks (about
            0.3) (not from the paper).
        combine: `"add"` as above; `"multiply"`: a = m A_own / T + s, b = (1 - m) A_partner / T.
        preserve_ratio: Whether s is computed; otherwise it is 0 (not from the paper). `None` means the value of
            `smooth`; `True` requires `smooth=True`.
        resize: How the mask is resized to the feature map, `"area"`, `"nearest"` or `"bilinear"`.
        edge_blur: Standard deviation in cells of the feature map of the Gaussian that blurs the resized mask; 0 does
            not blur (not from the paper). `None` means 1 with `smooth`, and 0 without.
        smooth: Whether M is the softmax above; otherwise M = a / (a + b), with s = 0. `smooth=False` with
            `attention=None` and `resize="nearest"` uses the mixer's mask as it is.
        **kwargs: Arguments of `FeatureMixer`: `label`, `grid`, `data_format`, `name`, ...

    Call arguments:
        features, plan, training: See `FeatureMixer`.

    Returns:
        `(features, plan)`; see `FeatureMixer`.

    Raises:
        ValueError: If an argument is out of range, or `preserve_ratio` is combined with `smooth=False`; see
            `FeatureMixer`.

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
        site: int,
        *,
        temperature: float = 0.5,
        attention: str | Callable | None = "activation",
        attention_spread: float | None = 1.0,
        combine: str = "add",
        preserve_ratio: bool | None = None,
        resize: str = "area",
        edge_blur: float | None = None,
        smooth: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(site, **kwargs)
        self.temperature = arguments.positive("temperature", temperature)
        if attention is not None and not callable(attention):
            arguments.choice("attention", attention, (*ATTENTIONS, None))
        arguments.check_frozen("attention", attention, "masks carry no gradient to train it")
        self.attention = attention
        self.attention_spread = attention_spread
        if attention_spread is not None:
            self.attention_spread = arguments.positive("attention_spread", attention_spread)
        self.combine = arguments.choice("combine", combine, ("add", "multiply"))
        self.resize = arguments.choice("resize", resize, METHODS)
        self.smooth = arguments.boolean("smooth", smooth)
        self.edge_blur = arguments.non_negative("edge_blur", float(smooth) if edge_blur is None else edge_blur)
        self.preserve_ratio = smooth if preserve_ratio is None else arguments.boolean("preserve_ratio", preserve_ratio)
        if self.preserve_ratio and not smooth:
            raise ValueError(
                "`preserve_ratio` requires `smooth`, because s is added inside the softmax. Received: smooth=False"
            )

    def sample_mask(self, features, plan):
        mask = resize(plan["mask"], *ops.shape(features)[1:3], self.resize)
        if self.edge_blur:
            mask = separable(mask, gaussian(2 * math.ceil(3 * self.edge_blur) + 1, self.edge_blur), edge_pad)
        own = partner = None
        if self.attention is not None:
            own = self._attend(features)
            partner = take_partner(own, plan["partner"])
        return adapt_mask(mask, own, partner, self.temperature, self.combine, self.smooth, self.preserve_ratio)

    def get_config(self):
        names = (
            *("temperature", "attention_spread", "combine", "preserve_ratio"),
            *("resize", "edge_blur", "smooth"),
        )
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "attention": keras.saving.serialize_keras_object(self.attention),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "attention": configs.restore_frozen(config["attention"])})

    def _attend(self, features):
        attend = self.attention if callable(self.attention) else ATTENTIONS[self.attention]
        features = ops.stop_gradient(ops.cast(features, "float32"))
        maps = inference_mode.call(attend, features) if isinstance(attend, keras.Layer) else attend(features)
        attention = ops.cast(maps, "float32")
        check_maps("attention", attention, features.shape)
        attention = normalize(ops.maximum(attention, 0.0))
        return attention if self.attention_spread is None else spread(attention, self.attention_spread)


def adapt_mask(mask, own, partner, temperature, combine, smooth, preserve_ratio):
    """Adapt a mask to the attention of the two feature maps that it mixes.

    Args:
        mask: Float32 tensor (batch, height, width, 1) in [0, 1], at the resolution of the features.
        own, partner: Non-negative attention of the sample's own features and of its partner's, of the same shape; or
            `None`.
        temperature, combine, smooth, preserve_ratio: See `FeatureMixAdapt`.

    Returns:
        The adapted mask, of the same shape.
    """
    rest = 1.0 - mask
    if own is None:
        keep, paste = mask, rest
    elif combine == "multiply":
        keep, paste = mask * own, rest * partner
    else:
        keep, paste = mask + own, rest + partner
    if not smooth:
        total = keep + paste
        return ops.where(total > 0.0, keep / ops.where(total > 0.0, total, 1.0), mask)
    logits = (keep - paste) / max(temperature, 1e-6)  # lower ones make no difference, and could make logits infinite
    if preserve_ratio:
        logits = logits + balance(logits, ops.mean(mask, axis=(1, 2, 3), keepdims=True))
    return ops.sigmoid(logits)


def balance(logits, mean):
    """The number per sample that, added to its logits, makes the mean of their sigmoid a given mean.

    Args:
        logits: Float32 tensor (batch, height, width, 1).
        mean: Float32 tensor (batch, 1, 1, 1) in [0, 1].

    Returns:
        A float32 tensor (batch, 1, 1, 1), by bisection.
    """
    high = ops.max(ops.abs(logits), axis=(1, 2, 3), keepdims=True) + _BRACKET
    low = -high
    for _ in range(_BISECTION_STEPS):
        middle = 0.5 * (low + high)
        is_low = ops.mean(ops.sigmoid(logits + middle), axis=(1, 2, 3), keepdims=True) < mean
        low, high = ops.where(is_low, middle, low), ops.where(is_low, high, middle)
    return 0.5 * (low + high)


def normalize(attention):
    """Scale each map to a mean of 1; a map of zeros becomes 1 everywhere."""
    mean = ops.mean(attention, axis=(1, 2, 3), keepdims=True)
    return ops.where(mean > 0.0, attention / ops.where(mean > 0.0, mean, 1.0), 1.0)


def spread(attention, deviation):
    """Scale each map around its mean of 1 to a standard deviation; negative values become 0, a constant map stays 1."""
    centered = attention - 1.0
    current = ops.sqrt(ops.mean(ops.square(centered), axis=(1, 2, 3), keepdims=True))
    # Rounding errors of a constant map are not a pattern.
    is_constant = current < 1e-5
    scaled = 1.0 + centered * (deviation / ops.where(is_constant, 1.0, current))
    return ops.where(is_constant, 1.0, ops.maximum(scaled, 0.0))
