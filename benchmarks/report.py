"""The record as a page of Markdown."""

from benchmarks.augmentation import COPY, MODES
from benchmarks.bars import judge
from benchmarks.records import show_day, show_ratio, show_versions, wrapped


def render(record):
    """Render a record as a page of tables.

    Args:
        record: Dict with `command`, `versions` and `parts`.

    Returns:
        The text of the page.
    """
    parts = record["parts"]
    page = [
        "# Throughput",
        "",
        *wrapped(
            "All figures are ratios within one run: the median over interleaved rounds, with the minimum and the "
            "maximum in parentheses. Absolute times on a shared machine mean little; the few that are given show the "
            "scale of the work. Parts and single runs can be measured separately; each states its day, commit and "
            "machine. Mixers have the default arguments of that commit, except for what their name says. "
            "[Performance](../performance.md) explains what was slow and how it was fixed."
        ),
        "",
        "```sh",
        record["command"],
        "```",
        "",
        f"Versions: {show_versions(record['versions'])}.",
        "",
        *_bars(judge(parts)),
    ]
    for name, section in (("augmentation", _augmentation), ("step", _step), ("memory", _memory), ("growth", _growth)):
        if name in parts:
            page += section(parts[name])
    return "\n".join(page) + "\n"


def _bars(bars):
    lines = ["## Targets", "", "| target | where | limit | measured | |", "|---|---|---|---|---|"]
    for bar in sorted(bars, key=lambda bar: bar["bar"]):
        verdict = "met" if bar["met"] else "**missed**"
        lines.append(f"| {bar['bar']} | {bar['where']} | {bar['limit']:.3g} | {show_ratio(bar, 3)} | {verdict} |")
    return [*lines, ""]


def _augmentation(part):
    lines = [
        "## Mixing alone",
        "",
        *wrapped(
            f"Medians of {_measured(part)}. `{COPY}` is one pass over the batch that copies it. In `tf.data` and "
            "under `tf.function` (*compiled*), parts of the mixers are compiled with XLA automatically; the references "
            "run op by op. In the rows of XLA, a reference that XLA cannot compile is replaced by the same one without "
            "XLA. " + part.get("floats", "")
        ),
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
            ratios = [show_ratio(row["to"][name], 2) for name in (COPY, "keras.layers.CutMix", "OpenCV loop")]
            lines.append(f"| {row['method']} | {row['mode']} | {row['milliseconds']:.2f} | {' | '.join(ratios)} |")
        lines.append("")
    if part["missing"]:
        lines += ["These did not run:", ""]
        lines += [f"- {name}: `{reason.replace('`', '')}`" for name, reason in part["missing"].items()]
        lines.append("")
    return lines


def _step(part):
    lines = [
        "## A training step",
        "",
        *wrapped(
            "Times relative to a step without mixing (*plain*); every sample of every batch is mixed. The rows of "
            "site 1 and site 2 mix at the first and the second mixing point only. SaliencyMix + MMA is a model with "
            "all three sites, which fire in turn; its time is the mean over them. The mean over sites, where it was "
            "measured, is that of three models with one site each."
        ),
        "",
    ]
    for title in dict.fromkeys(_setting(run) for run in part["runs"]):
        lines += [f"### {title}", ""]
        for run in part["runs"]:
            if _setting(run) == title:
                lines += [f"{_measured(run)}; a step without mixing takes {run['plain_seconds']:.2f} s.", ""]
                lines += ["| method | time |", "|---|---|"]
                lines += [f"| {row['method']} | {show_ratio(row, 3)} |" for row in run["rows"]]
                lines.append("")
    return lines


def _memory(part):
    lines = [
        "## Peak memory of training steps",
        "",
        *wrapped(
            "Each method runs in separate processes. *Peak* is the largest resident size of the process (`VmHWM` of "
            "`/proc/self/status`) after three steps, one at each site if there are several; *growth* is the peak minus "
            "the resident size before the first step."
        ),
        "",
    ]
    for run in part["runs"]:
        lines += [
            f"### {_setting(run)}",
            "",
            f"{_measured(run, 'processes for each method')}; without mixing {run['plain_mebibytes'] / 1024:.2f} GiB.",
            "",
            "| method | peak | growth |",
            "|---|---|---|",
        ]
        lines += [
            f"| {row['method']} | {show_ratio(row['peak'], 3)} | {show_ratio(row['growth'], 3)} |"
            for row in run["rows"]
        ]
        lines.append("")
    return lines


def _measured(part, what="rounds"):
    return f"{part['rounds']} {what}, {show_day(part['measured'])}, {part['measured']['machine']}"


def _setting(run):
    xla = "with" if run["xla"] else "without"
    return f"{run['network']}, batch {run['batch']}, {run['side']} px, {run['backend']} {xla} XLA"


def _growth(part):
    lines = [
        "## Growth",
        "",
        *wrapped(
            f"Medians of {_measured(part)}, compiled with XLA, uint8 images. Nanoseconds per pixel (for the distance "
            "pairing of 32-pixel images, per image), and their ratio to the first value. A constant ratio is linear "
            "growth; a falling one means that more pixels share the fixed cost of a call. The pairing compares every "
            "image with every other one, so that its cost per image, and that of GuidedMixup with its default pairing, "
            "grows with the batch size."
        ),
        "",
    ]
    if "crossing" in part:
        size = part["crossing"]
        where = "in no batch measured" if size is None else f"in batches of {size} and more"
        lines += wrapped(f"The pairing takes more than a fifth of the time of the rest of GuidedMixup {where}.")
        lines.append("")
    lines += ["| method | axis | value | ns | to the first | to the best before |", "|---|---|---|---|---|---|"]
    for row in sorted(part["rows"], key=_order):
        to_best = show_ratio(row["to_best"], 2) if "to_best" in row else "–"
        figures = f"{row['nanoseconds']:.2f} | {show_ratio(row['to_first'], 2)} | {to_best}"
        lines.append(f"| {row['method']} | {row['axis']} | {row['value']} | {figures} |")
    if "memory" in part:
        lines += [
            "",
            *wrapped(
                "Bytes per pixel of intermediate and final results as XLA plans them on JAX, for a CPU, and their "
                "ratio to the smallest of the values before. The images themselves, 3 bytes, are not counted."
            ),
            "",
            "| method | axis | value | bytes | to the best before |",
            "|---|---|---|---|---|",
        ]
        for row in sorted(part["memory"], key=_order):
            figures = f"{row['bytes']:.1f} | {row['to_best']:.2f}"
            lines.append(f"| {row['method']} | {row['axis']} | {row['value']} | {figures} |")
    return [*lines, ""]


def _order(row):
    return row["axis"], row["method"], row["value"]
