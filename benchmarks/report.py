"""The record as a page of Markdown."""

from benchmarks.augmentation import FLOOR, MODES
from benchmarks.bars import judge


def render(record):
    """A page of tables.

    Args:
        record: Dict with `command`, `machine`, `versions` and `parts`.

    Returns:
        The text.
    """
    parts = record["parts"]
    page = [
        "# Throughput",
        "",
        "Everything is a ratio within one run: the median of interleaved rounds, in brackets the smallest and largest.",
        "Times of a shared machine mean nothing by themselves; the few that are given say which work a ratio is of.",
        "Parts, and runs of them, can be measured one by one; each says the day and the commit.",
        "What was slow and what fixed it is told in [performance](../performance.md).",
        "",
        "```sh",
        record["command"],
        "```",
        "",
        f"{record['machine']}; " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".",
        "",
        *_bars(judge(parts)),
    ]
    if "augmentation" in parts:
        page += _augmentation(parts["augmentation"])
    if "step" in parts:
        page += _step(parts["step"])
    if "memory" in parts:
        page += _memory(parts["memory"])
    if "growth" in parts:
        page += _growth(parts["growth"])
    return "\n".join(page) + "\n"


def _bars(bars):
    lines = ["## Bars", "", "| bar | where | at most | measured | |", "|---|---|---|---|---|"]
    for bar in sorted(bars, key=lambda bar: bar["bar"]):
        measured = _show(bar, 3)
        verdict = "met" if bar["met"] else "**missed**"
        lines.append(f"| {bar['bar']} | {bar['where']} | {bar['limit']:.3g} | {measured} | {verdict} |")
    return [*lines, ""]


def _augmentation(part):
    lines = [
        "## Mixing alone",
        "",
        f"Medians of {_measured(part)}. The floor is one pass over the batch that copies it. Where XLA has no",
        "kernel for a reference, the ratio to it under XLA is to the same reference compiled without it. In the other",
        "modes XLA compiles parts of ours on its own; the references run as they come, op by op.",
        "",
    ]
    rows = part["rows"]
    for batch, side, dtype in dict.fromkeys((row["batch"], row["side"], row["dtype"]) for row in rows):
        block = [row for row in rows if (row["batch"], row["side"], row["dtype"]) == (batch, side, dtype)]
        lines += [
            f"### {batch} images of {side} × {side} × 3, {dtype}",
            "",
            "| method | mode | ms | to the copy | to `keras.layers.CutMix` | to the OpenCV loop |",
            "|---|---|---|---|---|---|",
        ]
        order = ("Python", *MODES)
        for row in sorted(block, key=lambda row: order.index(row["mode"])):
            ratios = [_show(row["to"][name], 2) for name in (FLOOR, "keras.layers.CutMix", "OpenCV loop")]
            lines.append(f"| {row['method']} | {row['mode']} | {row['milliseconds']:.2f} | {' | '.join(ratios)} |")
        lines.append("")
    if part["missing"]:
        lines += ["What did not run:", ""]
        lines += [f"- {name}: `{reason.replace('`', '')}`" for name, reason in part["missing"].items()]
        lines.append("")
    return lines


def _step(part):
    lines = ["## A training step", ""]
    lines += [
        "To the plain step; every row mixed. Site 1 and 2 mix at the first and second mixing point alone. SaliencyMix",
        "+ MMA is a model with all three sites, which takes them in turn, and its time the mean over them. Beside it",
        "stands, where they were measured, the mean over the models that mix at the input and at either point alone.",
        "",
    ]
    for title in dict.fromkeys(_setting(run) for run in part["runs"]):
        lines += [f"### {title}", ""]
        for run in part["runs"]:
            if _setting(run) == title:
                lines += [f"{_measured(run)}; the plain step takes {run['plain_seconds']:.2f} s.", ""]
                lines += ["| method | time |", "|---|---|"]
                lines += [f"| {row['method']} | {_show(row, 3)} |" for row in run["rows"]]
                lines.append("")
    return lines


def _memory(part):
    lines = [
        "## Peak memory of training steps",
        "",
        "Each method in processes of its own: the largest resident size of the whole process (`VmHWM` of",
        "`/proc/self/status`) after 3 steps, one at each site where there are several; and that less the resident size",
        "before the first step.",
        "",
    ]
    for setting in part["runs"]:
        lines += [
            f"### {_setting(setting)}",
            "",
            f"{_measured(setting, 'processes of each')}; plain {setting['plain_mebibytes'] / 1024:.2f} GiB.",
            "",
            "| method | peak | above that before the first step |",
            "|---|---|---|",
        ]
        lines += [f"| {r['method']} | {_show(r['peak'], 3)} | {_show(r['growth'], 3)} |" for r in setting["rows"]]
        lines.append("")
    return lines


def _measured(part, what="rounds"):
    commit = f", commit {part['measured']['commit']}" if part["measured"]["commit"] else ""
    return f"{part['rounds']} {what}, {part['measured']['day']}{commit}"


def _setting(run):
    xla = "with" if run["xla"] else "without"
    return f"{run['network']}, batch {run['batch']}, {run['side']} px, {run['backend']} {xla} XLA"


def _growth(part):
    lines = [
        "## Growth",
        "",
        f"Medians of {_measured(part)}. Compiled by XLA, uint8: nanoseconds for each pixel (for each image, of the",
        "distance pairing of images of 32 pixels), and their ratio to the first of the row's kind. Linear growth is a",
        "flat row; what falls is the fixed cost of a call, which more pixels share. The pairing compares every image",
        "with every other, pixel by pixel, and walks from one to the next: its work for each image grows with the",
        "batch, and so does that of GuidedMixup with its default pairing.",
        "",
        "| method | grows | value | ns | to the first |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(part["rows"], key=lambda row: (row["axis"], row["method"], row["value"])):
        figures = f"{row['nanoseconds']:.2f} | {_show(row['to_first'], 2)}"
        lines.append(f"| {row['method']} | {row['axis']} | {row['value']} | {figures} |")
    return [*lines, ""]


def _show(ratio, digits):
    return f"{ratio['median']:.{digits}f} ({ratio['min']:.{digits}f} to {ratio['max']:.{digits}f})"
