"""The options and the output of `keras-mma study`."""

import argparse
import pkgutil
import textwrap
from pathlib import Path

from keras_mma.datasets import NAMES
from keras_mma.errors import InputError
from keras_mma.study.arms import SPELLING
from keras_mma.study.regimes import REGIMES
from keras_mma.terminal import show

#: Names of the mixers, read from the names of their files: importing the mixers would import Keras.
MIXER_NAMES = tuple(
    {"randomchoice": "switch"}.get(name, name)
    for _, module, _ in pkgutil.iter_modules([str(Path(__file__).parents[1] / "layers" / "mixers")])
    if not module.startswith("_") and (name := module.replace("_", ""))
)
DESCRIPTION = """\
Does mixing help on these images, by how much, and is that more than luck? Trains every method with every seed, with
one recipe for all, and writes report.md, report.html and report.json with a verdict for each method: better, worse,
no difference larger than the margin, or cannot be told (with an estimate of the seeds that would be needed).

The plan is written down before the first training. The same command resumes an interrupted study; with more seeds it
extends a finished one, and the report says so.
"""
EPILOG = f"""\
methods:
  none, manifold (Manifold Mixup), catchupmix (Catch-up Mix), or a mixer: {", ".join(MIXER_NAMES)}
{textwrap.indent(textwrap.fill(SPELLING + ". Quote what has parentheses:", 100), "  ")}
    'saliencymix+mma(temperature=1, combine=multiply, sites=0-1-2)'

examples:
  keras-mma study --dataset digits --network wideresnet-10-1 --epochs 10 --seeds 3 --methods none cutmix --output DIR
  keras-mma study --dataset folder:PATH --network wideresnet-10-2 --epochs 50 --methods none cutmix --output DIR
  keras-mma study --regime visible --part validation --arms arms.toml --baseline naive --seeds 4 --output DIR
  keras-mma study --check DIR
  keras-mma study --report DIR
"""
#: Options of the command, which are not arguments of the study.
_OF_THE_COMMAND = ("methods", "arms", "output", "check", "cell", "report")


def add_parser(subparsers, summary):
    """Add the command to the subparsers of `keras-mma`; its `command` is `run`."""
    parser = subparsers.add_parser(
        "study",
        help=summary,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(command=run)


def add_arguments(parser):
    """Add the options. What is left out is left to the regime and the recipe."""
    group = parser.add_argument_group("what is compared")
    add = group.add_argument
    add("--methods", nargs="+", default=[], metavar="METHOD", help="Methods, at least two; see below.")
    add("--arms", metavar="FILE", help='More methods, from a .toml or .json file of lines NAME = "METHOD".')
    add("--baseline", metavar="NAME", help="Method to compare with. Default: none if it is listed, else the first.")
    add("--seeds", type=int, default=5, metavar="N", help="Number of seeds. Default: %(default)s.")
    add("--first-seed", type=int, default=0, metavar="N", help="The first of them. Default: %(default)s.")
    add(
        "--margin",
        type=float,
        default=0.5,
        metavar="X",
        help="Differences up to it do not matter. Default: %(default)s.",
    )
    add(
        "--part",
        default="test",
        metavar="PART",
        help="Part that is measured: test, or validation to choose. Default: test.",
    )
    add(
        "--evaluate",
        nargs="+",
        metavar="SECTION",
        help="Sections of the robustness report: clean corruption deformation occlusion attack. Default: no section.",
    )
    add("--limit", type=int, metavar="N", help="Number of images for --evaluate. Default: all.")

    group = parser.add_argument_group("the recipe, the same for all methods; a regime replaces the defaults")
    add = group.add_argument
    add("--regime", metavar="NAME", help=f"Named settings, which other options override: {', '.join(REGIMES)}.")
    add("--dataset", metavar="NAME", help=f"{NAMES}. Default: digits.")
    add("--data-dir", metavar="DIR", help="Folder of tensorflow-datasets, which downloads what is missing there.")
    for name, kind, text in (
        ("--fraction", float, "Class-balanced shares of the training images. Default: 1."),
        ("--network", str, "preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH. Default: preactresnet18."),
        ("--image-size", int, "Pixels to which images are resized. Default: 32 for folder:PATH, else unchanged."),
        ("--epochs", int, "Numbers of epochs. Default: 200."),
    ):
        add(name, type=kind, nargs="+", metavar="X", help=f"{text} Several values are compared separately.")
    add("--resize", metavar="KIND", help="antialiased, area or bilinear. Default: antialiased.")
    add("--skip-damaged", action="store_true", default=None, help="Leave out image files that cannot be decoded.")
    add(
        "--validation-fraction",
        type=float,
        metavar="X",
        help="Share of the training images held out for validation. Default: 0.1.",
    )
    add(
        "--mixing-points",
        nargs="+",
        metavar="LAYER",
        help="Layers after which features are mixed, unless at= names others. Default: stage1 stage2.",
    )
    add("--batch-size", type=int, metavar="N", help="Default: 128.")
    add("--optimizer", metavar="NAME", help="sgd or adam. Default: sgd.")
    add("--learning-rate", type=float, metavar="X", help="Initial learning rate. Default: 0.1.")
    add("--schedule", metavar="NAME", help="cosine or constant. Default: cosine.")
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="Factor of the L2 penalty (sgd) or of decoupled weight decay (adam). Default: 0.0005.",
    )
    add("--augmentation", action=argparse.BooleanOptionalAction, help="Crop and flip at random. Default: yes.")
    add("--flip", action=argparse.BooleanOptionalAction, help="Flip at random. Default: where a flip keeps the class.")
    add("--mixed-precision", metavar="POLICY", help="mixed_float16 or mixed_bfloat16. Default: float32.")
    add("--jit", action="store_true", default=None, help="Compile the training step with XLA.")
    add("--tune", action="store_true", help="Choose learning rate and weight decay for each method from the same grid.")
    add(
        "--tune-learning-rate",
        type=float,
        nargs="+",
        metavar="X",
        help="The grid. Default: 1/3, 1 and 3 times the learning rate.",
    )
    add(
        "--tune-weight-decay",
        type=float,
        nargs="+",
        metavar="X",
        help="Likewise. Default: 1/3, 1 and 3 times the weight decay.",
    )
    add("--tune-seeds", type=int, default=1, metavar="N", help="Seeds for each grid point. Default: %(default)s.")

    group = parser.add_argument_group("the run")
    add = group.add_argument
    add(
        "--output",
        metavar="DIR",
        help="Folder of the study, which must be given; new, empty, or that of the same study.",
    )
    add("--jobs", type=int, metavar="N", help="Training runs at once on this machine. Default: 1.")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="Train on the workers of this scheduler of dask.distributed; they need the folder of the study.",
    )
    add(
        "--budget-minutes",
        type=float,
        metavar="X",
        help="Stop at the end of an epoch; the same command resumes. Default: no limit.",
    )
    add(
        "--check",
        metavar="DIR",
        help="Instead: repeat a training run of this study, with as many threads as it had, and compare.",
    )
    add("--cell", metavar="NAME", help="The training for --check. Default: the first.")
    add("--report", metavar="DIR", help="Instead: write the report of this study again, from its plan and records.")


def run(**options):
    """Carry out the command.

    Args:
        **options: The options of `add_arguments`.

    Raises:
        InputError: If an argument is invalid.
        SystemExit: with 1, if a training run failed or a check does not agree.
    """
    _check_options(options)
    _check_packages(options)
    if options["check"] is not None:
        return _check(options)
    if options["report"] is not None:
        return _report(options["report"])
    if options["output"] is None:
        raise InputError("`output` must name the folder of the study. Received: output=None")
    from keras_mma.study import arms, provenance
    from keras_mma.study.study import study

    methods = [arms.parse(text) for text in options["methods"]]
    methods += arms.read_file(options["arms"]) if options["arms"] is not None else []
    settings = {name: value for name, value in options.items() if value is not None and name not in _OF_THE_COMMAND}
    named = options | {"arms": options["arms"] and Path(options["arms"]).name}
    command = provenance.command(named, _defaults())
    result = study(options["output"], methods, **settings, progress=True, on_plan=describe, command=command)
    from keras_mma.study.report import summary

    show(summary(result.report))
    if result.stopped:
        print("stopped by the budget; the same command resumes")
    show(f"wrote {options['output']}/report.html")
    for name, message in result.failures.items():
        show(f"keras-mma: error: {name} failed: {message}", error=True)
    if result.failures:
        raise SystemExit(1)


def _check_options(options):
    """Refuse options that would be ignored."""
    if options["cell"] is not None and options["check"] is None:
        raise InputError(f"`cell` applies to `check` only. Received: cell={options['cell']}")
    given = [name for name, default in _defaults().items() if options[name] != default]
    for name, used in {"check": ("cell", "data_dir", "dataset", "jobs"), "report": ()}.items():
        ignored = [other for other in given if other not in (name, *used)]
        if name in given and ignored:
            raise InputError(
                f"`{name}` must not be combined with {', '.join(f'`{other}`' for other in ignored)}. Received: "
                + ", ".join(f"{other}={options[other]}" for other in (name, *ignored))
            )


def _defaults():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return vars(parser.parse_args([]))


def describe(plan):
    """Print what is going to be trained, and what it can show."""
    from keras_mma.study import power, sequential, study_cells, tuning
    from keras_mma.study.study_plan import UNKNOWN_DEFAULTS

    count = len(study_cells.of_plan(plan))
    comparisons = count // plan["seeds"] - count // plan["seeds"] // len(plan["arms"])
    words = [f"{len(plan['arms'])} methods", f"{plan['seeds']} seeds"]
    words += [f"{len(values)} of {name}" for name, values in plan["dimensions"].items() if len(values) > 1]
    show(f"{plan['images']['dataset']}: {' x '.join(words)} = {count} training runs, baseline {plan['baseline']}")
    networks, epochs = (", ".join(map(str, plan["dimensions"][name])) for name in ("network", "epochs"))
    print(f"each trains {networks} for {epochs} epochs")
    for extension in plan["extensions"]:
        print(f"note: the seeds were raised from {extension['from']} to {extension['to']} on {extension['date']}")
    if len(plan.get("evaluations", [])) > 1:
        print("note: what `--evaluate` measures was changed after the start of the study")
    if "layers" not in plan:
        print(f"note: {UNKNOWN_DEFAULTS}")
    if plan["tuning"] is not None:
        print(f"before them, {len(tuning.cells_of(plan))} training runs for the tuning, on the validation part")
    level = sequential.sequential_level((*plan["looks"], plan["seeds"]), comparisons)
    least = power.detectable_difference(plan["seeds"], 0.5, level=level)
    wanted = power.seeds_for_power(0.5, plan["margin"], level=level)
    print(
        f"{plan['images']['n']:,} images of the {plan['part']} part. If paired differences have a standard "
        f"deviation of 0.5 points, {plan['seeds']} seeds detect a difference of {least:.1f} points with a power of "
        f"80 %; {plan['margin']:g} points need {'more than 1,000,000' if wanted is None else f'{wanted:,}'} seeds"
    )


def _check(options):
    from keras_mma.study import checking
    from keras_mma.study.cell_training import train_cell

    others = {name: options[name] for name in ("data_dir", "jobs", "dataset")}
    check = checking.rerun(options["check"], train_cell, options["cell"], **others)
    words = "agrees" if check.agrees else f"differs by more than {checking.TOLERANCE:g} points"
    show(f"{check.name}: {check.before:.2f} % recorded, {check.now:.2f} % now: {words}")
    if check.changes:
        show(f"note: {check.changes}")
    if not check.agrees:
        raise SystemExit(1)


def _report(folder):
    from keras_mma.study.report import rewrite, summary

    show(summary(rewrite(folder)))
    show(f"wrote {folder}/report.html")


def _check_packages(options):
    import importlib.util

    needed = ["scipy", "matplotlib", "tqdm", "filelock", "joblib", "markdown_it"]
    if options["report"] is None:
        dataset = options["dataset"] or REGIMES.get(options["regime"], {}).get("dataset", "digits")
        dataset = None if options["check"] is not None else dataset  # that of the plan
        needed += (
            ["tensorflow"] + ["PIL", "cv2"] * (options["evaluate"] is not None) + ["sklearn"] * (dataset == "digits")
        )
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    if missing:
        extras = ["study"] + ["robustness"] * ("cv2" in missing) + ["tensorflow"] * ("tensorflow" in missing)
        raise InputError(f"{', '.join(missing)} must be installed: pip install 'keras-mma[{','.join(extras)}]'")
