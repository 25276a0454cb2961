"""Corruption errors relative to those of another report."""

import numpy as np

from keras_mma.errors import InputError
from keras_mma.markdown import code, escape
from keras_mma.robustness.perturbations import corruptions
from keras_mma.robustness.wording import percent

# The group that is not part of the mean error.
EXTRA = "extra"


def relative_to(report, baseline):
    """Corruption errors relative to those of another report.

        CE_c = sum_s E_c,s / sum_s E'_c,s,    relative CE_c = sum_s (E_c,s - E) / sum_s (E'_c,s - E')

    with E' the errors of the baseline; mCE and relative mCE are their means.

    Args:
        report: A report.
        baseline: A report on the same images.

    Returns:
        A dict. `None` stands where a denominator is not positive, and for every relative figure where the report has
        none.
    """
    ours, theirs = report["corruption"]["results"], baseline["corruption"]["results"]
    ratios, relative = {}, {}
    has_relative = report["corruption"]["relative_mean_error"] is not None
    for name in benchmark(ours):
        errors, others = ([severity["error"] for severity in side[name]["severities"]] for side in (ours, theirs))
        ratios[name] = _ratio(sum(errors), sum(others))
        rise = sum(errors) - len(errors) * report["clean"]["error"]
        other_rise = sum(others) - len(others) * baseline["clean"]["error"]
        relative[name] = _ratio(rise, other_rise) if has_relative else None
    return {
        "model": baseline["model"]["path"],
        "sha256": baseline["model"]["sha256"],
        "ce": ratios,
        "relative_ce": relative,
        "mce": _mean_or_none(ratios.values()),
        "relative_mce": _mean_or_none(relative.values()),
    }


def check_baseline(baseline, names, label):
    """Refuse a report that has no figures for these corrupted images."""
    if "corruption" not in baseline:
        raise InputError("`baseline` must have a section on corruption. Received: a report without one")
    theirs = identity(baseline["corruption"]["label"], benchmark(baseline["corruption"]["results"]))
    names = [name for name in names if corruptions.CORRUPTIONS[name].group != EXTRA]
    for key, value in identity(label, names).items():
        if theirs[key] != value:
            raise InputError(f"`baseline` must have the same {key}, {value}. Received: {theirs[key]}")


def table(baseline, kind):
    rows = [["**mean**", percent(baseline["mce"]), percent(baseline["relative_mce"])]]
    rows += [
        [escape(title(name)), percent(value), percent(baseline["relative_ce"][name])]
        for name, value in baseline["ce"].items()
    ]
    note = (
        f"Relative to {code(baseline['model'])} ({code(baseline['report'])}), whose error is 100 %. A dash stands "
        "where that is 0 or does not rise, or where no figure is relative to the clean error."
    )
    return note, [f"corruption{kind}", "CE", "relative CE"], rows


def benchmark(results):
    """Names of the corruptions that are part of the mean error."""
    return [name for name, result in results.items() if result["group"] != EXTRA]


def identity(label, names):
    return {"corruptions": label, "set of corruptions": ", ".join(sorted(names))}


def title(name):
    """Title of a corruption: `"glass blur"` for `"glass_blur"`, `"JPEG compression"` for `"jpeg_compression"`."""
    return name.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")


def _ratio(numerator, denominator):
    return numerator / denominator if denominator > 0 else None


def _mean_or_none(values):
    values = list(values)
    return None if None in values else float(np.mean(values))
