"""Settings of `FeatureMixAdapt` in a compact spelling, and attentions that the layer does not offer.

    naive
    mma(temperature=1, combine=multiply)
    plain(temperature=1, preserve_ratio=True)
    sharp=mma(attention=power-2, blur=0.5)

`mma` has the defaults of `FeatureMixAdapt`; `plain` is the softmax of masks and attentions as they are, at a
temperature of 0.25: `combine=multiply`, `attention_spread=None`, `preserve_ratio=False`, `blur=0`. Beside the arguments
of `FeatureMixAdapt`, a setting takes

    attention=power-P      the activation attention A to the power of P
    attention=minmax       A - min A
    attention=standard-G   max(0, 1 + G (A - mean A) / sd A)
    blur=S                 `edge_blur=S`

`FeatureMixAdapt` scales every attention to a mean of 1, that of `standard-G` after its negative values have become 0.
(Its argument `attention_spread` is applied after the scaling, so that the two differ where values are cut off.)
"""

import dataclasses
import functools
import inspect
import itertools
import re

from keras import ops

from keras_mma.errors import InputError
from keras_mma.layers import FeatureMixAdapt
from keras_mma.layers.feature_mix_adapt import activation
from keras_mma.study import arms

#: The ablations of the paper, and what is reached with other arguments.
DEFAULTS = (
    "naive=naive",
    "softmax only=mma(attention=None)",
    "attention only=mma(smooth=False)",
    "both (default)=mma()",
    "plain, softmax only=plain(attention=None)",
    "plain, attention only=plain(smooth=False)",
    "plain, both=plain()",
    "plain, T 1=plain(temperature=1)",
    "plain, T 1, ratio=plain(temperature=1, preserve_ratio=True)",
    "plain, T 1, ratio, add=plain(temperature=1, preserve_ratio=True, combine=add)",
)
PLAIN = {
    "temperature": 0.25,
    "combine": "multiply",
    "attention_spread": None,
    "preserve_ratio": False,
    "edge_blur": 0,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """A setting of `FeatureMixAdapt`.

    Args:
        name: Name in tables and figures.
        spelling: The text that spells it.
        arguments: Arguments of `FeatureMixAdapt`; `attention` may be that of a candidate.
    """

    name: str
    spelling: str
    arguments: dict

    @functools.cached_property
    def layer(self):
        """A `FeatureMixAdapt(site=1)`."""
        attention = self.arguments.get("attention", "activation")
        return FeatureMixAdapt(1, **self.arguments | {"attention": candidate_attention(attention)})


def defaults():
    """The defaults of `FeatureMixAdapt`, which `mma()` stands for: a record says with which it was made."""
    parameters = inspect.signature(FeatureMixAdapt.__init__).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def parse(text):
    """The `Setting` that a line of text spells; see the docstring of this module.

    Args:
        text: `naive`, `mma(ARGUMENT=VALUE, ...)`, `plain(ARGUMENT=VALUE, ...)` or `NAME=` followed by one of these. A
            name may contain spaces.

    Returns:
        A `Setting`.

    Raises:
        InputError: If the text spells no setting, or the layer refuses an argument.
    """
    match = re.fullmatch(r"(?:(.+?)=\s*)?((?:mma|plain|naive)\b.*)", text.strip(), re.S)
    if match is None:
        raise InputError(f"a setting must be naive, mma(...), plain(...) or NAME=mma(...). Received: {text}")
    spelling = "".join(match[2].split())
    # The spelling of an arm, whose mixer is of no importance here.
    is_plain = spelling.startswith("plain")
    try:
        arm = arms.parse(f"mixup+{'mma' + spelling[len('plain') :] if is_plain else spelling}")
    except InputError as error:
        raise InputError(str(error).replace("`methods`", "`settings`")) from None
    if arm.mixer_arguments or arm.mixing_points:
        raise InputError(f"a setting must have arguments of `FeatureMixAdapt` only. Received: {text}")
    arguments = dict(arm.adapt_arguments)
    if "blur" in arguments:
        arguments["edge_blur"] = arguments.pop("blur")
    if is_plain:
        arguments = PLAIN | arguments
    attention = arguments.get("attention")
    if isinstance(attention, tuple) and (
        len(attention) != 2 or attention[0] not in ("power", "standard") or not isinstance(attention[1], int | float)
    ):
        raise InputError(f"attention must be a word, power-NUMBER or standard-NUMBER. Received: {text}")
    setting = Setting((match[1] or spelling).strip(), spelling, arguments)
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
        texts.append(f"plain({','.join(words)})")
    return [parse(text) for text in texts]
