"""A network for diagnoses: loaded from a file, or trained briefly."""

import sys
from pathlib import Path

import keras

import keras_mma
from keras_mma import datasets
from keras_mma.errors import InputError, with_flags
from keras_mma.study import batches, training
from keras_mma.study.recipe import METHODS, Recipe, build


def add_options(add):
    """Add the options of `load_network`; `add` is the method `add_argument` of a parser."""
    add("--dataset", default="digits", help=f"{datasets.NAMES} (default: %(default)s)")
    add("--data-dir", help="folder of tensorflow-datasets; not recorded")
    add("--image-size", type=int, help="height and width to which images are resized")
    add("--model", help="a .keras file to diagnose instead of training a network")
    add("--network", default="wideresnet-10-1", help="network to train (default: %(default)s)")
    add("--method", default="none", choices=METHODS, help="how the network is trained (default: %(default)s)")
    add("--fraction", type=float, default=1.0, help="share of the training images (default: %(default)s)")
    add("--epochs", type=int, default=5, help="epochs of training (default: %(default)s)")
    add("--batch-size", type=int, default=128, help="batch size of training (default: %(default)s)")
    add("--save", type=Path, help="file to which the trained network is saved, for --model")
    add("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")


def load_network(options, data, check=lambda network: None):
    """A network, and sentences that describe it.

    Args:
        options: The parsed options.
        data: The `keras_mma.datasets.Parts` of the dataset.
        check: Function that raises an `InputError` for a network that does not fit, before it is trained.
    """
    if options.save and not (options.save.suffix == ".keras" and options.save.parent.is_dir()):
        raise InputError(f"`save` must be a .keras file in a folder that exists. Received: {options.save}")
    if options.model:
        try:
            model = keras.models.load_model(options.model)
        except Exception as error:  # Keras raises anything for a file that is no model
            raise InputError(f"`model` {options.model} cannot be loaded: {error}") from error
        network = model.inference_model() if isinstance(model, keras_mma.MixModel) else model
        check(network)
        return network, f"The network is {options.model} with {network.count_params():,} weights."
    recipe = Recipe(
        dataset=options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        method=options.method,
        network=options.network,
        epochs=options.epochs,
        batch_size=options.batch_size,
        fraction=options.fraction,
        seed=options.seed,
    )
    train = data.train.balanced_subset(recipe.fraction, recipe.seed)
    built = build(recipe, train, batches.steps_per_epoch(recipe, len(train)))
    check(built.network)
    training.train(recipe, built.model, train, verbose=2)
    if options.save:
        built.network.save(options.save)
    test = batches.evaluation_batches(data.test, 500)
    accuracy = built.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    how = "without mixing" if recipe.method == "none" else f"with {recipe.method}"
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return built.network, (
        f"The network is {recipe.network} ({built.network.count_params():,} weights), trained {how} for {epochs} on "
        f"{len(train):,} images of {recipe.dataset}; test accuracy {accuracy:.3f}."
    )


def run_command(module, parser, run, words=None):
    """Run a benchmark from the command line; an `InputError` ends it with one line.

    Args:
        module: Name of the benchmark.
        parser: Its `argparse.ArgumentParser`.
        run: Function of the parsed options and of `words`.
        words: List of arguments; those of the process by default.
    """
    options = parser.parse_args(words)
    try:
        return run(options, words)
    except InputError as error:
        print(f"{module}: error: {' '.join(with_flags(str(error), vars(options)).split())}", file=sys.stderr)
        raise SystemExit(2) from None
