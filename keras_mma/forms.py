"""What the values of a JSON file must be, so that a damaged file, or one from elsewhere, is refused in one line.

Also where two such values differ.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Between:
    """The form of numbers of a range, both ends included."""

    low: float
    high: float


NUMBER = (int, float)
#: Forms of values that may be absent.
OPTIONAL_NUMBER, OPTIONAL_INTEGER, OPTIONAL_STRING = (*NUMBER, type(None)), (int, type(None)), (str, type(None))
#: Errors, accuracies and confidences.
SHARE = Between(0, 1)
_LARGEST = 1e300
_ROUNDING = 1e-6


def fault(value, form, place=""):
    """Describe in one line what is wrong with a value.

    Args:
        value: Plain values, as JSON holds them.
        form: What it must be: a type or several, a set or a range of values, a list of one form or of as many forms as
            there must be values, or a dict of forms by key. A key that ends in `?` may be missing; the key `str` stands
            for any.
        place: Where the value stands, such as `"clean.error"`.

    Returns:
        A string, or `None` if nothing is wrong.
    """
    if isinstance(form, set):
        return None if any(value == other for other in form) else f"{place} is {value!r:.60}"
    if isinstance(form, Between):
        is_good = isinstance(value, NUMBER) and form.low - _ROUNDING <= value <= form.high + _ROUNDING
        return None if is_good else f"{place} must be a number from {form.low} to {form.high}, and is {value!r:.60}"
    if isinstance(form, list):
        if not isinstance(value, list) or len(form) not in (1, len(value)):
            return f"{place} must be a list" + (f" of {len(form)}" if len(form) > 1 else "")
        inner = [(part, form[i % len(form)], f"{place}[{i}]") for i, part in enumerate(value)]
    elif isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{place or 'all of it'} must be an object"
        if str in form:
            known = dict.fromkeys(value, form[str])
        else:
            missing = [key for key in form if not key.endswith("?") and key not in value]
            if missing:
                return f"{place + ' ' if place else ''}lacks {missing[0]}"
            known = {key.removesuffix("?"): part for key, part in form.items()}
        inner = [(value[key], part, f"{place}.{key}".lstrip(".")) for key, part in known.items() if key in value]
    else:
        # NaN, infinity and what no float holds are no numbers.
        is_good = isinstance(value, form) and not (isinstance(value, (int, float)) and not abs(value) < _LARGEST)
        return None if is_good else f"{place} is {value!r:.60}"
    return next((wrong for part in inner if (wrong := fault(*part))), None)


def first_difference(before, now, place=""):
    """Find the first value that differs between two values, both as JSON holds them.

    Args:
        before, now: The values. Keys that only one of them has are left out.
        place: Where the values stand.

    Returns:
        The place of the difference and its two values, or `None`.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        inner = [(before[key], now[key], f"{place}.{key}".lstrip(".")) for key in before if key in now]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        inner = [(*pair, f"{place}[{i}]") for i, pair in enumerate(zip(before, now, strict=True))]
    else:
        return None if before == now else (place, before, now)
    return next((found for part in inner if (found := first_difference(*part))), None)
