"""Which images are classified correctly, as text that is kept in records and reports."""

import base64
from collections.abc import Sequence

import numpy as np


def pack(correct: Sequence[bool] | np.ndarray) -> str:
    """Boolean values as text, eight in a byte."""
    return base64.b64encode(np.packbits(np.asarray(correct, bool)).tobytes()).decode()


def unpack(text: str, count: int) -> np.ndarray:
    """The `count` boolean values of a text of `pack`.

    Raises:
        ValueError: if the text is not that of so many values.
    """
    packed = np.frombuffer(base64.b64decode(text, validate=True), "uint8")
    if len(packed) != -(-count // 8):
        raise ValueError(f"a text of {count} values must have {-(-count // 8)} bytes. Received: {len(packed)}")
    return np.unpackbits(packed, count=count).astype(bool)
