"""What a report must hold so that another run or a comparison can read it."""

import math
from typing import NamedTuple

from keras_mma.robustness.attacks import TITLES
from keras_mma.robustness.deformations import DEFORMATIONS
from keras_mma.robustness.occlusion import ORDERS, SHARES
from keras_mma.robustness.severities import CORRUPTIONS, GROUPS, SEVERITIES


class Each(NamedTuple):
    """A list of one form, of a certain length unless that is `None`."""

    form: object
    count: int | None = None


class Entries(NamedTuple):
    """A dict from some of these names to one form."""

    form: object
    names: tuple


class Among(NamedTuple):
    """One of these values."""

    values: tuple


_NUMBER = (int, float)
# A key that ends in a question mark may be missing.
REPORT = {
    "model": {"path": str, "sha256": str},
    "dataset": {"name": str, "n": int, "total": int, "image_shape": Each(int, 3), "sha256?": str},
    "run": {"seed": int},
    "clean": {"error": _NUMBER, "error_interval": Each(_NUMBER, 2), "nll": _NUMBER, "brier": _NUMBER, "ece": _NUMBER},
    "corruption?": {
        "source": str,
        "label": str,
        "results": Entries({"severities": Each({"error": _NUMBER}, len(SEVERITIES))}, CORRUPTIONS),
        "group_mean_errors": Entries(_NUMBER, tuple(GROUPS)),
        "mean_error": _NUMBER,
        "relative_mean_error": (*_NUMBER, type(None)),
    },
    "deformation?": Entries({"error": _NUMBER}, tuple(DEFORMATIONS)),
    "occlusion?": {"accuracy": Entries(Each(_NUMBER, len(SHARES)), ORDERS)},
    "attack?": {
        "results": Each({"attack": Among(tuple(TITLES)), "epsilon_255": _NUMBER, "robust_accuracy": _NUMBER}),
    },
}


def fault(value, form=REPORT, place=""):
    """What is wrong with a value, in one line.

    Args:
        value: Plain values, as JSON holds them.
        form: What it must be: a type or several, an `Each`, an `Entries`, an `Among`, or a dict of forms by key.
        place: Where the value was found, such as `"clean.error"`.

    Returns:
        A text, or `None` if nothing is wrong.
    """
    if isinstance(form, Among):
        return None if value in form.values else f"{place} is {value!r:.60}"
    if isinstance(form, Each):
        if not isinstance(value, list) or form.count not in (None, len(value)):
            return f"{place} must be a list" + (f" of {form.count}" if form.count else "")
        parts = [(part, form.form, f"{place}[{i}]") for i, part in enumerate(value)]
    elif isinstance(form, dict | Entries):
        if not isinstance(value, dict):
            return f"{place or 'all of it'} must be an object"
        if isinstance(form, Entries):
            form = {name: form.form if name in form.names else Among(()) for name in value}
        missing = [key for key in form if not key.endswith("?") and key not in value]
        if missing:
            return f"{place + ' ' if place else ''}lacks {missing[0]}"
        known = {key.removesuffix("?"): part for key, part in form.items()}
        parts = [(value[key], part, f"{place}.{key}".lstrip(".")) for key, part in known.items() if key in value]
    else:
        is_good = isinstance(value, form) and not (isinstance(value, float) and not math.isfinite(value))
        return None if is_good else f"{place} is {value!r:.60}"
    return next((found for part in parts if (found := fault(*part))), None)
