"""The record of a diagnosis as a page of Markdown, and a picture of masks."""

import textwrap

import numpy as np
from keras import ops

from benchmarks.mask_adaptation.diagnosis import BARS, Network, attach, meets, meets_all
from benchmarks.mask_adaptation.settings import PLAIN, parse
from benchmarks.records import show_day, show_versions, wrapped
from keras_mma.layers.feature_mix_adapt import activation, normalize
from keras_mma.resampling import resize

COLUMNS = {
    "difference": "abs(M − m)",
    "soft": "soft",
    "jump": "jump",
    "step": "step",
    "hard": "hard, %",
    "spread": "spread",
    "correlation": "corr.",
    "deviation": "sd",
    "distortion_near": "distortion, edge",
    "distortion_rest": "rest",
    "distortion_all": "all",
}
_MEANINGS = """\
- *abs(M − m)*: mean difference between the adapted mask M and the mixer's mask m at the resolution of the features.
- *soft*: share of cells with 0.1 < M < 0.9.
- *jump*: mean difference of M between two cells on different sides of the edge of m, without or with a single cell
  between them that the edge crosses; 1 for a hard mask.
- *step*: mean absolute difference of M between two neighboring cells, wherever they are; *hard*: share of these pairs
  that differ by more than 1/2. Unlike the jump, both include the edges that the attention makes.
- *spread*: standard deviation of the labels' weights over the samples, relative to that of the mixer's weights.
- *corr.*: correlation of M with A_own − A_partner over the cells of one side of the edge in one sample, mean over sides
  and samples. A is the activation attention with mean 1. A constant mask counts as 0; cells that the edge crosses are
  left out.
- *sd*: standard deviation of M over the same cells: how much of M the attention decides.
- *distortion*: with G the next block, the mean of abs(G(mixed) − (M G(own) + (1 − M) G(partner))) relative to the mean
  of abs(G), for cells within one cell of the edge, for the rest and for all cells.

`plain` is the default of earlier versions: `temperature=0.25`, `combine="multiply"`, masks and attentions as they are
(`attention_spread=None`, `edge_blur=0`), and `preserve_ratio=False`. `power-P` is the activation attention A to the
power of P, `minmax` is A − min A, and `standard-G` is max(0, 1 + G (A − mean A) / sd A)."""


def render(record):
    """Render a record as a page.

    Args:
        record: Dict with `command`, `measured`, `versions`, `subject` (sentences) and `diagnosis`; `picture` and
            `search` are optional.

    Returns:
        The text of the page.
    """
    diagnosis = record["diagnosis"]
    lines = [
        "# Mask adaptation, diagnosed",
        "",
        *wrapped(
            "Does `FeatureMixAdapt` cure the two issues that its paper describes? *Saliency Mismatch*: a mask that "
            "keeps what is salient at the input need not keep what is significant in the features. *Hard Boundary "
            "Issue*: a binary mask makes edges in the features that no image makes."
        ),
        *_answer(diagnosis["rows"]),
        "",
        "```sh",
        record["command"],
        "```",
        "",
        *wrapped(f"{record['subject']} {show_day(record['measured'])}; {show_versions(record['versions'])}."),
        "",
        "## Saliency and attention",
        "",
        "| stage | correlation of pooled saliency and attention | standard deviation of the attention |",
        "|---|---|---|",
        *(
            f"| {row['stage']} | {_show(row['correlation'])} | {_show(row['attention_deviation'])} |"
            for row in diagnosis["mismatch"]
        ),
        "",
        "## Adapted masks",
        "",
        _MEANINGS,
        "",
        *wrapped(
            "Limits: "
            + ", ".join(f"{name} {kind} {limit}" for name, (kind, limit) in BARS.items())
            + f". Figures beyond a limit are bold. The mixer's weights have a standard deviation of "
            f"{diagnosis['mixer_spread']:.2f}. Everything is in inference mode: batch normalization uses its moving "
            "statistics, in the features and in G."
        ),
        "",
        *_table(diagnosis),
    ]
    if "picture" in record:
        lines += ["## Masks", "", f"![Masks of several settings]({record['picture']})", ""]
    if "search" in record:
        lines += _search(record["search"])
    return "\n".join(lines).rstrip() + "\n"


def _answer(rows):
    """What the default does about both issues, beside the naive mask, if both were measured."""
    default, naive = ([row for row in rows if row["setting"] == name] for name in ("both (default)", "naive"))
    if not default or not naive:
        return []

    def show(name):
        pairs = zip(naive, default, strict=True)
        return ", ".join(f"{_show(a[name])} to {_show(b[name])} ({b['stage']})" for a, b in pairs)

    kept = sum(_kept(meets(row)) == "kept" for row in default)
    return [
        "",
        *wrapped(
            "The default keeps the limits below for a soft edge and for a mask that follows the attention at "
            f"{kept} of {len(default)} stages. From the naive mask to the default, the distortion near the edge "
            f"changes from {show('distortion_near')}; over all cells, from {show('distortion_all')}."
        ),
    ]


def _table(diagnosis):
    lines = []
    for stage in diagnosis["stages"]:
        block = diagnosis["blocks"][stage]
        lines += [
            f"### {stage}" + (f", G up to {block}" if block else ""),
            "",
            f"| setting | {' | '.join(COLUMNS.values())} | all limits |",
            "|---" * (len(COLUMNS) + 2) + "|",
        ]
        for row in (row for row in diagnosis["rows"] if row["stage"] == stage):
            verdicts = meets(row)
            cells = [_show(row[name], verdicts.get(name) is False, name == "hard") for name in COLUMNS]
            lines.append(f"| {row['setting']} | {' | '.join(cells)} | {_kept(verdicts)} |")
        lines.append("")
    return lines


def _kept(verdicts):
    if None in verdicts.values() and False not in verdicts.values():
        return "not measured"
    return "-" if False in verdicts.values() else "kept"


def _search(search):
    """The combinations of a search that keep all limits at every stage: their temperatures, and two short lists."""
    rows, settings = {}, {}
    for row in search["rows"]:
        rows.setdefault(row["spelling"], []).append(row)
        settings[row["spelling"]] = parse(row["spelling"])
    kept = {spelling for spelling in rows if meets_all(rows[spelling])}
    table = {}
    for spelling, setting in settings.items():
        temperatures = table.setdefault(_family(setting), {}).setdefault(_edge(setting), [])
        if spelling in kept:
            temperatures.append(setting.arguments["temperature"])
    edges = list(dict.fromkeys(edge for by_edge in table.values() for edge in by_edge))
    families = [family for family, by_edge in table.items() if any(by_edge.values())]
    worst = {spelling: _worst(rows[spelling]) for spelling in kept}
    lines = [
        "## Which settings keep all limits",
        "",
        *wrapped(
            f"{len(kept)} of {len(rows)} combinations keep all limits at every stage. The attentions `power-P`, "
            "`minmax` and `standard-G` are callables; `blur=S` is `edge_blur=S`, in cells. The table has the "
            "temperatures of "
            + ", ".join(f"{temperature:g}" for temperature in _temperatures(settings))
            + " that keep all limits; families that are not in it keep them at none."
        ),
        "",
        f"| arguments | {' | '.join(edges)} |",
        "|---" * (len(edges) + 1) + "|",
    ]
    for family in families:
        cells = [", ".join(f"{value:g}" for value in sorted(table[family].get(edge, ()))) or "–" for edge in edges]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    lists = {
        "closest to the mixer's mask": sorted(kept, key=lambda spelling: worst[spelling]["difference"] or 0),
        "in which the attention is strongest": sorted(kept, key=lambda spelling: -(worst[spelling]["deviation"] or 0)),
    }
    for title, spellings in lists.items():
        lines += [
            "",
            f"Those {title}, with the worst figure of the stages:",
            "",
            "| setting | jump | spread | corr. | sd | abs(M − m) |",
            "|---|---|---|---|---|---|",
            *(f"| `{name}` | {' | '.join(map(_show, worst[name].values()))} |" for name in spellings[:8]),
        ]
    return [*lines, ""]


def _family(setting):
    """The arguments of a setting without its temperature and its edge."""
    names = ("combine", "preserve_ratio", "attention")
    values = {name: setting.arguments[name] for name in names if name in setting.arguments}
    values = {name: value for name, value in values.items() if value != PLAIN.get(name)}
    words = ("-".join(map(str, value)) if isinstance(value, tuple) else value for value in values.values())
    return ", ".join(f"`{name}={word}`" for name, word in zip(values, words, strict=True)) or "`plain`"


def _edge(setting):
    deviation = setting.arguments.get("edge_blur")
    return f"`blur={deviation:g}`" if deviation else f"`resize={setting.arguments.get('resize', 'area')}`"


def _temperatures(settings):
    return sorted({setting.arguments["temperature"] for setting in settings.values()})


def _worst(rows):
    """The figures of a setting that are worst over the stages; some mean nothing, such as a jump without an edge."""
    worst = {"jump": max, "spread": min, "correlation": min, "deviation": min, "difference": max}
    known = {name: [row[name] for row in rows if row[name] is not None] for name in worst}
    return {name: choose(known[name], default=None) for name, choose in worst.items()}


def draw(network, images, mixer, settings, at=None, samples=2):
    """Draw the masks of some samples: one row for each sample and mixing point.

    Args:
        network, images, mixer, settings, at: As for `diagnose`; the first images are mixed with each other.
        samples: Number of samples.

    Returns:
        The matplotlib figure.
    """
    from matplotlib.figure import Figure

    parts, mixer = Network(network, at), attach(network, mixer)
    batch = ops.convert_to_tensor(images)
    _, plan = mixer(batch, training=True)
    partner, weight = (ops.convert_to_numpy(plan[key]) for key in ("partner", "weight"))
    # Samples that are mixed about evenly show most.
    chosen = np.argsort(np.abs(weight - 0.6))[:samples]
    low, high = float(np.min(images)), float(np.max(images))
    shown = (ops.convert_to_numpy(batch) - low) / max(high - low, 1e-6)
    figure = Figure(figsize=(5 + len(settings), 1.15 * len(parts.stages) * samples + 0.4), layout="constrained")
    axes = figure.subplots(len(parts.stages) * samples, 5 + len(settings), squeeze=False)
    features = parts.features(batch)
    for stage, (point, maps) in enumerate(zip(parts.stages, features, strict=True)):
        size = parts.to_maps(maps).shape[1:3]
        attention = ops.convert_to_numpy(normalize(activation(parts.to_maps(maps))))[..., 0]
        masks = {"m": resize(plan["mask"], *size, "area")}
        for setting in settings:
            masks[setting.name] = setting.layer.mask(maps, plan)
        masks = {name: ops.convert_to_numpy(mask)[..., 0] for name, mask in masks.items()}
        for number, sample in enumerate(chosen):
            row = axes[number * len(parts.stages) + stage]
            style = {"cmap": "magma", "vmin": 0, "vmax": attention[[sample, partner[sample]]].max()}
            pictures = [
                ("own", shown[sample], {}),
                ("partner", shown[partner[sample]], {}),
                ("A own", attention[sample], style),
                ("A partner", attention[partner[sample]], style),
                *((name, mask[sample], {"cmap": "gray", "vmin": 0, "vmax": 1}) for name, mask in masks.items()),
            ]
            for axis, (title, values, keywords) in zip(row, pictures, strict=True):
                axis.imshow(values.squeeze(), interpolation="nearest", **{"cmap": "gray"} | keywords)
                axis.set_xticks([])
                axis.set_yticks([])
                if title in masks:
                    axis.set_xlabel(f"{masks[title][sample].mean():.2f}", fontsize=7)
                if number == stage == 0:
                    axis.set_title("\n".join(textwrap.wrap(title, 14)), fontsize=7)
            row[0].set_ylabel(point.name, fontsize=7)
    return figure


def _show(value, is_missed=False, in_percent=False):
    text = "–" if value is None else f"{100 * value:.1f}" if in_percent else f"{value:.2f}"
    return f"**{text}**" if is_missed else text
