"""Train an image classifier with saliency-guided input mixing and feature-level mask adaptation.

    python examples/train_cifar.py --dataset digits --method saliencymix+mma --network wideresnet-10-1 \
        --epochs 20 --output runs/digits

takes a minute on two cores and printed a test accuracy of 0.9933. The recipe of the mixing papers, for a GPU, is

    python examples/train_cifar.py --dataset cifar10 --method saliencymix+mma --epochs 200 --output runs/cifar10

A tenth of the training images is held out for validation, which the training watches; the test part is evaluated once,
at the end. Run the same command again after an interruption: it resumes after the last finished epoch and gives the
history of an undisturbed run. Into the output folder go `config.json`, `history.csv`, `history.png`, `mixing.png`,
`model.keras`, `saved_model/` (except on PyTorch), `states/` for resuming, and `result.json`.

The recipe itself is `keras_mma.study.recipe`; this script reads the options, trains, draws and saves.
"""

import argparse
import contextlib
import math
import sys
from pathlib import Path

from keras_mma_command import load_quietly

load_quietly()  # TensorFlow logs several lines while it is imported

import distribution
import keras
import numpy as np
import script
import tensorflow as tf

from keras_mma import datasets, files, plotting, visualization
from keras_mma.errors import InputError, with_flags
from keras_mma.study import batches, training
from keras_mma.study.recipe import METHODS, Recipe, build
from keras_mma.terminal import printable, show

# Below this number of steps, epochs are no measure of the length of a training.
FEW_STEPS = 10


def parser():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--dataset", default="digits", help=datasets.NAMES)
    add("--data-dir", help="folder of tensorflow-datasets; what is missing there is downloaded")
    add("--image-size", type=int, help="pixels to which images are resized; 32 by default for folder:PATH")
    add("--skip-damaged", action="store_true", help="leave out image files that cannot be decoded")
    add("--validation-fraction", type=float, default=0.1, help="share of the training images held out for validation")
    add("--method", default="saliencymix+mma", choices=METHODS, help="mixer, and +mma to mix features too")
    add("--mixing-points", nargs="+", default=["stage1", "stage2"], help="layers after which features are mixed")
    add(
        "--alpha",
        type=float,
        help="parameter of the Beta distribution, for mixers that have one; by default as in keras-mma study",
    )
    add("--probability", type=float, help="share of samples that are mixed; by default as in keras-mma study")
    add("--detector", help="saliency detector, by name, for the mixers that use saliency")
    add(
        "--attribution",
        choices=["activation", "gradient"],
        help="attribution of the network, used as saliency instead of a detector; by default as in keras-mma study",
    )
    add(
        "--label",
        choices=["area", "saliency", "sumix"],
        help="rule for the share of its own label that a sample keeps; the mixer's by default",
    )
    add("--network", default="preactresnet18", help="preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH")
    add("--epochs", type=int, default=200)
    add("--batch-size", type=int, default=128)
    add("--learning-rate", type=float, default=0.1)
    add("--weight-decay", type=float, default=5e-4, help="factor of the gradient of the L2 penalty")
    add("--no-augmentation", dest="augmentation", action="store_false", help="neither crop nor mirror")
    add("--fraction", type=float, default=1.0, help="class-balanced share of the training images")
    add("--seed", type=int, default=0, help="seed of everything random")
    add("--mixed-precision", nargs="?", const="mixed_float16", choices=["mixed_float16", "mixed_bfloat16"])
    add("--jit", action="store_true", help="compile the training step with XLA")
    add(
        "--distribute",
        choices=["mirrored", "multiworker", "jax"],
        help="this machine's devices (TensorFlow), the workers in TF_CONFIG (TensorFlow), or the devices of JAX",
    )
    add("--devices", type=int, help="number of devices; all by default. Without accelerators: logical CPUs")
    add("--output", type=Path, required=True, metavar="DIR")
    return parser


def make_recipe(options):
    """The recipe of the options that are not of this script alone."""
    settings = {name: value for name, value in vars(options).items() if name in Recipe.__dataclass_fields__}
    if options.image_size is None and options.dataset.startswith("folder:"):
        settings["image_size"] = 32
    if options.detector and options.attribution:
        raise InputError("`detector` and `attribution` exclude each other")
    arguments = {"alpha": options.alpha, "probability": options.probability, "label": options.label}
    arguments["detector"] = options.detector or options.attribution
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return Recipe(**settings, mixer_arguments=arguments)


def describe(recipe, data, train, steps, network):
    """Print what is trained on what, and what of it may surprise."""
    parts = {"training": train, "test": data.test}
    if recipe.validation_fraction:
        parts = {"training": train, "validation": data.validation, "test": data.test}
    show(f"{recipe.method} on {recipe.dataset}: " + ", ".join(f"{len(part):,} {name}" for name, part in parts.items()))
    show(f"images {' x '.join(map(str, train.shape))}, {train.decoding}; test images: {data.test.selection}")
    for part in parts.values():
        if part.skipped:
            show(f"damaged files left out: {len(part.skipped)}, {', '.join(map(printable, part.skipped[:3]))}")
    plural = "step" if steps == 1 else "steps"
    last = len(train) % recipe.batch_size if steps > 1 else 0
    smaller = f", the last with {last} images" if last else ""
    show(f"{steps} {plural} an epoch{smaller}; {network.count_params():,} weights")
    if steps < FEW_STEPS:
        show(
            f"an epoch has only {steps} {plural}, {recipe.epochs * steps} in all: smaller batches or more epochs train "
            "longer"
        )


def draw(recipe, built, train, history, output):
    """Draw the history and a few mixed images."""
    visualization.plot_history(history, output / "history.png", mixed=built.mixer is not None)
    if built.mixer is None:
        return
    images = train.read(np.random.default_rng(recipe.seed).integers(0, len(train), 16))
    points = recipe.mixing_points if recipe.method.endswith("+mma") else []
    layers = {point: built.network.get_layer(point).output for point in points}
    features = {point: predict(keras.Model(built.network.input, layer), images) for point, layer in layers.items()}
    visualization.plot_mixing(built.mixer, images, features=features, path=output / "mixing.png")


class StopDiverged(keras.callbacks.Callback):
    """Ends a training whose loss becomes infinite or NaN."""

    def on_epoch_end(self, epoch, logs=None):
        check_loss(logs["loss"], epoch + 1)


def check_loss(loss, epochs):
    """Refuse a training that has diverged: its weights are not numbers any more."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is not finite after epoch {epochs}: lower `learning_rate`, and choose another `output` folder. "
            f"Received: loss={loss}"
        )


def difference_of_saved_model(model, output, images):
    """The largest difference of the reloaded SavedModel's predictions."""
    served = tf.saved_model.load(str(output / "saved_model"))
    difference = float(np.abs(predict(served.serve, images) - predict(model, images)).max())
    if not math.isfinite(difference):
        raise RuntimeError("the predictions of the model or of the reloaded SavedModel are not finite")
    return difference


def predict(model, images):
    """Predictions of anything callable, on one device: what `predict` does depends on how the batch is spread."""
    # A signature takes floats, as the model's input does.
    parts = np.array_split(images.astype("float32"), max(1, len(images) // 100))
    return np.concatenate([keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(part))) for part in parts])


def check_devices(options, recipe, train, test, devices):
    """Refuse what cannot be split among the devices, before anything is trained."""
    size = min(recipe.batch_size, len(train))
    if size % devices:
        raise InputError(f"`batch_size` must be a multiple of the {devices} devices. Received: batches of {size}")
    if options.distribute == "jax" and len(test) % devices:
        raise InputError(
            f"`devices` must divide the {len(test)} test images with `distribute` jax. Received: devices={devices}"
        )


def in_words_of_the_options(error):
    """The message of an error, with flags for the names of arguments."""
    if files.is_full_disk(error):
        return files.full_disk("--output")
    message = str(error).replace("`at`", "`mixing_points`")  # `mixify` has another name for this option
    return with_flags(message, [action.dest for action in parser()._actions])


def main(arguments=None):
    options = parser().parse_args(arguments)
    plotting.require()
    recipe = make_recipe(options)
    if options.distribute == "multiworker":
        if recipe.method == "none":
            raise InputError("`method` none cannot be trained by `distribute` multiworker: a plain Keras model fails")
        if (options.output / "config.json").exists():
            raise InputError(f"`output` {options.output} holds a run, and `distribute` multiworker cannot resume one")
    scope, devices, worker = distribution.start(options.distribute, options.devices)
    output = options.output / f"worker-{worker}" if worker else options.output
    data = recipe.load_data()
    train = data.train.balanced_subset(recipe.fraction, recipe.seed)
    validation = data.validation if recipe.validation_fraction else None
    check_devices(options, recipe, train, data.test, devices)
    steps = batches.steps_per_epoch(recipe, len(train), devices)
    with contextlib.ExitStack() as stack:
        with scope:
            built = build(recipe, train, steps)
            # Not before all options have proved to be good.
            spread = {"distribute": options.distribute, "devices": options.devices}
            stack.enter_context(training.claim(output, recipe, data, spread))
            describe(recipe, data, train, steps, built.network)
            resumable = options.distribute != "multiworker"
            if resumable and training.is_finished(output, recipe):
                show(f"{output} holds the finished training, which is evaluated; delete the folder to train again")
            verbose = "auto" if sys.stdout.isatty() else 2  # without control characters in files
            history = training.train(
                recipe, built.model, train, validation, output, devices, resumable, verbose, [StopDiverged()]
            )
            check_loss(history["loss"][-1], len(history["loss"]))  # of a training that has ended before
            draw(recipe, built, train, history, output)
            training.save(built.model, output)
            test = batches.evaluation_batches(data.test, recipe.batch_size)
            evaluated = built.model.evaluate(test, verbose=0, return_dict=True)
            check_loss(evaluated["loss"], len(history["epoch"]))  # its last step, or statistics for inference only
        accuracy, difference = evaluated["accuracy"], None
        if keras.backend.backend() != "torch":  # for which Keras exports no SavedModel
            # A SavedModel is loaded as one who has only that would load it.
            difference = difference_of_saved_model(built.model, output, data.test.read(data.test.indices(1000)))
        result = {"test_accuracy": accuracy, "epochs": len(history["epoch"]), "saved_model_difference": difference}
        files.write_json(output / "result.json", result)
    print(f"test accuracy: {accuracy:.4f}")
    if difference is None:
        show("Keras exports no SavedModel on PyTorch; model.keras can be loaded and exported on another backend")
        return
    tolerance = 1e-2 if recipe.mixed_precision else 1e-4
    if difference > tolerance:
        raise RuntimeError(f"the reloaded SavedModel's predictions differ by {difference:.2e}, more than {tolerance}")
    print(f"the reloaded SavedModel gives the same predictions (largest difference {difference:.1e})")


if __name__ == "__main__":
    script.run(main, in_words_of_the_options)
