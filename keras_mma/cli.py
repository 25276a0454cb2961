"""The `keras-mma` command."""

import argparse
import importlib.util
import sys
from pathlib import Path

import keras_mma
from keras_mma.robustness import InputError, NotRepeatable, evaluate, files, plots, report, summary
from keras_mma.robustness.parts import SECTIONS
from keras_mma.robustness.sources import NAMES

EPILOG = """\
examples:
  keras-mma evaluate runs/digits/saved_model --dataset digits
  keras-mma evaluate model.keras --dataset cifar10 --limit 1000 --only clean corruption --preprocess scale=1/255
  keras-mma evaluate --compare plain/report.json mixed/report.json --output comparison
"""


def parse(arguments=None):
    parser = argparse.ArgumentParser(prog="keras-mma", description="Tools around keras_mma.")
    parser.add_argument("--version", action="version", version=f"keras-mma {keras_mma.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    evaluation = commands.add_parser(
        "evaluate",
        help="how an image classifier holds up: clean, corrupted, deformed, occluded, attacked",
        description="Measure how an image classifier holds up: clean, corrupted, deformed, occluded and attacked. "
        "Writes report.json, report.md and plots. Run again after an interruption: finished parts are kept.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = evaluation.add_argument
    add("model", nargs="?", metavar="MODEL", help="folder of a SavedModel, or a .keras file")
    add("--dataset", help=NAMES)
    add("--output", type=Path, default=Path("robustness-report"), metavar="DIR", help="default: robustness-report")
    add("--only", nargs="+", metavar="SECTION", help=f"some of {', '.join(SECTIONS)}; clean is always measured")
    add("--limit", type=int, metavar="N", help="number of test images, drawn by the seed; all by default")
    add("--batch-size", type=int, default=128, metavar="N", help="default: 128")
    add("--seed", type=int, default=0, help="of everything random; default: 0")
    add(
        "--preprocess",
        nargs="+",
        metavar="WORD",
        help="what the model expects, as scale=1/255, mean=0.49,0.48,0.45, std=0.2,0.2,0.2, order=bgr: its input is "
        "(scale * pixel - mean) / std; by default pixels 0 to 255 as they are",
    )
    add("--outputs", metavar="KIND", help="logits or probabilities; told from the values by default")
    add("--signature", metavar="NAME", help="signature of the SavedModel; serving_default by default")
    add(
        "--corruptions",
        default="regenerate",
        metavar="SOURCE",
        help="regenerate (default), tfds (CIFAR-10-C of tensorflow-datasets) or the folder of the published .npy files",
    )
    add("--baseline", metavar="REPORT", help="report.json against which corruption errors are also given")
    add("--restarts", type=int, default=2, metavar="N", help="random starts of PGD; default: 2")
    add("--saliency", default="fine_grained", metavar="NAME", help="detector that orders the patches of the occlusion")
    add("--data-dir", metavar="DIR", help="folder of tensorflow-datasets; what is not there is downloaded")
    add("--image-size", type=int, metavar="N", help="pixels to which the pictures of folder:PATH are resized")
    add("--compare", nargs="+", metavar="REPORT", help="instead of measuring: one table and one plot over reports")
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.compare is None):
        evaluation.error("give either MODEL or --compare")
    if options.model is not None and options.dataset is None:
        evaluation.error(f"--dataset is needed: {NAMES}")
    return options


def measure(options):
    """Evaluate one model and print what matters most."""
    result = evaluate(
        options.model,
        options.dataset,
        only=options.only,
        limit=options.limit,
        batch_size=options.batch_size,
        seed=options.seed,
        preprocess=options.preprocess,
        outputs=options.outputs,
        signature=options.signature,
        corruptions=options.corruptions,
        data_dir=options.data_dir,
        image_size=options.image_size,
        baseline=options.baseline,
        restarts=options.restarts,
        saliency=options.saliency,
        output=options.output,
        progress=True,
    )
    for warning in result["warnings"]:
        print(f"keras-mma: warning: {warning}", file=sys.stderr)
    print(f"outputs are {result['model']['outputs']}, {result['model']['outputs_decided']}")
    print(f"clean error {result['clean']['error']:.2%}, calibration error {result['clean']['ece']:.4f}")
    if "corruption" in result:
        section = result["corruption"]
        print(f"mean corruption error {section['mean_error']:.2%} ({section['label']})")
        if section["baseline"] and section["baseline"]["mce"] is not None:
            print(f"mCE {section['baseline']['mce']:.2%} of {options.baseline}")
    if result.get("attack", {}).get("results"):
        one = result["attack"]["results"][-1]
        print(f"robust accuracy {one['robust_accuracy']:.2%} under PGD-20 at {one['epsilon_255']}/255")
    print(f"wrote {options.output / 'report.md'}")


def compare(options):
    """One table, printed and written, and one plot over several reports."""
    reports = [files.read_report(path) for path in options.compare]
    summary.check_comparable(reports, options.compare)
    text = report.comparison(reports, options.compare)
    picture = plots.compare(reports, options.compare)
    options.output.mkdir(parents=True, exist_ok=True)
    files.write(options.output / "comparison.png", picture)
    files.write(options.output / "comparison.md", text + "\n![Errors side by side](comparison.png)\n")
    print(text, end="")


def main(arguments=None):
    """Run the command.

    Args:
        arguments: List of words; those of the command line by default.

    Returns:
        0; errors of the user, and a model that is not repeatable, leave with `SystemExit(2)` and one line.
    """
    options = parse(arguments)
    needed = ["scipy", "cv2", "PIL", "matplotlib", "tqdm", *["sklearn"] * (options.dataset == "digits")]
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    if missing:
        return _fail(f"{', '.join(missing)} must be installed: pip install 'keras-mma[robustness]'")
    try:
        (measure if options.compare is None else compare)(options)
    except (InputError, NotRepeatable) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("\nkeras-mma: interrupted; the same command goes on from the finished parts", file=sys.stderr)
        raise SystemExit(130) from None
    return 0


def _fail(message):
    print(f"keras-mma: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
