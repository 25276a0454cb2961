"""The limits that figures of the record must keep."""

from benchmarks.training_step import MMA

STEP_LIMITS = {
    "SaliencyMix": 1.05,
    MMA: 1.08,
    "SaliencyGrafting, activation": 1.4,
    "SaliencyGrafting, gradient": 2.1,
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
    return bars


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
        yield _bar("SaliencyMix with defaults, to keras.layers.CutMix", where, 1.0, to["keras.layers.CutMix"])
    if method == "SaliencyMix" and (row["mode"], row["dtype"]) == ("XLA", "uint8"):
        limit = 1 / 8 if row["side"] == 224 else 1 / 3
        yield _bar("SaliencyMix, fine_grained at full size, to the OpenCV loop", where, limit, to["OpenCV loop"])


def _bar(bar, where, limit, ratio):
    figures = {key: ratio[key] for key in ("median", "min", "max")}
    return {"bar": bar, "where": where, "limit": limit, **figures, "met": figures["median"] <= limit}
