"""From measured parts to what the report says of them."""

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness import occlusion
from keras_mma.robustness.attacks import ATTACKS, STEPS
from keras_mma.robustness.deformations import DEFORMATIONS
from keras_mma.robustness.severities import GROUPS, LEFT_OUT, SEVERITIES


def without_bins(result):
    """A summary of predictions without its reliability diagram."""
    return {key: value for key, value in result.items() if key not in ("bins", "seconds")}


DRAWN_APART = (
    "with --limit the published corrupted images are not those of the clean error, as both are drawn from sets in "
    "another order"
)


def of_corruption(results, clean_error, is_regenerated, label, is_limited=False):
    """The section `corruption` of the report.

    Args:
        results: Dict of measured parts.
        clean_error: Error on the unchanged images.
        is_regenerated: Whether the corruptions were made anew.
        label: What the report calls their source.
        is_limited: Whether only some of the images were measured.

    Returns:
        A dict; the mean error is the plain mean over corruptions of their mean over severities. What is relative to
        the clean error is `None` where that is of other images than the corrupted ones.
    """
    by_name, groups = {}, {}
    for group, names in GROUPS.items():
        for name in names:
            measured = [results.get(f"corruption/{name}/{severity}") for severity in SEVERITIES]
            if None in measured:
                continue
            by_name[name] = {
                "group": group,
                "mean_error": float(np.mean([one["error"] for one in measured])),
                "severities": [without_bins(one) for one in measured],
            }
        groups[group] = float(np.mean([by_name[name]["mean_error"] for name in names if name in by_name]))
    mean = float(np.mean([one["mean_error"] for one in by_name.values()]))
    reason = DRAWN_APART if is_limited and not is_regenerated else None
    return {
        "source": "regenerated" if is_regenerated else "published",
        "label": label,
        "left_out": dict(LEFT_OUT) if is_regenerated else {},
        "results": by_name,
        "group_mean_errors": groups,
        "mean_error": mean,
        "relative_mean_error": None if reason else mean - clean_error,
        "relative_left_out": reason,
        "baseline": None,
    }


def against(report, baseline, path):
    """Corruption errors relative to those of another report.

        CE_c = sum_s E_c,s / sum_s E'_c,s,    relative CE_c = sum_s (E_c,s - E) / sum_s (E'_c,s - E')

    with E' the errors of the baseline; mCE and relative mCE are their means.

    Args:
        report: This report.
        baseline: The other one, which `checks.check_baseline` has accepted.
        path: What to call the other one.

    Returns:
        A dict; `None` stands where a denominator is not positive, and for every relative figure where this report has
        none.
    """
    ours, theirs = report["corruption"]["results"], baseline["corruption"]["results"]
    ratios, relative = {}, {}
    has_relative = report["corruption"]["relative_mean_error"] is not None
    for name in ours:
        errors, others = ([one["error"] for one in side[name]["severities"]] for side in (ours, theirs))
        ratios[name] = _ratio(sum(errors), sum(others))
        rise = sum(errors) - len(errors) * report["clean"]["error"]
        other_rise = sum(others) - len(others) * baseline["clean"]["error"]
        relative[name] = _ratio(rise, other_rise) if has_relative else None
    return {
        "report": str(path),
        "model": baseline["model"]["path"],
        "sha256": baseline["model"]["sha256"],
        "ce": ratios,
        "relative_ce": relative,
        "mce": _mean_or_none(ratios.values()),
        "relative_mce": _mean_or_none(relative.values()),
    }


def check_comparable(reports, names):
    """Refuse reports that were not measured on the same images."""
    first = _identity(reports[0])
    for report, name in zip(reports[1:], names[1:], strict=True):
        other = _identity(report)
        unlike = [key for key in first if None not in (first[key], other[key]) and first[key] != other[key]]
        if unlike:
            differences = ", ".join(f"{key} {first[key]!r} and {other[key]!r}" for key in unlike)
            raise InputError(f"{names[0]} and {name} are not of the same images: {differences}")


def _identity(report):
    """What must be the same, as far as it is known."""
    corruption = report.get("corruption") or {}
    return {
        "dataset": report["dataset"]["name"],
        "n": report["dataset"]["n"],
        "image_shape": report["dataset"]["image_shape"],
        "seed": report["run"]["seed"],
        "corruptions": corruption.get("label"),
        # Reports of before this was kept lack it.
        "sha256": report["dataset"].get("sha256"),
    }


def _ratio(numerator, denominator):
    return numerator / denominator if denominator > 0 else None


def _mean_or_none(values):
    values = list(values)
    return None if None in values else float(np.mean(values))


def of_deformation(results):
    """The section `deformation`."""
    return {name: without_bins(results[f"deformation/{name}"]) for name in DEFORMATIONS}


def of_occlusion(results, detector):
    """The section `occlusion`: for each order the accuracy at each share."""
    orders = {
        order: [without_bins(one) for one in results[f"occlusion/{order}"]["results"]] for order in occlusion.ORDERS
    }
    return {
        "grid": occlusion.GRID,
        "saliency": detector,
        "shares": list(occlusion.SHARES),
        "accuracy": {order: [1 - one["error"] for one in measured] for order, measured in orders.items()},
        "results": orders,
    }


def of_attack(results, restarts):
    """The section `attack`, and a warning wherever PGD is weaker than FGSM."""
    found, warnings = [], []
    for name, epsilon in ATTACKS:
        settings = {"steps": STEPS, "restarts": restarts} if name == "pgd20" else {"steps": 1, "restarts": 0}
        found.append(
            {"attack": name, "epsilon_255": epsilon} | settings | without_bins(results[f"attack/{name}/{epsilon}"])
        )
    accuracy = {(one["attack"], one["epsilon_255"]): one["robust_accuracy"] for one in found}
    for (name, epsilon), value in accuracy.items():
        if name == "pgd20" and value > accuracy[("fgsm", epsilon)]:
            weaker = accuracy[("fgsm", epsilon)]
            warnings.append(
                f"masked gradients: at {epsilon}/255 PGD leaves {value:.2%} right, FGSM only {weaker:.2%}; the attacks "
                "understate what an attacker can do"
            )
    return {"left_out": None, "results": found}, warnings
