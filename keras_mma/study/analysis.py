"""The statistics of the records of a study. All figures are in percentage points."""

import numpy as np

from keras_mma import packing
from keras_mma.study import power, sequential, statistics, study_cells, study_plan

#: P value of the Brown-Forsythe test below which the variances of the arms are taken as different.
_UNEQUAL_VARIANCES_P = 0.05


def analyze(plan, records):
    """Compare the arms of a study.

    Args:
        plan: See `keras_mma.study.study_plan`.
        records: Dict from the names of cells to their records.

    Returns:
        A dict of JSON values: `finished` and `planned` cells, whether the study is `complete` and `extended`, the
        `level` of its intervals, the number of `comparisons` for which verdicts are corrected, and `settings`, one dict
        for each combination of the dimensions, with `arms`, `comparisons` and the precision of both.
    """
    cells = study_cells.of_plan(plan)
    looks = (*plan["looks"], plan["seeds"])
    level = sequential.sequential_level(looks)
    settings = [_of_setting(plan, records, setting, level) for setting in study_plan.settings_of(plan)]
    comparisons = [comparison for setting in settings for comparison in setting["comparisons"]]
    finished = sum(cell.name in records for cell in cells)
    complete = finished == len(cells)
    judge(comparisons, plan["margin"], looks, complete)
    for setting in settings:
        setting["detectable"] = _detectable(
            setting["comparisons"], sequential.sequential_level(looks, len(comparisons))
        )
    return {
        "finished": finished,
        "planned": len(cells),
        "complete": complete,
        "extended": len(looks) > 1,
        "level": 1 - level,
        "comparisons": len(comparisons),
        "settings": settings,
    }


def judge(comparisons, margin, looks, complete):
    """Add adjusted p values, verdicts and the numbers of seeds that would be needed to a family of comparisons.

    Args:
        comparisons: List of what `compare_pairs` returned.
        margin: Largest difference that does not matter.
        looks: Tuple of the numbers of seeds at which the study was looked at.
        complete: Whether all planned cells have finished; otherwise there is no verdict yet.
    """

    def nominal(remaining):
        return sequential.sequential_level(looks, remaining)

    measured = [comparison for comparison in comparisons if comparison["mean"] is not None]
    intervals = [interval_of(comparison) for comparison in measured]
    p_values = [statistics.p_value(interval) for interval in intervals]
    evidence = [comparison.get("evidence", comparison) for comparison in measured]
    equivalence = [
        statistics.equivalence_p_value(interval_of(pairs), margin) if pairs["n"] else 1.0 for pairs in evidence
    ]
    missing = [1.0] * (len(comparisons) - len(measured))  # those without a result yet belong to the family, too
    adjusted = statistics.holm([*p_values, *missing], nominal)
    adjusted_equivalence = statistics.holm([*equivalence, *missing], nominal)
    for index, (comparison, interval) in enumerate(zip(measured, intervals, strict=True)):
        comparison["p"], comparison["p_adjusted"] = p_values[index], adjusted[index]
        comparison["p_equivalence"] = equivalence[index]
        comparison["p_equivalence_adjusted"] = adjusted_equivalence[index]
        verdict = statistics.verdict(interval, adjusted[index], adjusted_equivalence[index])
        comparison["verdict"] = verdict if complete else "unfinished"
        sd = evidence[index]["sd"]
        if comparison["verdict"] == statistics.CANNOT_BE_TOLD and sd is not None:
            share = statistics.ALPHA / len(comparisons)
            comparison["seeds_needed"] = power.seeds_for_verdict(sd, margin, level=share)


def _of_setting(plan, records, setting, level):
    by_arm = {}
    for arm in study_plan.arms_of(plan):
        cells = [study_cells.make(plan, arm, seed, setting) for seed in study_plan.seeds_of(plan)]
        by_arm[arm.name] = {cell.seed: records[cell.name] for cell in cells if cell.name in records}
    images = next((record["images"] for by_seed in by_arm.values() for record in by_seed.values()), None)
    resolution = 100 / images if images else 0.0
    baseline = by_arm[plan["baseline"]]
    table = _table(by_arm)
    return {
        "setting": setting,
        "title": study_plan.title_of(plan, setting),
        "images": images,
        "arms": [_arm(name, by_seed, baseline, level) for name, by_seed in by_arm.items()],
        "comparisons": [
            _comparison(name, by_seed, baseline, level, resolution)
            | {"pooled": _pooled(table, list(by_arm), name, plan["baseline"], level, resolution)}
            for name, by_seed in by_arm.items()
            if name != plan["baseline"]
        ],
        "two_way": statistics.two_way(table)._asdict() if table is not None else None,
        "noise": _noise(by_arm, images),
    }


def _arm(name, by_seed, baseline, level):
    values = _points(by_seed.values())
    arm = {"method": name, **summary(values, level), "diverged": _diverged(by_seed)}
    seconds = [record["seconds_per_epoch"] for record in by_seed.values() if record.get("seconds_per_epoch")]
    arm["seconds_per_epoch"] = float(np.median(seconds)) if seconds else None
    ratios = [
        record["seconds_per_epoch"] / baseline[seed]["seconds_per_epoch"]
        for seed, record in by_seed.items()
        if record.get("seconds_per_epoch") and seed in baseline and baseline[seed].get("seconds_per_epoch")
    ]
    arm["cost"] = float(np.median(ratios)) if ratios else None
    return arm


def _comparison(name, by_seed, baseline, level, resolution):
    seeds = [seed for seed in by_seed if seed in baseline]
    own, other = _points(by_seed[seed] for seed in seeds), _points(baseline[seed] for seed in seeds)
    has_diverged = [[records[seed].get("diverged") is not None for seed in seeds] for records in (by_seed, baseline)]
    both = np.logical_and(*has_diverged)
    comparison = {"method": name, "seeds": seeds, **compare_pairs(np.subtract(own, other), both, level, resolution)}
    comparison["probability_better"] = statistics.probability_better(own, other, 1 - level)._asdict() if seeds else None
    comparison["correlation"] = statistics.correlation(own, other) if seeds else None
    good = ~np.logical_or(*has_diverged)
    if 0 < good.sum() < len(seeds):
        comparison["without_diverged"] = summary(np.subtract(own, other)[good], level, resolution)
    return comparison


def _pooled(table, names, name, baseline, level, resolution):
    """The comparison with the pooled error of all arms, if their variances are equal."""
    if table is None or len(names) < 3 or statistics.two_way(table).likeness < _UNEQUAL_VARIANCES_P:
        return None
    places = names.index(name), names.index(baseline)
    return statistics.pooled_difference(table, *places, 1 - level, resolution)._asdict()


def _table(by_arm):
    """Results (seeds, arms) of the seeds that all arms have.

    `None` for fewer than two, and where a training diverged: the error would be that of the divergence for all arms.
    """
    seeds = [seed for seed in next(iter(by_arm.values())) if all(seed in by_seed for by_seed in by_arm.values())]
    if len(seeds) < 2 or any(_diverged(by_seed) for by_seed in by_arm.values()):
        return None
    return np.array([_points(by_seed[seed] for by_seed in by_arm.values()) for seed in seeds])


def _noise(by_arm, images):
    """The spread of an accuracy that the finite number of images alone causes."""
    shares = []
    for by_seed in by_arm.values():
        packed = [record["correct"] for record in by_seed.values() if record.get("correct")]
        if len(packed) > 1:
            shares.append(statistics.disagreement([packing.unpack(text, images) for text in packed]))
    if not shares:
        return None
    share = float(np.mean(shares))
    return {"disagreement": share, "floor": 100 * statistics.noise_floor(share, images)}


def _detectable(comparisons, level):
    """The smallest difference that a study of this many seeds sees in four of five cases, by the median spread."""
    evidence = [comparison.get("evidence", comparison) for comparison in comparisons]
    spreads = [(pairs["sd"], pairs["n"]) for pairs in evidence if pairs["sd"] is not None]
    if not spreads:
        return None
    sd, n = float(np.median([sd for sd, _ in spreads])), min(n for _, n in spreads)
    return power.detectable_difference(n, sd, level=level)


def _points(records):
    return [100 * study_cells.accuracy_of(record) for record in records]


def _diverged(by_seed):
    return [seed for seed, record in by_seed.items() if record.get("diverged") is not None]


def compare_pairs(differences, has_no_evidence, level, resolution):
    """The `summary` of paired differences.

    Args:
        differences: Sequence of numbers.
        has_no_evidence: Sequence of booleans: pairs in which all runs diverged. Their difference of 0 counts, but
            does not show that methods are equal. If there are any, `evidence` is the summary of the other pairs.
        level: The error that the interval may make.
        resolution: See `keras_mma.study.statistics.mean_interval`.
    """
    found = summary(differences, level, resolution)
    if any(has_no_evidence):
        found["evidence"] = summary(np.asarray(differences)[~np.asarray(has_no_evidence)], level, resolution)
    return found


def summary(values, level, resolution=0.0):
    """An interval as a dict; `level` is the error that it may make."""
    if not len(values):
        return {"n": 0, "mean": None, "sd": None, "low": None, "high": None}
    return statistics.mean_interval(values, 1 - level, resolution)._asdict()


def interval_of(comparison):
    return statistics.Interval(*(comparison[name] for name in statistics.Interval._fields))
