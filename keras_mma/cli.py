"""The `keras-mma` command.

Modules are imported by the functions that need them, so that help and errors in the options do not wait for Keras.
"""

import argparse
import dataclasses
import importlib.util
import sys

from keras_mma import files
from keras_mma._version import __version__
from keras_mma.errors import InputError, with_flags
from keras_mma.terminal import show

EXAMPLES = """\
examples:
  keras-mma evaluate runs/digits/saved_model --dataset digits
  keras-mma compare runs/plain-report runs/mixed-report --output runs/comparison
  keras-mma gallery --dataset digits -o gallery.png
  keras-mma study --dataset digits --seeds 3 --methods none cutmix --output runs/study

keras-mma COMMAND --help describes the options of a command.
"""
EVALUATE_EXAMPLES = """\
examples:
  keras-mma evaluate runs/digits/saved_model --dataset digits
  keras-mma evaluate model.keras --dataset cifar10 --limit 1000 --only clean corruption --preprocess scale=1/255
  keras-mma evaluate saved_model --dataset folder:photos --image-size 224 --preprocess scale=1/127.5 mean=1
  keras-mma evaluate saved_model --dataset digits --sandbox --sandbox-minutes 30 --sandbox-gib 8

Measure only models that you trust: the graph of a SavedModel can read and write files.
"""
COMPARE_EXAMPLES = """\
examples:
  keras-mma compare runs/plain-report runs/mixed-report
  keras-mma compare plain/report.json mixed/report.json --output comparison
  keras-mma compare mixed-0 mixed-1 mixed-2 --against plain-0 plain-1 plain-2
"""

GALLERY_EXAMPLES = """\
examples:
  keras-mma gallery --dataset digits -o gallery.png
  keras-mma gallery --dataset folder:photos --image-size 160 --samples 4
"""


#: Images of a gallery. A PNG file that is much wider could not be written.
MOST_SAMPLES = 100


def parse(arguments):
    """Parse the words of the command line. The attribute `command` is the function to call."""
    parser = argparse.ArgumentParser(
        prog="keras-mma",
        description="Measure how robust an image classifier is, and whether mixing helps on your images.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"keras-mma {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (summary, add) in COMMANDS.items():
        if name in arguments[:1]:
            add(commands, summary)
        else:  # the options of some commands import much
            commands.add_parser(name, help=summary)
    return parser.parse_args(arguments)


def _add_evaluate(commands, summary):
    from keras_mma.datasets import NAMES
    from keras_mma.robustness.options import Options

    parser = commands.add_parser(
        "evaluate",
        help=summary,
        description="Measure the robustness of an image classifier to corruption, deformation, occlusion and attacks. "
        "Writes report.html, report.json, report.md and pictures. Resumes after an interruption: finished parts are "
        "kept.",
        epilog=EVALUATE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="Folder of a SavedModel, or a .keras file, that you trust.")
    parser.add_argument("--dataset", required=True, metavar="NAME", help=f"{NAMES}; its test part is measured.")
    parser.set_defaults(command=evaluate)
    for field in dataclasses.fields(Options):
        argument = {name: value for name, value in field.metadata.items() if name != "section"}
        if not argument.pop("flag", True):
            continue
        default = "robustness-report" if field.name == "output" else field.default
        if default is not None and default is not False:
            argument["help"] += " Default: %(default)s."
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=default, **argument)
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="Run in a process of its own with limits of time and, on Linux, of memory. The model can still read and "
        "write files.",
    )
    for name, default, text in (("minutes", 60.0, "Limit of time"), ("gib", 16.0, "Limit of memory")):
        parser.add_argument(
            f"--sandbox-{name}",
            type=float,
            default=default,
            metavar="X",
            help=f"{text} with --sandbox. Default: %(default)g.",
        )


def evaluate(model, dataset, **options):
    """Evaluate a model and print the most important figures."""
    packages = ["scipy", "cv2", "PIL", "matplotlib", "tqdm", "filelock", "markdown_it"]
    _require(*packages, *["sklearn"] * (dataset == "digits"))
    from keras_mma import robustness

    report = robustness.evaluate(model, dataset, **options, progress=True)
    for warning in report["warnings"]:
        show(f"keras-mma: warning: {with_flags(warning, options)}", error=True)
    for line in robustness.headlines(report):
        show(line)
    show(f"wrote {options['output']}/report.html")


def _require(*packages):
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise InputError(f"{', '.join(missing)} must be installed: pip install 'keras-mma[robustness]'")


def _add_compare(commands, summary):
    parser = commands.add_parser(
        "compare",
        help=summary,
        description="Tables and plots over several reports on the same images, with paired differences and their "
        "intervals: from the first report, or between two methods of which each has a report for every seed.",
        epilog=COMPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="A report.json, or its folder.")
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="REPORT",
        help="Reports of another method, one for each REPORT before, in the same order of seeds. Then the differences "
        "are those of the two methods, with intervals over the seeds. By default differences are those from the first "
        "REPORT, with intervals over the images.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="Folder for comparison.html, comparison.md and plots. By default the tables are printed and nothing is "
        "written.",
    )
    parser.set_defaults(command=compare)


def compare(reports, output, against):
    """Print tables over several reports, and write them with plots where a folder is named."""
    _require("scipy", "matplotlib", "filelock", "markdown_it")
    from keras_mma import robustness

    show(robustness.compare(reports, output, against).removesuffix("\n"))


def _add_gallery(commands, summary):
    from keras_mma.datasets import NAMES

    parser = commands.add_parser(
        "gallery",
        help=summary,
        description="Draw the same images through every mixer, a row for each, with the label of each mixed image.",
        epilog=GALLERY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", default="digits", metavar="NAME", help=f"{NAMES}. Default: %(default)s.")
    parser.add_argument(
        "-o", "--output", default="gallery.png", metavar="FILE", help="PNG file that is written. Default: %(default)s."
    )
    parser.add_argument("--samples", type=int, default=6, metavar="N", help="Number of images. Default: %(default)s.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="Seed of the draws. Default: %(default)s.")
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="Height and width to which images are resized. Default: unchanged."
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="Folder of tensorflow-datasets, which downloads what is missing there."
    )
    parser.set_defaults(command=gallery)


def gallery(dataset, output, samples, seed, image_size, data_dir):
    """Draw images of a dataset through every mixer."""
    if not 2 <= samples <= MOST_SAMPLES:
        raise InputError(f"`samples` must be 2 to {MOST_SAMPLES}. Received: samples={samples}")
    if seed < 0:
        raise InputError(f"`seed` must not be negative. Received: seed={seed}")
    if not str(output).lower().endswith(".png"):
        raise InputError(f"`output` must be the name of a PNG file. Received: {output}")
    import numpy as np

    from keras_mma import datasets, layers, plotting, visualization

    plotting.require()

    images = datasets.load(dataset, data_dir=data_dir, image_size=image_size, validation_fraction=0).train
    indices = np.random.default_rng(seed).permutation(len(images))[:samples]
    mixers = {name: mixer(seed=seed) for name, mixer in layers.MIXERS.items()}
    # A random partner may be the image itself, which shows nothing.
    mixers = {
        name: mixer
        if isinstance(mixer, layers.RandomChoice) or mixer.partner != "shuffle"
        else mixer.copy(partner="roll")
        for name, mixer in mixers.items()
    }
    visualization.plot_gallery(
        mixers, images.read(np.sort(indices)), images.labels[np.sort(indices)], images.class_names, output
    )
    show(f"wrote {output}")


def _add_study(commands, summary):
    from keras_mma.study import command

    command.add_parser(commands, summary)


#: From the name of a command to its summary and the function that adds its parser.
COMMANDS = {
    "evaluate": ("measure the robustness of an image classifier", _add_evaluate),
    "compare": ("put reports side by side", _add_compare),
    "gallery": ("draw images through every mixer", _add_gallery),
    "study": ("compare mixing methods over several seeds", _add_study),
}
#: Commands that keep what they have finished.
_RESUMING = ("evaluate", "study")


def main(arguments=None, load_package=None):
    """Run the command.

    Args:
        arguments: List of words; those of the command line by default.
        load_package: Function that is called before anything but help is asked for, or `None`.

    Returns:
        0. Errors of the user, and a model that is not repeatable, exit with `SystemExit(2)` and one line, and an
        interruption with `SystemExit(130)`, as does the process of `--sandbox`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = vars(parse(words))
    command = options.pop("command")
    sandbox = {name: options.pop(name) for name in [*options] if name.startswith("sandbox")}
    try:
        if sandbox.get("sandbox"):
            return _run_in_sandbox(words, sandbox)
        if load_package is not None:
            load_package()
        command(**options)
    except (InputError, OSError) as error:
        is_full = isinstance(error, OSError) and files.is_full_disk(error) and words[0] in _RESUMING
        message = files.full_disk(options["output"] or options.get("report")) if is_full else str(error)
        message = with_flags(message, (options.keys() | sandbox.keys()) - {"model", "reports"}).replace(
            "`model`", "MODEL"
        )
        return _fail(message)
    except KeyboardInterrupt:
        hint = "; the same command resumes with the finished parts" if words[0] in _RESUMING else ""
        print(f"\nkeras-mma: interrupted{hint}", file=sys.stderr)
        raise SystemExit(130) from None
    return 0


def _run_in_sandbox(words, limits):
    from keras_mma.robustness import sandbox

    words = [word for word in words if word != "--sandbox"]
    status = sandbox.run(words, limits["sandbox_minutes"], limits["sandbox_gib"])
    if status:
        raise SystemExit(status)
    return 0


def _fail(message):
    show(f"keras-mma: error: {' '.join(message.split())}", error=True)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
