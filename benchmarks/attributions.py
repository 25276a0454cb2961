"""How far cheaper attributions agree with the full ones, and how many operations they take.

    python -m benchmarks.attributions --dataset cifar10 --network wideresnet-10-2 --fraction 0.1 --epochs 6 \\
        --output docs/results/attributions.json

trains a network briefly (or loads one with `--model`), computes its attributions for test images in full and in each
cheaper way, prints a table, and writes the JSON file and a page beside it. `--quick` checks in a minute that it runs.
"""

import argparse
import os
import re
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops
from scipy import stats

import keras_mma
from benchmarks import operations
from benchmarks.records import recorded_command, show_day, show_versions, stamp, versions, wrapped, write, write_json
from benchmarks.trained_network import add_options, load_network, run_command
from keras_mma import datasets, layers, sampling
from keras_mma.errors import InputError
from keras_mma.layers.label_rules import saliency_weight
from keras_mma.layers.mixers.attentive_mix import places
from keras_mma.layers.mixers.saliency_grafting import graft_cells
from keras_mma.resampling import resize

#: The defaults of `SaliencyGrafting` and of `AttentiveMix`, whose cells are compared.
GRID, ATTENDED_GRID, ATTENDED = 4, 7, 6
#: Shares of the side of the images.
SIZES = (3 / 4, 9 / 16, 1 / 2, 1 / 4)
COLUMNS = {
    "operations": ("operations of a step", 3),
    "correlation": ("rank correlation", 3),
    "cells": ("cells alike", 3),
    "grafts": ("grafts alike", 3),
    "weight": ("label differs by", 3),
    "attended": ("attended alike", 3),
}
_MEANINGS = f"""\
- *operations of a step*: floating point operations of a training step with the attribution, relative to one without,
  as the backend counts them for this network. They are a guide; [throughput](throughput.md) has times.
- *rank correlation*: Spearman's, between the {GRID**2} cells of the pooled map and those of the full attribution,
  mean over images. A constant map counts as 0.
- *cells alike*: share of the {GRID**2} cells of `SaliencyGrafting` that are grafted with both maps or neither, from
  the same random numbers.
- *grafts alike*: share of images in which that holds for all cells.
- *label differs by*: mean difference of the weights of the labels that `SaliencyGrafting` gives to the same graft.
- *attended alike*: share of the {ATTENDED} cells of {ATTENDED_GRID**2} that `AttentiveMix` pastes with one map and with
  the other."""


def stages(network):
    """Names of the stages of a network but the last."""
    return [layer.name for layer in network.layers if re.fullmatch(r"stage\d+", layer.name)][:-1]


def ways(stages, side):
    """Dict from the names of the ways to the arguments of a mixer; the first of each attribution is the full one.

    Args:
        stages: Names of the network's stages but the last.
        side: Height and width of the images.
    """
    sizes = [round(side * share) for share in SIZES]
    settings = [{}, *({"detector_size": size} for size in sizes)]
    chosen = {f"activation{_name(setting)}": {"detector": "activation", **setting} for setting in settings}
    for stage in stages:
        for setting in ({}, {"detector_size": sizes[1]}):
            arguments = {"attribution_layer": stage, **setting}
            chosen[f"activation{_name(arguments)}"] = {"detector": "activation", **arguments}
    return chosen | {f"gradient{_name(setting)}": {"detector": "gradient", **setting} for setting in settings}


def make_mixer(network, arguments):
    """The mixer of one of the `ways`, which knows the network."""
    mixer = layers.SaliencyGrafting(data_format="channels_last", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is mixed here
        return keras_mma.mixify(network, mixer, at=[]).mixer


def _name(arguments):
    return "".join(f", {name}={value}" for name, value in arguments.items())


def compare(full, maps, seed=0):
    """How far maps agree with the full ones.

    Args:
        full, maps: NumPy arrays (batch, height, width, 1).
        seed: Seed of the random numbers of the grafts, which are the same for both.

    Returns:
        A dict of floats; see the page for their meaning.
    """
    count = len(full)
    generator = sampling.SeedGenerator(seed)
    shapes = ((count,), (count, GRID, GRID, 1), (count, ATTENDED_GRID**2))
    rate, noise, chance = (sampling.uniform(shape, generator) for shape in shapes)
    grafts, weights, attended = [], [], []
    for each in (full, maps):
        each = ops.convert_to_tensor(each)
        grafts.append(ops.convert_to_numpy(graft_cells(each, rate, noise)))
        pooled = ops.reshape(resize(each, ATTENDED_GRID, ATTENDED_GRID, "area"), (count, -1))
        attended.append(ops.convert_to_numpy(places(pooled, chance)) < ATTENDED)
    mask = 1.0 - resize(ops.convert_to_tensor(grafts[0]), *full.shape[1:3], "nearest")
    for each in (full, maps):
        # The graft of the full map, from each image onto the next one.
        own = ops.convert_to_tensor(np.roll(each, 1, axis=0))
        weights.append(ops.convert_to_numpy(saliency_weight(own, ops.convert_to_tensor(each), mask, 2)))
    is_alike = grafts[0] == grafts[1]
    return {
        "correlation": float(np.mean(rank_correlations(full, maps))),
        "cells": float(is_alike.mean()),
        "grafts": float(is_alike.all((1, 2, 3)).mean()),
        "weight": float(np.abs(weights[0] - weights[1]).mean()),
        "attended": float((attended[0] & attended[1]).sum(1).mean() / ATTENDED),
    }


def rank_correlations(full, maps):
    """Spearman's rank correlation of each pair of maps, pooled to the cells of a graft: a list of floats."""
    pooled = [
        ops.convert_to_numpy(resize(ops.convert_to_tensor(each), GRID, GRID, "area")).reshape(len(each), -1)
        for each in (full, maps)
    ]
    correlations = []
    for cells in zip(*pooled, strict=True):
        is_constant = any(np.ptp(values) == 0 for values in cells)
        correlations.append(0.0 if is_constant else float(stats.spearmanr(*cells).statistic))
    return correlations


def measure(network, images, seed=0, batch_size=100):
    """The rows of the record.

    Args:
        network: A network whose stages are named `stage1`, `stage2`, ...
        images: Float NumPy array (batch, height, width, channels), as the network takes them.
        seed: Seed of the random numbers of the grafts.
        batch_size: Number of images in each call of the network.

    Returns:
        A list of dicts: `way`, `full` (the attribution that it is compared with), `operations` (`None` where they are
        not counted), and the agreement; and the reasons why other ways are not possible, by their names.
    """
    step = operations.count_step(network, images[:1])
    rows, full, missing = [], {}, {}
    for way, arguments in ways(stages(network), images.shape[1]).items():
        try:
            mixer = make_mixer(network, arguments)
        except ValueError as error:
            missing[way] = str(error)
            continue
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        maps = [ops.convert_to_numpy(mixer.saliency_maps(ops.convert_to_tensor(part))) for part in parts]
        maps = np.concatenate(maps)
        reference = arguments["detector"]
        full.setdefault(reference, maps)
        cost = 1.0 + operations.count(mixer.saliency_maps, images[:1]) / step
        rows.append({"way": way, "full": reference, "operations": cost, **compare(full[reference], maps, seed)})
    for reference, maps in full.items():
        others = {
            "fine_grained saliency": ops.convert_to_numpy(
                keras_mma.saliency.fine_grained(ops.convert_to_tensor(images))
            ),
            "map of another image": np.roll(maps, 1, axis=0),
        }
        for way, other in others.items():
            rows.append({"way": way, "full": reference, "operations": None, **compare(maps, other, seed)})
    return rows, missing


def render(record):
    """The record as a page of Markdown."""
    measured = f"{show_day(record['measured'])}; {show_versions(record['versions'])}."
    lines = [
        "# Cheaper attributions",
        "",
        *wrapped(
            "Saliency from the network that is trained takes one more forward pass in each step (`activation`), or a "
            "forward and a backward pass (`gradient`). `detector_size` calls the network with smaller images, "
            "`attribution_layer` stops at an earlier layer. The tables show how far the result agrees with the full "
            "attribution, and how far two maps agree that have nothing to do with each other."
        ),
        "",
        "```sh",
        record["command"],
        "```",
        "",
        *wrapped(f"{record['subject']} {measured}"),
        "",
        *_MEANINGS.splitlines(),
        "",
    ]
    for reference in dict.fromkeys(row["full"] for row in record["rows"]):
        titles = [title for title, _ in COLUMNS.values()]
        lines += [f"## {reference.capitalize()}", "", f"| attribution | {' | '.join(titles)} |"]
        lines.append("|---" * (1 + len(COLUMNS)) + "|")
        for row in record["rows"]:
            if row["full"] == reference:
                lines.append(f"| {row['way']} | {' | '.join(_figures(row))} |")
        lines.append("")
    if record["missing"]:
        lines += ["## Not possible", "", *(f"- {way}: {reason}" for way, reason in record["missing"].items()), ""]
    return "\n".join(lines)


def _figures(row):
    return ["–" if row[name] is None else f"{row[name]:.{digits}f}" for name, (_, digits) in COLUMNS.items()]


def parser():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attributions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser.add_argument)
    parser.add_argument("--images", type=int, default=400, help="number of test images (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="8 images of a network that is trained on 200")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file; the page .md is written beside it")
    return parser


def run(options, words):
    if options.quick:
        options.images, options.epochs, options.fraction = 8, 1, min(options.fraction, 0.15)
    if keras.backend.backend() == "torch":
        raise InputError("the backend must be tensorflow or jax, which count operations. Received: torch")
    data = datasets.load(options.dataset, data_dir=options.data_dir, image_size=options.image_size)
    network, subject = load_network(options, data)
    test = data.test
    images = test.read(test.indices(options.images, options.seed)).astype("float32")
    rows, missing = measure(network, images, options.seed)
    for row in rows:
        print(f"{row['full']:10} {row['way']:52} {' '.join(_figures(row))}")
    record = {
        "command": recorded_command("attributions", words),
        "measured": stamp(),
        "versions": versions("keras", keras.backend.backend(), "numpy", "scipy"),
        "subject": f"{subject} Figures are those of {len(images)} test images.",
        "rows": rows,
        "missing": missing,
    }
    if options.output:
        write_json(options.output, record)
        write(options.output.with_suffix(".md"), render(record))
        print(f"wrote {options.output.with_suffix('.md')}")
    return record


def main(words=None):
    """Measure, print the rows, and write the record."""
    return run_command("attributions", parser(), run, words)


if __name__ == "__main__":
    main()
