"""The report as Markdown, and a table over several reports."""

from pathlib import Path

from keras_mma.robustness import attacks, deformations, files, plots
from keras_mma.robustness.severities import GROUPS, SEVERITIES


def save(report, folder):
    """Write `report.json`, `report.md` and a plot for each section.

    Args:
        report: What `evaluate` returns.
        folder: Where to.
    """
    folder = Path(folder)
    pictures = plots.draw(report)  # before anything is written
    text = to_markdown(report, sorted(pictures))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        files.write(folder / name, content)
    files.write(folder / "report.md", text)
    files.write_json(folder / "report.json", report)
    for stale in {"reliability.png", *(f"{name}.png" for name in plots.SECTIONS)} - set(pictures):
        (folder / stale).unlink(missing_ok=True)


def to_markdown(report, pictures=()):
    """The report for reading.

    Args:
        report: What `evaluate` returns.
        pictures: Names of the plots that lie beside it.

    Returns:
        Markdown text.
    """
    blocks = [_head(report), _clean(report)]
    makers = {"corruption": _corruption, "deformation": _deformation, "occlusion": _occlusion, "attack": _attack}
    for section, maker in makers.items():
        if section in report:
            blocks.append(maker(report))
            if f"{section}.png" in pictures:
                blocks.append(f"![{section}]({section}.png)")
        elif section != "clean":
            blocks.append(f"## {section.capitalize()}\n\nNot measured.")
    if "reliability.png" in pictures:
        blocks.insert(2, "![Reliability diagram](reliability.png)")
    blocks.append(_run(report))
    return "\n\n".join(blocks) + "\n"


def _head(report):
    model, dataset = report["model"], report["dataset"]
    size = " × ".join(map(str, dataset["image_shape"]))
    lines = [
        f"# Robustness of `{model['path']}`",
        "",
        f"{dataset['n']:,} of {dataset['total']:,} test images of `{dataset['name']}`, {size}, {dataset['classes']} "
        f"classes. Errors are shares of images; brackets hold 95 % intervals (Wilson) over the images.",
    ]
    for warning in report["warnings"]:
        lines += ["", f"**Warning: {warning}.**"]
    return "\n".join(lines)


def _clean(report):
    clean = report["clean"]
    rows = [
        ("error", _with_interval(clean)),
        ("negative log-likelihood", f"{clean['nll']:.4f}"),
        ("Brier score", f"{clean['brier']:.4f}"),
        ("calibration error (15 bins)", f"{clean['ece']:.4f}"),
    ]
    return "## Clean\n\n" + table(["measure", "value"], rows)


def _corruption(report):
    section = report["corruption"]
    if section["source"] == "regenerated":
        severities, seed = section["label"].removeprefix("regenerated, "), report["run"]["seed"]
        note = (
            f"The corruptions were **regenerated** from the test images, with the {severities} and seed {seed}; these "
            "are not figures on a published corrupted test set."
        )
    else:
        note = f"Source: {section['label']}."
    for name, reason in section["left_out"].items():
        note += f" Left out: {name}, because {reason}."
    if section.get("relative_left_out"):
        note += f" No figure is relative to the clean error: {section['relative_left_out']}."
    rows = [
        ["**mean error**", *[""] * 6, f"**{_percent(section['mean_error'])}**"],
        ["mean error less clean error", *[""] * 6, _ratio(section["relative_mean_error"])],
    ]
    for group, names in GROUPS.items():
        rows.append([f"**{group}**", *[""] * 6, f"**{_percent(section['group_mean_errors'][group])}**"])
        for name in names:
            if name in section["results"]:
                result = section["results"][name]
                errors = [_percent(one["error"]) for one in result["severities"]]
                ece = sum(one["ece"] for one in result["severities"]) / len(errors)
                rows.append([name.replace("_", " "), *errors, f"{ece:.3f}", _percent(result["mean_error"])])
    kind = " (regenerated)" if section["source"] == "regenerated" else ""
    head = [f"error{kind}", *(f"severity {severity}" for severity in SEVERITIES), "calibration error", "mean"]
    text = f"## Corruption\n\n{note}\n\n" + table(head, rows)
    if section["baseline"]:
        text += "\n\n" + _baseline(section["baseline"], kind)
    return text


def _baseline(baseline, kind):
    rows = [["**mean**", _ratio(baseline["mce"]), _ratio(baseline["relative_mce"])]]
    rows += [
        [name.replace("_", " "), _ratio(value), _ratio(baseline["relative_ce"][name])]
        for name, value in baseline["ce"].items()
    ]
    return (
        f"Against `{baseline['model']}` ({baseline['report']}), whose error is 100 %. A dash stands where that is 0 or "
        "does not rise, or where no figure is relative to the clean error.\n\n"
        + table([f"corruption{kind}", "CE", "relative CE"], rows)
    )


def _deformation(report):
    rows = [
        [deformations.title(name), _with_interval(result), _percent(1 - result["error"])]
        for name, result in report["deformation"].items()
    ]
    return "## Deformation\n\nAngles are uniform, what was outside is black.\n\n" + table(
        ["deformation", "error", "accuracy"], rows
    )


def _occlusion(report):
    section = report["occlusion"]
    rows = [
        [_percent(share), *(_percent(section["accuracy"][order][i]) for order in section["accuracy"])]
        for i, share in enumerate(section["shares"])
    ]
    grid = section["grid"]
    detector = section["saliency"]
    note = f"Accuracy with patches of a grid of {grid} × {grid} painted black, ordered by `{detector}` saliency."
    head = ["dropped", *map(_order, section["accuracy"])]
    clean = [_percent(0), *[_percent(1 - report["clean"]["error"])] * len(section["accuracy"])]
    return f"## Occlusion\n\n{note}\n\n" + table(head, [clean, *rows])


def _attack(report):
    section = report["attack"]
    if section["left_out"]:
        return f"## Attack\n\nLeft out: {section['left_out']}."
    rows = [
        [
            attacks.TITLES[one["attack"]] + (one["restarts"] > 0) * f", {_count(one['restarts'], 'random start')}",
            f"{one['epsilon_255']}/255",
            _percent(one["robust_accuracy"]) + _interval(one["robust_accuracy_interval"]),
        ]
        for one in section["results"]
    ]
    note = "Accuracy where no pixel value changes by more than epsilon; an image that is wrong anyway counts as wrong."
    return f"## Attack\n\n{note}\n\n" + table(["attack", "epsilon", "robust accuracy"], rows)


def _run(report):
    model, run = report["model"], report["run"]
    rows = [
        ["model", f"{model['kind']}, SHA-256 `{model['sha256'][:16]}…`"],
        ["input", f"{model['input_dtype']} {model['input_shape']}; preprocessing {model['preprocess']}"],
        ["outputs", f"{model['outputs']}, {model['outputs_decided']}"],
        ["seed, batch size", f"{run['seed']}, {run['batch_size']}"],
        ["repeatable", f"yes: two calls on {run['repeatable']['images']} images gave identical outputs"],
        ["wall time", f"{run['seconds']:.0f} s, {run['parts_resumed']} parts from an interrupted run"],
        ["started", run["started"]],
        ["versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())],
    ]
    if "signature" in model:
        rows.insert(1, ["signature", f"`{model['signature']}`"])
    return "## The run\n\n" + table(["", ""], rows)


def comparison(reports, names):
    """One table over several reports.

    Args:
        reports: Reports on the same images; see `summary.check_comparable`.
        names: What to call them.

    Returns:
        Markdown text, one column for each report.
    """
    rows = [
        ["error", *(_with_interval(one["clean"]) for one in reports)],
        *(
            [title, *(f"{one['clean'][key]:.4f}" for one in reports)]
            for title, key in (
                ("negative log-likelihood", "nll"),
                ("Brier score", "brier"),
                ("calibration error", "ece"),
            )
        ),
    ]
    labels = {one["corruption"]["label"] for one in reports if "corruption" in one}
    if labels:
        rows.append([f"**corruption, mean error** ({', '.join(labels)})", *_across(reports, _mean_corruption)])
        kind = " (regenerated)" * any("regenerated" in label for label in labels)
        rows.append(
            [f"less clean error{kind}", *_across(reports, lambda one: one["corruption"]["relative_mean_error"])]
        )
        for group in GROUPS:
            rows.append(
                [
                    f"{group}{kind}",
                    *_across(reports, lambda one, group=group: one["corruption"]["group_mean_errors"][group]),
                ]
            )
    for name in dict.fromkeys(name for one in reports for name in one.get("deformation", {})):
        label = deformations.title(name)
        rows.append([f"{label}, error", *_across(reports, lambda one, name=name: one["deformation"][name]["error"])])
    for order in ("random", "salient_first", "nonsalient_first"):
        if any("occlusion" in one for one in reports):
            label = f"occlusion {_order(order)}, mean accuracy"
            rows.append([label, *_across(reports, lambda one, order=order: _mean(one["occlusion"]["accuracy"][order]))])
    for i, attack in enumerate(next((one["attack"]["results"] for one in reports if _attacked(one)), [])):
        label = f"{attacks.TITLES[attack['attack']]} {attack['epsilon_255']}/255, robust accuracy"
        rows.append([label, *_across(reports, lambda one, i=i: one["attack"]["results"][i]["robust_accuracy"])])
    first = reports[0]["dataset"]
    note = f"{first['n']:,} test images of `{first['name']}`. A dash: not measured, or not of the same images."
    return f"# Comparison\n\n{note}\n\n" + table(["", *(f"`{name}`" for name in names)], rows) + "\n"


def table(head, rows):
    """A Markdown table of texts."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _across(reports, value):
    cells = []
    for one in reports:
        try:
            cells.append(_ratio(value(one)))
        except (KeyError, IndexError):  # a section that this report does not have
            cells.append("-")
    return cells


def _attacked(report):
    return bool(report.get("attack", {}).get("results"))


def _order(order):
    return order.replace("_", " ").replace("nonsalient", "non-salient")


def _mean_corruption(report):
    return report["corruption"]["mean_error"]


def _mean(values):
    return sum(values) / len(values)


def _percent(value):
    return f"{100 * value:.1f} %"


def _ratio(value):
    return "-" if value is None else _percent(value)


def _interval(ends):
    return f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _with_interval(result):
    return _percent(result["error"]) + _interval(result["error_interval"])


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")
