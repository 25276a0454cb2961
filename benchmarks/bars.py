"""The limits that figures of the record must keep."""

from benchmarks.growth import LIMIT as GROWTH_LIMIT
from benchmarks.growth import is_linear
from benchmarks.training_step import CATCH_UP, CHEAPER, GRADIENTS, MASK_ONLY, MMA, SUMIX

STEP_LIMITS = {
    "SaliencyMix": 1.05,
    MMA: 1.08,
    "SaliencyGrafting, activation": 1.4,
    "SaliencyGrafting, gradient": 2.1,
    **dict(zip(CHEAPER, (1.15, 1.30), strict=True)),
    **dict.fromkeys(GRADIENTS, 2.1),
    SUMIX: 1.4,
    CATCH_UP: 1.05,
    **dict.fromkeys(MASK_ONLY, 1.05),
}


def judge(parts):
    """Compare the measured parts of a record with their limits.

    Args:
        parts: Dict from names of parts to their records.

    Returns:
        A list of dicts: `bar`, `where`, `limit`, `median`, `min` and `max` of the ratio, and `met`: whether the median
        is at most the limit.
    """
    bars = []
    for row in parts.get("augmentation", {}).get("rows", ()):
        bars += _augmentation_bars(row)
    for run in parts.get("step", {}).get("runs", ()):
        for row in run["rows"]:
            if run["network"] == "preactresnet18" and row["method"] in STEP_LIMITS:
                bars.append(_bar(f"step with {row['method']}, to plain", _where(run), STEP_LIMITS[row["method"]], row))
    for run in parts.get("memory", {}).get("runs", ()):
        for row in run["rows"]:
            if row["method"] == MMA:
                bars.append(_bar("peak memory with MMA, to plain", _where(run), 1.1, row["peak"]))
    bars += _growth_bars(parts.get("growth", {}))
    return bars


def _growth_bars(part):
    """One bar for each method and axis: the size at which the cost per pixel is farthest above the best before it."""
    worst = {}
    for what, rows in (("time", part.get("rows", ())), ("memory", part.get("memory", ()))):
        for row in rows:
            # Records from before this limit have no ratio to the best.
            if "to_best" in row and is_linear(row["method"], row["axis"]):
                figures = row["to_best"] if what == "time" else dict.fromkeys(("median", "min", "max"), row["to_best"])
                key = what, row["method"], row["axis"]
                if key not in worst or figures["median"] > worst[key][0]["median"]:
                    worst[key] = figures, row["value"]
    for (what, method, axis), (figures, value) in worst.items():
        title = f"growth of {method}, {what} per pixel to the best of smaller sizes"
        yield _bar(title, f"worst {axis}, {value}", GROWTH_LIMIT, figures)


def _where(run):
    return f"{run['network']}, batch {run['batch']}, {run['backend']} {'with' if run['xla'] else 'without'} XLA"


def _augmentation_bars(row):
    where = f"{row['batch']} × {row['side']} px, {row['dtype']}, {row['mode']}"
    method, to = row["method"], row["to"]
    if row["side"] not in (32, 224):
        return
    if method == "MixUp":
        yield _bar("MixUp, to keras.layers.MixUp", where, 1.0, to["keras.layers.MixUp"])
    if method == "CutMix":
        yield _bar("CutMix, to keras.layers.CutMix", where, 0.5, to["keras.layers.CutMix"])
    if method == "SaliencyMix" and row["side"] == 224:
        yield _bar("SaliencyMix with defaults, to keras.layers.CutMix", where, 0.8, to["keras.layers.CutMix"])
    if method == "SaliencyMix" and (row["mode"], row["dtype"]) == ("XLA", "uint8"):
        limit = 1 / 8 if row["side"] == 224 else 1 / 3
        yield _bar("SaliencyMix, fine_grained at full size, to the OpenCV loop", where, limit, to["OpenCV loop"])


def _bar(bar, where, limit, ratio):
    figures = {key: ratio[key] for key in ("median", "min", "max")}
    return {"bar": bar, "where": where, "limit": limit, **figures, "met": figures["median"] <= limit}
