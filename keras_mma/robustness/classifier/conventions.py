"""The conventions of a model: which input it expects, and whether its outputs are logits or probabilities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_mma.errors import InputError

KINDS = ("logits", "probabilities")
# Probabilities in float32 are no better than this; scikit-learn clips its log loss there too.
SMALLEST = float(np.finfo("float32").eps)
_TINY = 1e-30
_LARGEST = 6e4


class Preprocess(NamedTuple):
    """A map from pixels to the model's input, for each channel:

        input = (scale · pixel - mean) / std

    The channels are reversed first where `order` is `"bgr"`. Without arguments pixels are passed on as they are.

    Args:
        scale: Factor of the pixels, 1/255 for a unit range.
        mean: Subtracted after scaling: one number, or one for each channel.
        std: Divisor: one number, or one for each channel.
        order: `"rgb"` or `"bgr"`.

    Example:

    >>> from keras_mma.robustness import Preprocess
    >>> Preprocess.parse(["scale=1/127.5", "mean=1"]).apply(np.full((1, 1, 1, 3), 255))[0, 0, 0, 0].item()
    1.0
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "rgb"

    @classmethod
    def parse(cls, words: str | Sequence[str]) -> "Preprocess":
        """Read words such as `scale=1/255`, `mean=0.49,0.48,0.45`, `std=0.2`, `order=bgr`, in a list or one string.

        Raises:
            InputError: if a word is none of these, or a value is not a number or out of range.
        """
        words = words.split() if isinstance(words, str) else words
        values: dict[str, Any] = {}
        for word in words if isinstance(words, Sequence) else [words]:
            name, _, text = word.partition("=") if isinstance(word, str) else ("", "", "")
            if name not in cls._fields or name in values:
                raise InputError(
                    "`preprocess` must be words like scale=1/255, mean=0.49,0.48,0.45, std=0.2, order=bgr, "
                    f"each once. Received: {word!r}"
                )
            values[name] = text if name == "order" else tuple(_number(word, part) for part in text.split(","))
        scale, *more = values.get("scale", (1.0,))
        if more:
            raise InputError(f"`preprocess` scale must be one number. Received: {values['scale']}")
        return cls(**values | {"scale": scale}).checked()

    def checked(self) -> "Preprocess":
        """The same with tuples of floats, whatever numbers were passed.

        Raises:
            InputError: if a value is out of range.
        """
        try:
            scale = float(self.scale)
            mean, std = (tuple(map(float, np.atleast_1d(values).ravel())) for values in (self.mean, self.std))
        except (TypeError, ValueError):
            raise InputError(f"`preprocess` must have numbers such as 0.5. Received: {tuple(self)}") from None
        if not (np.isfinite([scale, *mean, *std]).all() and scale and all(std)):
            raise InputError(f"`preprocess` must be finite, and scale and std not 0. Received: {tuple(self)}")
        if self.order not in ("rgb", "bgr"):
            raise InputError(f"`preprocess` order must be rgb or bgr. Received: {self.order!r}")
        return Preprocess(scale, mean, std, self.order)

    def check(self, channels: int) -> None:
        """Refuse a number of means or deviations that does not fit the channels of the images."""
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise InputError(f"`preprocess` {name} must be 1 or {channels} numbers. Received: {count}")

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (batch, height, width, channels) 0 to 255 to float32 inputs of the same shape."""
        if self.order == "bgr":
            pixels = pixels[..., ::-1]
        values: np.ndarray = pixels.astype("float32")
        if self == Preprocess(order=self.order):
            return np.ascontiguousarray(values)
        return (values * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Convert a gradient with respect to the model's input to one with respect to the pixels."""
        gradient = gradient * (np.float32(self.scale) / np.float32(self.std))
        return gradient[..., ::-1] if self.order == "bgr" else gradient

    def __str__(self) -> str:
        if self == Preprocess():
            return "none: pixels 0 to 255 as they are"
        numbers = {name: ",".join(f"{value:.8g}" for value in getattr(self, name)) for name in ("mean", "std")}
        return f"scale={_fraction(self.scale)} mean={numbers['mean']} std={numbers['std']} order={self.order}"


def _number(word, text):
    """A number or a fraction of two."""
    try:
        numerator, *denominator = (float(part) for part in text.split("/"))
        value = numerator / denominator[0] if denominator else numerator
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"`preprocess` must have numbers such as 0.5 or 1/255. Received: {word!r}")
    return value


def _fraction(value):
    """A number as text, as a fraction such as 1/255 where it is the inverse of a number with few digits."""
    inverse = f"{1 / value:.6g}"
    return f"1/{inverse}" if 0 < value < 1 and len(inverse) <= 5 and 1 / float(inverse) == value else f"{value:.8g}"


def decide_outputs(outputs):
    """Infer from the values whether outputs are logits or probabilities.

    Args:
        outputs: Array (n, classes), the outputs for the first images.

    Returns:
        `"logits"` or `"probabilities"`, and a sentence that says why.

    Raises:
        InputError: if they are neither.

    Example:

    >>> from keras_mma.robustness.classifier.conventions import decide_outputs
    >>> decide_outputs(np.array([[0.25, 0.75]]))[0], decide_outputs(np.array([[-1.0, 2.0]]))[0]
    ('probabilities', 'logits')
    """
    values = np.asarray(outputs, "float64")
    sums = values.sum(axis=1)
    low, high = values.min(), values.max()
    is_binary = values.shape[1] == 1
    seen = f"of {len(values)} images lie in [{low:.4g}, {high:.4g}], "
    seen += "one for each" if is_binary else f"samples sum to {sums.min():.4g} to {sums.max():.4g}"
    if are_probabilities(values):
        return "probabilities", f"inferred from the values: outputs {seen}"
    if low < 0:
        return "logits", f"inferred from the values: outputs {seen}"
    raise InputError(
        "`outputs` must be logits or probabilities, because the values do not show which they are: logits of "
        f"{len(values)} images would include a negative one, probabilities would sum to 1. Received: outputs {seen}"
    )


def are_probabilities(outputs):
    """Whether the values of outputs (n, classes) can be probabilities."""
    values = np.asarray(outputs, "float64")
    is_one = values.shape[1] == 1 or np.abs(values.sum(axis=1) - 1).max() <= 1e-2
    return bool(values.min() >= -1e-6 and values.max() <= 1 + 1e-3 and is_one)


def check_outputs(outputs, kind):
    """Raise an error if the outputs contradict the kind that the user named."""
    low, high = outputs.min(), outputs.max()
    is_binary = outputs.shape[1] == 1
    if kind == "probabilities" and (low < 0 or (high > 1 if is_binary else outputs.sum(axis=1).min() <= 0)):
        raise InputError(
            f"`outputs` probabilities must {'lie in [0, 1]' if is_binary else 'not be negative nor sum to 0'}. "
            f"Received: outputs from {low:.4g} to {high:.4g}"
        )


def two_columns(outputs, kind):
    """The outputs (n, 2) for two classes of a model with one output, that of the second class; others unchanged."""
    if outputs.shape[1] != 1:
        return outputs
    first = 1 - outputs if kind == "probabilities" else np.zeros_like(outputs)
    return np.concatenate([first, outputs], axis=1)


def to_probabilities(outputs, kind):
    """Float64 rows that sum to 1, and their logarithms.

    Args:
        outputs: Array (n, classes).
        kind: `"logits"`, which go through a softmax, or `"probabilities"`, which are divided by their sum.

    Returns:
        Two arrays (n, classes). The logarithm of a probability is not below that of float32's epsilon.
    """
    from scipy.special import log_softmax, softmax

    values = np.asarray(outputs, "float64")
    if kind == "logits":
        return softmax(values, axis=1), log_softmax(values, axis=1)
    probabilities = values / values.sum(axis=1, keepdims=True)
    return probabilities, np.log(np.clip(probabilities, SMALLEST, 1.0))


def margin_gradient(outputs, labels, kind):
    """Gradient of the attacked loss with respect to the outputs. The loss of an image with label y is

        L = log(sum_{k != y} p_k) - log p_y

    Cross-entropy is -log p_y = log(1 + exp L): its gradient is that of L times 1 - p_y, which is positive. Attacks that
    take the sign alone therefore take the same step, but this gradient does not vanish when p_y rounds to 1.

    Args:
        outputs: Array (n, classes), or (n, 1) for two classes.
        labels: Class indices (n,).
        kind: `"logits"` or `"probabilities"`.

    Returns:
        A float32 array like the outputs.
    """
    from scipy.special import softmax

    if outputs.shape[1] == 1:
        gradient = margin_gradient(two_columns(outputs, kind), labels, kind)
        return gradient[:, 1:] - gradient[:, :1] if kind == "probabilities" else gradient[:, 1:]
    rows = np.arange(len(outputs))
    values = np.asarray(outputs, "float64").copy()
    own = values[rows, labels]
    if kind == "logits":
        values[rows, labels] = -np.inf
        gradient = softmax(values, axis=1)
        gradient[rows, labels] = -1.0
    else:
        values[rows, labels] = 0.0
        others = np.maximum(values.sum(axis=1, keepdims=True), _TINY)
        gradient = np.repeat(1.0 / others, values.shape[1], axis=1)
        gradient[rows, labels] = -1.0 / np.maximum(own, _TINY)
    # The gradient is converted to the dtype of the outputs, and the largest float16 is 65504.
    return np.clip(gradient, -_LARGEST, _LARGEST).astype("float32") if _is_half(outputs) else gradient.astype("float32")


def _is_half(outputs):
    return np.asarray(outputs).dtype.name == "float16"
