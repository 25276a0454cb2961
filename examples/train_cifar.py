"""Train an image classifier with saliency-guided input mixing and feature-level mask adaptation.

    python examples/train_cifar.py --dataset digits --method saliencymix+mma --network wideresnet-10-1 \
        --epochs 20 --output runs/digits

takes a minute on two cores and printed a test accuracy of 0.9933. The paper's setting is

    python examples/train_cifar.py --dataset cifar10 --method saliencymix+mma --epochs 200 --output runs/cifar10

Run the same command again after an interruption: it goes on from the last finished epoch. Into the output folder go
`config.json`, `history.csv`, `history.png`, `mixing.png`, `model.keras`, `saved_model/` and `result.json`.
"""

import argparse
import csv
import inspect
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import datasets
import distribution
import keras
import numpy as np
import tensorflow as tf

import keras_mma
from keras_mma import layers, visualization

# Host, and the adaptation at the feature sites of Manifold Mixup, which mixes them by the plain mask. The
# probabilities are the papers' for CIFAR.
HOSTS = {
    "mixup": (layers.MixUp, 1.0),
    "cutmix": (layers.CutMix, 0.5),
    "saliencymix": (layers.SaliencyMix, 0.5),
    "grafting": (layers.SaliencyGrafting, 1.0),
    "guided": (layers.GuidedMixup, 1.0),
}
METHODS = ["none", *HOSTS, *(f"{host}+mma" for host in HOSTS), "manifold"]
PLAIN = {"attention": None, "smooth": False}


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="digits", help="digits, cifar10, cifar100 or folder:PATH")
    parser.add_argument("--data-dir", help="folder of tensorflow-datasets; what is not there is downloaded")
    parser.add_argument("--image-size", type=int, default=32, help="pixels, for the pictures of a folder")
    parser.add_argument("--method", default="saliencymix+mma", choices=METHODS, help="host, and +mma for feature sites")
    parser.add_argument(
        "--mixing-points", nargs="+", default=["stage1", "stage2"], help="layers after which +mma mixes"
    )
    parser.add_argument("--alpha", type=float, help="parameter of the Beta distribution; 1 by default")
    parser.add_argument("--detector", help="detector of images for saliencymix, grafting and guided, by name")
    parser.add_argument(
        "--attribution",
        choices=["activation", "gradient"],
        help="saliency in the eyes of the network instead of a detector; grafting's default is activation",
    )
    parser.add_argument("--probability", type=float, help="share of rows that are mixed; the paper's by default")
    parser.add_argument("--network", default="preactresnet18", help="preactresnet18 or wideresnet-DEPTH-WIDTH")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4, help="factor of the L2 penalty's gradient")
    parser.add_argument("--fraction", type=float, default=1.0, help="class-balanced share of the training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mixed-precision", nargs="?", const="mixed_float16", choices=["mixed_float16", "mixed_bfloat16"]
    )
    parser.add_argument("--jit", action="store_true", help="compile the training step with XLA")
    parser.add_argument(
        "--distribute",
        choices=["mirrored", "multiworker", "jax"],
        help="over this machine's devices by TensorFlow, over the workers that TF_CONFIG names, or by JAX",
    )
    parser.add_argument("--devices", type=int, help="how many; all by default. Without accelerators: logical CPUs")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    for name in ("epochs", "batch_size", "image_size", "devices"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"argument --{name.replace('_', '-')}: must be at least 1, received {getattr(options, name)}")
    for name in ("learning_rate", "weight_decay"):
        if getattr(options, name) < 0:
            parser.error(
                f"argument --{name.replace('_', '-')}: must not be negative, received {getattr(options, name)}"
            )
    return options


def prepare_output(options):
    """Claim the output folder for this run; refuse one that holds another."""
    config = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    config |= {
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "keras_mma": keras_mma.__version__,
    }
    path = options.output / "config.json"
    if options.distribute == "multiworker" and path.exists():
        raise ValueError(f"--output {options.output} holds a run, and --distribute multiworker cannot resume one")
    if path.exists():
        before = json.loads(path.read_text())
        changed = sorted(name for name in vars(options) if name != "output" and before.get(name) != config[name])
        if changed:
            values = ", ".join(f"{name}={before.get(name)!r}" for name in changed)
            raise ValueError(f"--output {options.output} holds another run, with {values}: choose another folder")
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(config, indent=2) + "\n")


def make_network(options, images):
    """The network, which takes bytes: the normalisation of the training images is its first layer."""
    pixels = images.train[0].reshape(-1, images.shape[-1])
    normalization = keras.layers.Normalization(mean=pixels.mean(0), variance=pixels.var(0), name="normalization")
    common = {
        "input_shape": images.shape,
        "classes": len(images.class_names),
        "preprocessing": [normalization],
    }
    if options.network == "preactresnet18":
        return keras_mma.models.PreActResNet18(**common)
    kind, *sizes = options.network.split("-")
    if kind != "wideresnet" or len(sizes) != 2 or not all(size.isdigit() for size in sizes):
        raise ValueError(f"--network must be preactresnet18 or wideresnet-DEPTH-WIDTH. Received: {options.network!r}")
    return keras_mma.models.WideResNet(*map(int, sizes), **common)


def make_model(options, network):
    """The model that is trained, and its host (`None` without mixing)."""
    name, _, adaptation = options.method.partition("+")
    if name == "none":
        if options.alpha is not None or options.detector or options.attribution or options.probability is not None:
            raise ValueError("--alpha, --probability, --detector and --attribution have no meaning for --method none")
        return network, None
    is_manifold = name == "manifold"
    cls, probability = HOSTS["mixup" if is_manifold else name]
    if options.probability is not None:
        probability = options.probability
    host = cls(probability=probability, seed=options.seed, **host_settings(options, cls))
    at = options.mixing_points if adaptation or is_manifold else []
    model = keras_mma.mixify(network, host, at=at, **(PLAIN if is_manifold else {}))
    # The model's own copy of the host knows the network.
    return model, next(layer for layer in model.layers if isinstance(layer, layers.Mixer))


def host_settings(options, cls):
    """The options that a host takes; those that it does not take are refused."""
    if options.detector and options.attribution:
        raise ValueError("--detector and --attribution exclude each other")
    settings = {}
    if options.alpha is not None:
        settings["alpha"] = options.alpha
    detector = options.detector or options.attribution
    if detector or cls is layers.SaliencyGrafting:
        settings["detector"] = detector or "activation"
    takes = inspect.signature(cls).parameters
    for name, option in (("alpha", "--alpha"), ("detector", "--detector or --attribution")):
        if name in settings and name not in takes:
            raise ValueError(f"{option} has no meaning for --method {options.method}")
    return settings


def batch_size(options, count):
    """That of the options, or all images where there are fewer."""
    return min(options.batch_size, count)


def training_batches(images, options):
    """Shuffled batches, cropped from images padded by an eighth, and mirrored where that keeps the class."""
    x, y = datasets.balanced_subset(*images.train, options.fraction, options.seed)
    height, width, channels = images.shape
    pad = max(1, height // 8)

    def augment(image, label):
        image = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
        image = tf.image.random_crop(image, (height, width, channels))
        return (tf.image.random_flip_left_right(image) if images.flip else image), label

    # Labels in one-hot form suit both the plain network and the MixModel.
    y = keras.utils.to_categorical(y, len(images.class_names))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=options.seed)
    batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE).batch(
        batch_size(options, len(x)), drop_remainder=True
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def test_batches(images, options):
    x, y = images.test
    y = keras.utils.to_categorical(y, len(images.class_names))
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(options.batch_size).prefetch(tf.data.AUTOTUNE)


def compile_model(model, options, steps):
    schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, decay_steps=options.epochs * steps)
    momentum = 0.9
    # Keras decays weights outside the momentum, the papers inside it, where it adds up to 1 / (1 - momentum) as much.
    decay = options.weight_decay / (1 - momentum)
    optimizer = keras.optimizers.SGD(schedule, momentum=momentum, nesterov=True, weight_decay=decay or None)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True if options.jit else "auto")


def read_history(path):
    """The columns of `history.csv`, one row for each epoch: the last, where an epoch was run twice."""
    if not path.exists():
        return {}
    with path.open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file) if None not in row.values()}
    names = [name for name in next(iter(rows.values()), {}) if name != "epoch"]
    return {"epoch": sorted(rows)} | {name: [float(rows[epoch][name]) for epoch in sorted(rows)] for name in names}


def train(model, train_ds, test_ds, options):
    """Fit, resuming where an earlier call of the same command stopped. Returns the history of all epochs."""
    backup, path = options.output / "backup", options.output / "history.csv"
    callbacks = [keras.callbacks.CSVLogger(path, append=True)]
    if options.distribute != "multiworker":  # whose backups could be of different epochs
        callbacks.append(keras.callbacks.BackupAndRestore(backup, double_checkpoint=True, delete_checkpoint=False))
    model.fit(train_ds, validation_data=test_ds, epochs=options.epochs, callbacks=callbacks)
    history = read_history(path)
    rows = zip(*history.values(), strict=True)
    write_text(path, "\n".join(",".join(map(str, row)) for row in [list(history), *rows]) + "\n")
    return history


def draw(options, network, host, images, history):
    if history:
        visualization.show_history(history, options.output / "history.png")
    if host is None:
        return
    batch = images.train[0][np.random.default_rng(options.seed).integers(0, len(images.train[0]), 16)]
    points = options.mixing_points if "+mma" in options.method else []
    features = {point: predict(keras.Model(network.input, network.get_layer(point).output), batch) for point in points}
    visualization.show_mixing(host, batch, features=features, path=options.output / "mixing.png")


def save(model, options):
    """Write the checkpoint and the SavedModel."""
    temporary = options.output / "unfinished.keras"
    model.save(temporary)
    temporary.replace(options.output / "model.keras")
    model.export(options.output / "saved_model", verbose=False)


def difference_of_saved_model(model, options, images):
    """The largest difference of the reloaded SavedModel's predictions."""
    served = tf.saved_model.load(str(options.output / "saved_model"))
    sample = images.test[0][:1000]
    return float(np.abs(predict(served.serve, sample) - predict(model, sample)).max())


def predict(model, images):
    """Predictions of anything callable, on one device: what `predict` does depends on how the batch is spread."""
    # A signature takes floats, as the model's input does.
    parts = np.array_split(images.astype("float32"), max(1, len(images) // 100))
    return np.concatenate([keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(part))) for part in parts])


def write_text(path, text):
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".unfinished")
    temporary.write_text(text)
    temporary.replace(path)


def check_batches(options, images, parts):
    """Refuse what cannot be split among the devices, before anything is trained."""
    size = batch_size(options, round(options.fraction * len(images.train[0])))
    if size % parts:
        raise ValueError(f"--batch-size must be a multiple of the {parts} devices. Received: batches of {size}")
    count = len(images.test[0])
    if options.distribute == "jax" and count % parts:
        raise ValueError(f"--devices must divide the {count} test images with --distribute jax. Received: {parts}")


def main(arguments=None):
    options = parse(arguments)
    if options.distribute == "multiworker" and options.method == "none":
        raise ValueError("--method none cannot be trained by --distribute multiworker: a plain Keras model fails there")
    scope, parts, worker = distribution.start(options.distribute, options.devices)
    if worker:
        options.output /= f"worker-{worker}"
    with scope:
        model, images, result = run(options, parts)
    # A SavedModel is loaded as one who has only that would load it.
    difference = difference_of_saved_model(model, options, images)
    result["saved_model_difference"] = difference
    write_text(options.output / "result.json", json.dumps(result, indent=2) + "\n")
    print(f"test accuracy: {result['test_accuracy']:.4f}")
    tolerance = 1e-2 if options.mixed_precision else 1e-4
    if difference > tolerance:
        raise RuntimeError(f"the reloaded SavedModel's predictions differ by {difference:.2e}, more than {tolerance}")
    print(f"the reloaded SavedModel gives the same predictions (largest difference {difference:.1e})")


def run(options, parts):
    """Train, draw and save. Returns the model, the images and the result."""
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.config.set_dtype_policy(options.mixed_precision)
    images = datasets.load(options.dataset, options.data_dir, options.image_size)
    check_batches(options, images, parts)
    network = make_network(options, images)
    model, host = make_model(options, network)
    train_ds, test_ds = training_batches(images, options), test_batches(images, options)
    compile_model(model, options, len(train_ds))
    prepare_output(options)  # not before all options have proved to be good
    print(f"{options.method} on {options.dataset}: {len(train_ds)} steps an epoch, {network.count_params():,} weights")
    history = train(model, train_ds, test_ds, options)
    draw(options, network, host, images, history)
    save(model, options)
    accuracy = model.evaluate(test_ds, verbose=0, return_dict=True)["accuracy"]
    return model, images, {"test_accuracy": accuracy, "epochs": len(history["epoch"])}


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"train_cifar.py: error: {error}")
