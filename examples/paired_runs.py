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
    record = {"settings": settings, **origin, "scores": {}}
    if output.exists():
        record = files.read_json(output, {"settings": dict, "scores": {str: forms.NUMBER}})
        if record["settings"] != settings:
            raise InputError(f"`output` must be of the same settings. Received: {output} of {record['settings']}")
        if record.get("backend", origin["backend"]) != origin["backend"]:
            raise InputError(f"`output` must be of the same backend. Received: {output} of {record['backend']}")
        changed = [name for name in origin if record.get(name, origin[name]) != origin[name]]
        if changed:
            print(f"note: the first runs in {output} differ in {' and '.join(changed)}", flush=True)
    for seed in range(seeds):
        for arm in ("none", "mixed"):
            name = f"{arm} {seed}"
            if name not in record["scores"]:
                record["scores"][name] = train(arm, seed)
                output.parent.mkdir(parents=True, exist_ok=True)
                files.write_json(output, record)
            print(f"{name}: {record['scores'][name]:.2f}", flush=True)
    return {arm: [record["scores"][f"{arm} {seed}"] for seed in range(seeds)] for arm in ("none", "mixed")}


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
