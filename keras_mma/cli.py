"""The `keras-mma` command."""

import argparse
import dataclasses
import importlib.util
import sys

from keras_mma.errors import InputError, with_flags

EPILOG = """\
examples:
  keras-mma evaluate runs/digits/saved_model --dataset digits
  keras-mma evaluate model.keras --dataset cifar10 --limit 1000 --only clean corruption --preprocess scale=1/255
  keras-mma compare plain/report.json mixed/report.json --output comparison
  keras-mma study --dataset digits --seeds 3 --methods none cutmix --output runs/study
"""


def parse(arguments=None):
    """Parse the words of the command line. The attribute `command` is the function to call."""
    parser = argparse.ArgumentParser(
        prog="keras-mma",
        description="Tools of keras_mma.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_evaluate(commands)
    _add_compare(commands)
    _add_study(commands, is_chosen="study" in (sys.argv[1:] if arguments is None else arguments)[:1])
    return parser.parse_args(arguments)


def _add_evaluate(commands):
    from keras_mma.datasets import NAMES
    from keras_mma.robustness.options import Options

    parser = commands.add_parser(
        "evaluate",
        help="measure the robustness of an image classifier",
        description="Measure the robustness of an image classifier to corruption, deformation, occlusion and attacks. "
        "Writes report.json, report.md and plots. Resumes after an interruption: finished parts are kept.",
    )
    parser.add_argument("model", metavar="MODEL", help="Folder of a SavedModel, or a .keras file.")
    parser.add_argument("--dataset", required=True, metavar="NAME", help=f"{NAMES}; its test part is measured.")
    parser.set_defaults(command=evaluate)
    for field in dataclasses.fields(Options):
        argument = dict(field.metadata)
        if not argument.pop("flag", True):
            continue
        default = "robustness-report" if field.name == "output" else field.default
        if default not in (None, False):
            argument["help"] += " Default: %(default)s."
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=default, **argument)


def evaluate(model, dataset, **options):
    """Evaluate a model and print the most important figures."""
    needed = ["scipy", "cv2", "PIL", "matplotlib", "tqdm", "filelock", *["sklearn"] * (dataset == "digits")]
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    if missing:
        raise InputError(f"{', '.join(missing)} must be installed: pip install 'keras-mma[robustness]'")
    from keras_mma import robustness

    report = robustness.evaluate(model, dataset, **options, progress=True)
    for warning in report["warnings"]:
        print(f"keras-mma: warning: {with_flags(warning, options)}", file=sys.stderr)
    for line in robustness.headlines(report):
        print(line)
    print(f"wrote {options['output']}/report.md")


def _add_compare(commands):
    parser = commands.add_parser(
        "compare",
        help="put reports side by side",
        description="One table and one plot over several reports on the same images.",
    )
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="A report.json, or its folder.")
    parser.add_argument("-o", "--output", metavar="DIR", help="Folder for comparison.md and comparison.png.")
    parser.set_defaults(command=compare)


def compare(reports, output):
    """Print a table over several reports, and write it with a plot where a folder is named."""
    from keras_mma import robustness

    print(robustness.compare(reports, output), end="")


def _add_study(commands, is_chosen):
    if not is_chosen:  # its options name the mixers, and that imports Keras
        commands.add_parser("study", help="compare mixing methods over several seeds")
        return
    from keras_mma.study import command

    command.add_parser(commands)


class _Version(argparse.Action):
    """Prints the version, for which the package is imported only then."""

    def __init__(self, option_strings, dest):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="Show the version and exit.")

    def __call__(self, parser, *arguments):
        import keras_mma

        print(f"keras-mma {keras_mma.__version__}")
        parser.exit()


def main(arguments=None):
    """Run the command.

    Args:
        arguments: List of words; those of the command line by default.

    Returns:
        0. Errors of the user, and a model that is not repeatable, exit with `SystemExit(2)` and one line.
    """
    options = vars(parse(arguments))
    command = options.pop("command")
    try:
        command(**options)
    except (InputError, OSError) as error:
        message = with_flags(str(error), options.keys() - {"model", "reports"}).replace("`model`", "MODEL")
        return _fail(message)
    except KeyboardInterrupt:
        print("\nkeras-mma: interrupted; the same command resumes with the finished parts", file=sys.stderr)
        raise SystemExit(130) from None
    return 0


def _fail(message):
    print(f"keras-mma: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
