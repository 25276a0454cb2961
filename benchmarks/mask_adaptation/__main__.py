"""Diagnose the masks of `FeatureMixAdapt` in a network that is trained briefly or loaded.

    python -m benchmarks.mask_adaptation --dataset cifar10 --network wideresnet-10-2 --fraction 0.1 --epochs 6 \\
        --output runs/mask-adaptation

prints a table of every setting at every mixing point and writes OUTPUT.json, OUTPUT.md and OUTPUT.png. A setting is
spelled `mma(temperature=1, combine=add)` or `NAME=mma(...)`; `benchmarks/mask_adaptation/settings.py` describes it.
`--search` measures all combinations of many arguments, too.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from benchmarks.mask_adaptation import page
from benchmarks.mask_adaptation import settings as settings_module
from benchmarks.mask_adaptation.diagnosis import BARS, Network, diagnose, meets
from benchmarks.records import recorded_command, stamp, versions, write, write_json
from benchmarks.trained_network import add_options, load_network, run_command
from keras_mma import datasets
from keras_mma.errors import InputError, first_line
from keras_mma.robustness import Preprocess
from keras_mma.study import arms, recipe


def parser():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mask_adaptation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_options(add)
    add(
        "--preprocess",
        nargs="+",
        metavar="WORD",
        help="what --model expects, such as scale=1/255; see keras-mma evaluate",
    )
    add("--mixer", default="saliencymix", help="mixer, as in saliencymix(alpha=0.5) (default: %(default)s)")
    add("--at", nargs="+", metavar="LAYER", help="mixing points (default: one for each resolution)")
    add("--images", type=int, default=400, help="number of test images that are mixed (default: %(default)s)")
    add("--settings", nargs="+", default=[], metavar="SETTING", help="settings beside the default ones")
    add("--only-settings", action="store_true", help="measure the --settings only, without the default ones")
    add("--search", action="store_true", help="measure all combinations of many arguments, without the distortion")
    add("--output", type=Path, help="where to write, without suffix: .json, .md and .png are appended")
    return parser


def parse_mixer(text, seed):
    """The mixer that a text spells, as `NAME` or `NAME(ARGUMENT=VALUE, ...)`."""
    try:
        arm = arms.parse(text)
    except InputError as error:
        raise InputError(str(error).replace("`methods`", "`mixer`")) from None
    if arm.method not in recipe.MIXERS:
        raise InputError(f"`mixer` must be one of {', '.join(recipe.MIXERS)}. Received: {text}")
    try:
        mixer = recipe.MIXERS[arm.method](**{"seed": seed} | arm.mixer_arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"`mixer` {text}: {error}") from error
    if mixer.is_input_only:
        raise InputError(f"`mixer` must not move or resize the image, which features cannot follow. Received: {text}")
    return mixer


def print_rows(diagnosis):
    for row in diagnosis["mismatch"]:
        print(f"{row['stage']}: saliency and attention correlate by {row['correlation']:.2f}")
    for row in diagnosis["rows"]:
        figures = {name: "-" if row[name] is None else f"{row[name]:.2f}" for name in page.COLUMNS}
        text = " ".join(f"{name} {figure}" for name, figure in figures.items())
        print(f"{row['stage']:8} {row['setting']:28} {text} {verdict_of(row)}")


def verdict_of(row):
    """Which limits a row misses, in words."""
    verdicts = meets(row)
    missed, unknown = ([name for name, verdict in verdicts.items() if verdict is kind] for kind in (False, None))
    known = f"misses {', '.join(missed)}" if missed else "keeps all" if not unknown else "keeps the others"
    return f"{known}; {', '.join(unknown)} not measured" if unknown else known


def run(options, words):
    settings = [] if options.only_settings else [settings_module.parse(text) for text in settings_module.DEFAULTS]
    settings += [settings_module.parse(text) for text in options.settings]
    if not settings:
        raise InputError("`settings` must name at least one setting with `only_settings`")
    if options.images < 2:
        raise InputError(f"`images` must be at least 2. Received: images={options.images}")
    mixer = parse_mixer(options.mixer, options.seed)
    if options.output:
        try:
            options.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"`output` {options.output} cannot be written: {first_line(error)}") from error
    data = datasets.load(options.dataset, data_dir=options.data_dir, image_size=options.image_size)
    network, subject = load_network(options, data, lambda network: Network(network, options.at))
    test = data.test
    images = test.read(test.indices(options.images, options.seed)).astype("float32")
    if options.preprocess:
        images = Preprocess.parse(options.preprocess).apply(images).astype("float32")
    diagnosis = diagnose(network, images, mixer, settings, options.at)
    print_rows(diagnosis)
    print("limits: " + ", ".join(f"{name} {kind} {limit}" for name, (kind, limit) in BARS.items()))
    record = {
        "command": recorded_command("mask_adaptation", words),
        "measured": stamp(),
        "versions": versions("keras", keras.backend.backend(), "numpy"),
        "defaults": settings_module.defaults(),
        "subject": f"{subject} Masks are those of {options.mixer} on {len(images)} test images.",
        "diagnosis": diagnosis,
    }
    if options.search:
        candidates = settings_module.search()
        search = diagnose(network, images, mixer, candidates, options.at, with_distortion=False)
        record["search"] = {"rows": [_compact(row) for row in search["rows"]]}
    if options.output:
        # Names may have points, as in t0.5.
        picture, table, text = (options.output.with_name(options.output.name + end) for end in (".png", ".json", ".md"))
        record["picture"] = picture.name
        page.draw(network, images[:64], mixer, settings, options.at).savefig(picture, dpi=110)
        write_json(table, record)
        write(text, page.render(record))
        print(f"wrote {text}")
    return record


def _compact(row):
    """A row of the search without its name, which is its spelling, and its distortion; four digits after the point."""
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in row.items()
        if name != "setting" and not name.startswith("distortion")
    }


def main(words=None):
    return run_command("mask_adaptation", parser(), run, words)


if __name__ == "__main__":
    main()
