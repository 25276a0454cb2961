"""Errors and lists in the words of a report."""


def percent(value, interval=None):
    """A proportion as text, such as `"12.3 % [10.1, 14.8]"`; a dash for `None`."""
    if value is None:
        return "-"
    ends = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * value:.1f} %{ends}"


def complement(error):
    """The accuracy that belongs to an error, as text. It adds up to 100 % with the error as `percent` shows it."""
    return f"{100 - round(100 * error, 1):.1f} %"


def change(before, after):
    """How an error changes, in words: `"rises from 12.0 % to 56.1 %"`."""
    first, second = percent(before), percent(after)
    if first == second:
        return f"stays at {first}"
    return f"{'rises' if after > before else 'falls'} from {first} to {second}"


def enumerate_words(words):
    """`"a, b and c"`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
