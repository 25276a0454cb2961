"""The map from pixels 0 to 255 to the input that a model expects."""

from typing import NamedTuple

import numpy as np

from keras_mma.errors import InputError


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
    mean: tuple = (0.0,)
    std: tuple = (1.0,)
    order: str = "rgb"

    @classmethod
    def parse(cls, words):
        """Read words such as `scale=1/255`, `mean=0.49,0.48,0.45`, `std=0.2`, `order=bgr`, in a list or one string.

        Raises:
            InputError: if a word is none of these, or a value is not a number.
        """
        words = words.split() if isinstance(words, str) else words
        values = {}
        for word in words:
            name, _, text = word.partition("=")
            if name not in cls._fields or name in values:
                raise InputError(
                    "`preprocess` must be words like scale=1/255, mean=0.49,0.48,0.45, std=0.2, order=bgr, "
                    f"each once. Received: {word!r}"
                )
            values[name] = text if name == "order" else tuple(_number(word, part) for part in text.split(","))
        if values.get("order", "rgb") not in ("rgb", "bgr"):
            raise InputError(f"`preprocess` order must be rgb or bgr. Received: {values['order']!r}")
        if len(values.get("scale", (1.0,))) != 1:
            raise InputError(f"`preprocess` scale must be one number. Received: {values['scale']}")
        values["scale"] = values.get("scale", (1.0,))[0]
        if values["scale"] == 0 or 0 in values.get("std", ()):
            raise InputError(f"`preprocess` scale and std must not be 0. Received: {' '.join(words)!r}")
        return cls(**values)

    def check(self, channels):
        """Refuse a number of means or deviations that does not fit the channels of the images."""
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise InputError(f"`preprocess` {name} must be 1 or {channels} numbers. Received: {count}")

    def apply(self, pixels):
        """Pixels (batch, height, width, channels) 0 to 255 to float32 inputs of the same shape."""
        if self.order == "bgr":
            pixels = pixels[..., ::-1]
        values = pixels.astype("float32")
        if self == Preprocess(order=self.order):
            return np.ascontiguousarray(values)
        return (values * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)

    def pull_back(self, gradient):
        """Convert a gradient with respect to the model's input to one with respect to the pixels."""
        gradient = gradient * (np.float32(self.scale) / np.float32(self.std))
        return gradient[..., ::-1] if self.order == "bgr" else gradient

    def __str__(self):
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
