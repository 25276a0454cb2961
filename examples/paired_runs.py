"""Trainings with and without mixing that share their seeds, and what can be told from the difference."""

from keras_mma import files, forms
from keras_mma.errors import InputError
from keras_mma.study import provenance, statistics


def run(train, seeds, output, settings):
    """Train both arms for every seed; a run that is already in the output file is not repeated.

    Args:
        train: A function of an arm, `"none"` or `"mixed"`, and a seed that returns a score in points, 0 to 100.
        seeds: Number of seeds, from 0.
        output: Path of the JSON file that the scores go to.
        settings: Dict of the settings. A file of other settings is refused.

    Returns:
        Dict from the arms to lists of scores.

    Raises:
        InputError: If there is no seed, or the output file is damaged, or of other settings or another backend.
    """
    if seeds < 1:
        raise InputError(f"`seeds` must be at least 1. Received: seeds={seeds}")
    origin = provenance.origin()
    record = _read(output, settings, origin) if output.exists() else {"settings": settings, "scores": {}, "origins": []}
    looked_at = len(record["scores"]) // 2
    if 1 < looked_at < seeds:
        print(
            f"note: {output} has {looked_at} seeds already. If their difference was looked at, the interval and the "
            "verdict of more seeds are too narrow and too certain (docs/study.md, Looking twice)",
            flush=True,
        )
    for seed in range(seeds):
        for arm in ("none", "mixed"):
            name = f"{arm} {seed}"
            if name not in record["scores"]:
                record["scores"][name] = train(arm, seed)
                _credit(record["origins"], origin, name)
                output.parent.mkdir(parents=True, exist_ok=True)
                files.write_json(output, record)
            print(f"{name}: {record['scores'][name]:.2f}", flush=True)
    return {arm: [record["scores"][f"{arm} {seed}"] for seed in range(seeds)] for arm in ("none", "mixed")}


def _read(output, settings, origin):
    """The record in a file, whose `origins` say which runs come from which commit, backend and versions."""
    form = {"settings": dict, "scores": {str: forms.NUMBER}, "origins?": [{"runs": [str]}]}
    record = files.read_json(output, form)
    if record["settings"] != settings:
        raise InputError(f"`output` must be of the same settings. Received: {output} of {record['settings']}")
    # Earlier versions kept one origin, that of the first run.
    first = {name: record[name] for name in origin if name in record} | {"runs": list(record["scores"])}
    origins = record.get("origins", [first] if record["scores"] else [])
    changed = dict.fromkeys(name for each in origins for name in origin if each.get(name, origin[name]) != origin[name])
    if "backend" in changed:
        others = {each["backend"] for each in origins if "backend" in each} - {origin["backend"]}
        raise InputError(f"`output` must be of the same backend. Received: {output} of {', '.join(sorted(others))}")
    if changed:
        print(f"note: other runs in {output} differ in {' and '.join(changed)}", flush=True)
    return {"settings": settings, "scores": record["scores"], "origins": origins}


def _credit(origins, origin, name):
    """Add a run to the origin that it has."""
    for known in origins:
        if known | {"runs": None} == origin | {"runs": None}:
            known["runs"].append(name)
            return
    origins.append(origin | {"runs": [name]})


def report(scores, margin):
    """A table of both arms, the paired difference and the verdict, as text.

    Args:
        scores: What `run` returned.
        margin: Smallest difference in points that matters.
    """
    lines = ["| seed | none | mixed | difference |", "|---|---|---|---|"]
    for seed, pair in enumerate(zip(scores["none"], scores["mixed"], strict=True)):
        lines.append(f"| {seed} | {pair[0]:.2f} | {pair[1]:.2f} | {pair[1] - pair[0]:+.2f} |")
    none, mixed = (statistics.mean_interval(scores[arm]) for arm in ("none", "mixed"))
    difference = statistics.paired_difference(scores["mixed"], scores["none"])
    lines.append(f"| mean | {none.mean:.2f} | {mixed.mean:.2f} | {difference.mean:+.2f} |")
    if difference.n > 1:
        p, p_equivalence = statistics.p_value(difference), statistics.equivalence_p_value(difference, margin)
        lines += [
            "",
            f"Mixed minus none: {difference.mean:+.2f} points, 95 % interval {difference.low:+.2f} to "
            f"{difference.high:+.2f} ({difference.n} paired seeds), p = {p:.3f}. Verdict at a margin of {margin:g} "
            f"points: {statistics.verdict(difference, p, p_equivalence)}.",
        ]
    return "\n".join(lines)
