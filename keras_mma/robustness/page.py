"""The report in Markdown: a summary in words, then the sections with their tables and pictures."""

from keras_mma.markdown import code, escape, sentence, table
from keras_mma.robustness.sections import SECTIONS, sections_of


def title(report):
    """The title of the report, without Markdown."""
    return f"Robustness of {report['model']['path']}"


def to_markdown(report, pictures=None):
    """The report as Markdown.

    Args:
        report: What `evaluate` returns.
        pictures: Dict from the names of the pictures beside it to what they show, or `None` if there are none.

    Returns:
        A string.
    """
    texts = pictures or {}
    blocks = [_header(report), *_summary(report)]
    for section in SECTIONS:
        blocks.append(f"## {section.name.capitalize()}")
        for note, header, rows in section.tabulate(report) if section.name in report else [("Not measured.", None, [])]:
            blocks += [note] if note else []
            blocks += [table(header, rows)] if header else []
        for name in (f"{section.name}.png", section.sheet_file):
            if name in texts:
                blocks.append(f"![{texts[name] or section.name.capitalize()}]({name})")
                blocks += [f"*{texts[name]}*"] if texts[name] else []
    return "\n\n".join([*blocks, _run(report)]) + "\n"


def _header(report):
    model, dataset = report["model"], report["dataset"]
    size = " × ".join(map(str, dataset["image_shape"]))
    lines = [
        f"# Robustness of {code(model['path'])}",
        f"{dataset['n']:,} of {dataset['total']:,} test images of {code(dataset['name'])}, {size}, "
        f"{dataset['classes']} classes. Errors are proportions of images; brackets hold 95 % intervals (Wilson) over "
        "the images.",
    ]
    lines += [f"**Warning: {sentence(warning)}.**" for warning in report["warnings"]]
    lines += [f"**Caution.** {line}" for section in sections_of(report) for line in section.cautions(report)]
    return "\n\n".join(lines)


def _summary(report):
    """The report in words."""
    measured = [section.sentences(report) for section in sections_of(report)]
    lines = [f"- {' '.join(sentences)}" for sentences in measured if sentences]
    return ["## Summary", "\n".join(lines)] if lines else []


def _run(report):
    model, dataset, run = report["model"], report["dataset"], report["run"]
    skipped = [f"damaged files left out: {', '.join(dataset['skipped'])}"] if dataset["skipped"] else []
    rows = [
        ["model", f"{model['kind']}, SHA-256 `{model['sha256'][:16]}…`"],
        *([key.replace("_", " "), code(model[key])] for key in ("signature", "output_name") if key in model),
        ["input", escape(f"{model['input_dtype']} {model['input_shape']}; preprocessing {model['preprocess']}")],
        ["outputs", sentence(f"{model['outputs']}, {model['outputs_decided']}")],
        ["images", sentence("; ".join([dataset["selection"], dataset["decoding"], *skipped]))],
        ["seed, batch size", f"{run['seed']}, {run['batch_size']}"],
        ["repeatable", f"yes: two calls on {run['repeatable']['images']} images gave identical outputs"],
        ["wall time", f"{run['seconds']:.0f} s{_shares(run)}, {run['parts_resumed']} parts from an interrupted run"],
        ["started", run["started"]],
        ["versions", escape(", ".join(f"{name} {version}" for name, version in run["versions"].items()))],
    ]
    return "## The run\n\n" + table(["", ""], rows)


def _shares(run):
    """Where the time went, in parentheses; nothing for a report that does not say it."""
    total = sum(run.get("time", {}).values())
    shares = (
        ", ".join(f"{kind} {100 * seconds / total:.0f} %" for kind, seconds in run["time"].items()) if total else ""
    )
    return shares and f" ({shares})"
