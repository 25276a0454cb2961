"""Settings of `FeatureMixAdapt` in a compact spelling, and candidates that the layer does not offer.

    naive
    mma(temperature=1, preserve_ratio=True, combine=add)
    sharp=mma(attention=power-2, blur=0.5)

Beside the arguments of `FeatureMixAdapt`, a setting takes

    attention=power-P      the activation attention A to the power of P
    attention=minmax       A - min A
    attention=standard-G   max(0, 1 + G (A - mean A) / sd A)
    resize=bilinear        the mask resized bilinearly, without antialiasing
    blur=S                 the mask blurred, after resizing, by a Gaussian with a standard deviation of S cells

`FeatureMixAdapt` scales every attention to a mean of 1.
"""

import dataclasses
import functools
import itertools
import re

import numpy as np
from keras import ops

from keras_mma import plans
from keras_mma.errors import InputError
from keras_mma.layers import FeatureMixAdapt
from keras_mma.layers.feature_mix_adapt import activation
from keras_mma.resampling import resize
from keras_mma.study import arms

#: The ablations of the paper, and what is reached with other arguments.
DEFAULTS = (
    "naive=naive",
    "softmax only=mma(attention=None)",
    "softmax only, T 1=mma(attention=None, temperature=1)",
    "attention only=mma(smooth=False)",
    "both (default, T 0.25)=mma()",
    "T 1=mma(temperature=1)",
    "T 1, ratio=mma(temperature=1, preserve_ratio=True)",
    "T 1, ratio, add=mma(temperature=1, preserve_ratio=True, combine=add)",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """A setting of `FeatureMixAdapt`.

    Args:
        name: Name in tables and figures.
        spelling: The text that spells it.
        arguments: Arguments of `FeatureMixAdapt`.
        resize: How the mask is resized before the layer sees it, or `None` if the layer resizes it.
        blur: Standard deviation in cells of the Gaussian that blurs the resized mask, not negative.
    """

    name: str
    spelling: str
    arguments: dict
    resize: str | None = None
    blur: float = 0.0

    @functools.cached_property
    def layer(self):
        """A `FeatureMixAdapt(site=1)`."""
        attention = self.arguments.get("attention", "activation")
        return FeatureMixAdapt(1, **self.arguments | {"attention": candidate_attention(attention)})

    def prepare(self, plan, height, width):
        """The plan with the mask that the layer adapts, at the resolution of the features if it is not resized there.

        Args:
            plan: The plan of the mixer.
            height, width: Size of the features.
        """
        if self.resize is None and not self.blur:
            return plan
        mask = resize(plan["mask"], height, width, self.resize or self.arguments.get("resize", "area"))
        mask = blur(mask, self.blur) if self.blur else mask
        # Rounding must not mix a sample that the mixer left unmixed.
        is_unmixed = ops.reshape(plans.find_unmixed(plan["mask"]), (-1, 1, 1, 1))
        return {**plan, "mask": ops.where(is_unmixed, 1.0, mask)}


def parse(text):
    """The `Setting` that a line of text spells; see the docstring of this module.

    Args:
        text: `naive`, `mma(ARGUMENT=VALUE, ...)` or `NAME=` followed by one of these. A name may contain spaces.

    Returns:
        A `Setting`.

    Raises:
        InputError: If the text spells no setting, or the layer refuses an argument.
    """
    match = re.fullmatch(r"(?:(.+?)=\s*)?((?:mma|naive)\b.*)", text.strip(), re.S)
    if match is None:
        raise InputError(f"a setting must be naive, mma(...) or NAME=mma(...). Received: {text}")
    spelling = "".join(match[2].split())
    # The spelling of an arm, whose mixer is of no importance here.
    arguments = dict(arms.parse(f"mixup+{spelling}").adapt_arguments)
    deviation = arguments.pop("blur", 0.0)
    if isinstance(deviation, bool) or not isinstance(deviation, int | float) or deviation < 0:
        raise InputError(f"blur must be a non-negative number. Received: {text}")
    attention = arguments.get("attention")
    if isinstance(attention, tuple) and (
        len(attention) != 2 or attention[0] not in ("power", "standard") or not isinstance(attention[1], int | float)
    ):
        raise InputError(f"attention must be a word, power-NUMBER or standard-NUMBER. Received: {text}")
    method = arguments.pop("resize") if arguments.get("resize") == "bilinear" else None
    setting = Setting((match[1] or spelling).strip(), spelling, arguments, method, float(deviation))
    try:
        setting.layer  # noqa: B018 - the layer checks its arguments
    except (TypeError, ValueError) as error:
        raise InputError(f"{error}. Setting: {text}") from error
    return setting


def candidate_attention(value):
    """The function of a candidate attention; any other value as it is.

    Args:
        value: What `attention` is in a setting: `"minmax"`, `("power", exponent)`, `("standard", gain)`, or an argument
            of `FeatureMixAdapt`.
    """
    if value == "minmax":
        return _above_minimum
    if isinstance(value, tuple):
        (name, number), transforms = value, {"power": _power, "standard": _standardized}
        return lambda features: transforms[name](activation(features), number)
    return value


def _power(attention, exponent):
    return ops.power(attention, exponent)


def _standardized(attention, gain):
    mean = ops.mean(attention, axis=(1, 2, 3), keepdims=True)
    deviation = ops.std(attention, axis=(1, 2, 3), keepdims=True)
    scaled = (attention - mean) / ops.where(deviation > 0.0, deviation, 1.0)
    return ops.maximum(1.0 + gain * scaled, 0.0)


def _above_minimum(features):
    attention = activation(features)
    return attention - ops.min(attention, axis=(1, 2, 3), keepdims=True)


def blur(maps, deviation):
    """Blur maps by a Gaussian; the border is repeated.

    Args:
        maps: Float tensor (batch, height, width, 1).
        deviation: Standard deviation in cells, positive.

    Returns:
        A tensor of the same shape.
    """
    rows, columns = (ops.cast(_blur_matrix(size, deviation), maps.dtype) for size in ops.shape(maps)[1:3])
    return ops.einsum("ij,bjkc,lk->bilc", rows, maps, columns)


def _blur_matrix(size, deviation):
    radius = int(np.ceil(3 * deviation))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * deviation**2))
    matrix = np.zeros((size, size))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        matrix[np.arange(size), np.clip(np.arange(size) + offset, 0, size - 1)] += weight
    return matrix


def search():
    """All combinations of the search: a list of `Setting`s."""
    temperatures = (0.25, 0.5, 0.75, 1, 1.5, 2)
    attentions = ("activation", "power-2", "power-3", "minmax", "standard-0.5", "standard-1")
    edges = ("", "resize=bilinear", "blur=0.5", "blur=1")
    texts = []
    for combine, ratio, attention, edge, temperature in itertools.product(
        ("multiply", "add"), (False, True), attentions, edges, temperatures
    ):
        words = [f"temperature={temperature}"]
        words += ["preserve_ratio=True"] * ratio + [f"combine={combine}"] * (combine != "multiply")
        words += [f"attention={attention}"] * (attention != "activation") + [edge] * bool(edge)
        texts.append(f"mma({','.join(words)})")
    return [parse(text) for text in texts]
