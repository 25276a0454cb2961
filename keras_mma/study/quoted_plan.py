"""The plan of a study as its report quotes it."""

import json

from keras_mma import markdown
from keras_mma.markdown import code, escape
from keras_mma.study import study_cells, study_plan


def table(report):
    """The plan, and whether it was written before the first training, where the records show when they ended."""
    quoted, tuned = report["plan"], report["tuned"]
    ends = [cell.get("finished") for cell in report["cells"]]
    is_first = all(ends) and all(end >= quoted["written"] for end in ends)
    images = quoted["images"]
    rows = [
        ["written", escape(quoted["written"]) + (", before the first training" if is_first else "")],
        ["methods", ", ".join(map(code, quoted["arms"]))],
        ["baseline", code(quoted["baseline"])],
        ["seeds", _seeds(quoted)],
        ["measure", escape(quoted["measure"])],
        ["images", f"{images['n']:,} of {code(images['dataset'])}: {escape(images['selection'])}{_skipped(images)}"],
        ["margin", f"{quoted['margin']:g} points"],
        *([["robustness", _evaluation(quoted)]] if quoted.get("evaluations") else []),
        *(
            [escape(name), ", ".join("original" if value is None else escape(value) for value in values)]
            for name, values in quoted["dimensions"].items()
        ),
        ["tuning", "none" if quoted["tuning"] is None else _grid(quoted["tuning"])],
        *([["command", code(quoted["command"])]] if quoted.get("command") else []),
        ["commit", code(quoted["commit"])],
        ["versions", escape(", ".join(f"{name} {version}" for name, version in quoted["versions"].items()))],
    ]
    blocks = [markdown.table(["", ""], rows)]
    if tuned:
        chosen = []
        for setting in study_plan.settings_of(quoted):
            for name in quoted["arms"]:
                values, title = tuned[study_cells.key_of(name, setting)], study_plan.title_of(quoted, setting)
                label = code(name) + (f", {escape(title)}" if title else "")
                chosen.append([label, f"{values['learning_rate']:g}", f"{values['weight_decay']:g}"])
        blocks.append(markdown.table(["tuned on the validation part", "learning rate", "weight decay"], chosen))
    lines = []
    for name, settings in quoted["arms"].items():
        lines.append(f"{json.dumps(name)}: {json.dumps(settings)}")
        for layer, arguments in quoted.get("layers", {}).get(name, {}).items():
            given = {argument: value for argument, value in arguments.items() if value is not None}
            lines.append(f"    {layer}: {json.dumps(given)}")
    what = "methods, with all arguments of their layers that are not None," if quoted.get("layers") else "methods"
    blocks.append(f"The {what} and the recipe in full:\n\n```text\n" + "\n".join(lines) + "\n```")
    blocks.append(f"```json\n{json.dumps(quoted['recipe'], indent=1)}\n```")
    return "\n\n".join(blocks)


def _skipped(images):
    count = images.get("skipped", 0)
    return f"; damaged files that were left out, here or in training: {count:,}" if count else ""


def _seeds(quoted):
    seeds = study_plan.seeds_of(quoted)
    text = f"{quoted['seeds']} ({seeds[0]} to {seeds[-1]})"
    for extension in quoted["extensions"]:
        text += f"; raised from {extension['from']} to {extension['to']} on {escape(extension['date'])}"
        text += f" when results of {extension['looked_at']} could be compared"
    return text


def _evaluation(quoted):
    asked, images = quoted["evaluations"][-1], quoted["images"]["n"]
    return f"{escape(', '.join(asked['sections']))}, on {min(asked['limit'] or images, images):,} images"


def _grid(tuning):
    rates, decays = (", ".join(f"{value:g}" for value in tuning[name]) for name in ("learning_rate", "weight_decay"))
    return (
        f"learning rate {rates}; weight decay {decays}; on the validation part, seeds for each point: {tuning['seeds']}"
    )
