"""Checks of the arguments of the tools: datasets, robustness and studies. Those of the layers have their own."""

import math
import numbers
import os
from collections.abc import Iterable
from typing import Any

from keras_mma.errors import InputError


def integer(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least 1 or 0, also one of NumPy.

    Args:
        name: Name of the argument.
        value: Its value.
        least: 1 or 0.

    Returns:
        An int.

    Raises:
        InputError: if the value is another one.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        kind = "a positive" if least else "a non-negative"
        raise InputError(f"`{name}` must be {kind} integer. Received: {name}={value!r}")
    return int(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


def boolean(name: str, value: Any) -> None:
    """Refuse what is neither true nor false, such as the string "no".

    Args:
        name: Name of the argument.
        value: Its value.

    Raises:
        InputError: if the value is another one.
    """
    if not isinstance(value, bool):
        raise InputError(f"`{name}` must be True or False. Received: {name}={value!r}")


def several(name: str, value: Any) -> None:
    """Refuse what is not a list or another iterable, and a single string, whose letters would be taken for its items.

    Args:
        name: Name of the argument.
        value: Its value.

    Raises:
        InputError: if the value is a string or a path, or cannot be iterated over.
    """
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        raise InputError(f"`{name}` must be a list. Received: {name}={value!r}")
