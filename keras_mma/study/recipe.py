"""The training recipe: the settings of a training, and the model that they describe.

`Recipe` is plain data. The functions here turn it into a compiled model; `batches` feeds the model and `training`
fits it. For one seed, the training subset, the initial weights of the network and the order and augmentation of the
batches are the same for every method, so that two methods are compared as pairs.
"""

import contextlib
import dataclasses
import difflib
import inspect
from typing import NamedTuple

import keras
import numpy as np

import keras_mma
from keras_mma import checks, datasets, layers
from keras_mma.errors import InputError
from keras_mma.study import fused_normalization

#: Mixers by name; `switch` chooses between MixUp and CutMix for each step.
MIXERS = {"switch" if name == "randomchoice" else name: mixer for name, mixer in layers.MIXERS.items()}
# Settings of papers or authors' commands for CIFAR that differ from the defaults of the layers.
METHOD_ARGUMENTS = {
    "cutmix": {"probability": 0.5},
    "saliencymix": {"probability": 0.5},
    "guidedmixup": {"probability": 0.5},
    "saliencygrafting": {"detector": "activation"},
    "attentivemix": {"detector": "activation"},
    "puzzlemix": {"detector": "gradient"},
    "manifold": {"alpha": 2.0},
    "catchupmix": {"border": "inside"},
}
# `MIXER` mixes at the input, `MIXER+mma` at the mixing points too. `manifold` is Manifold Mixup: the plain mask there.
# `catchupmix` is CutMix at the input and Catch-up Mix at the mixing points.
METHODS = (
    "none",
    *MIXERS,
    *(f"{name}+mma" for name, mixer in MIXERS.items() if not mixer.is_input_only),
    "manifold",
    "catchupmix",
)
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("cosine", "constant")
_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of one training.

    Args:
        dataset: Name of a dataset, see `keras_mma.datasets.load`.
        data_dir: Folder of tensorflow-datasets.
        image_size: Height and width to which images are resized. `None` keeps their size.
        resize: How images are resized, one of `keras_mma.datasets.RESIZES`.
        skip_damaged: Whether to leave out image files that cannot be decoded.
        validation_fraction: Share of the training images that is held out for validation, in [0, 1).
        method: One of `METHODS`.
        mixing_points: Names of the layers after which `MIXER+mma`, `manifold` and `catchupmix` mix.
        mixer_arguments: Dict of arguments of the mixer that replace those of its paper, such as `alpha`, `probability`
            and `detector`.
        adapt_arguments: Dict of arguments of every `FeatureMixAdapt` or `CatchUpMix`.
        network: `"preactresnet18"`, `"resnet20"` or `"wideresnet-DEPTH-WIDTH"`.
        epochs: Positive integer.
        batch_size: Positive integer. Fewer training images make one batch.
        optimizer: `"sgd"` (Nesterov momentum of 0.9) or `"adam"`.
        learning_rate: Initial learning rate, not negative.
        schedule: `"cosine"` (decay to 0 at the last step) or `"constant"`.
        weight_decay: Coefficient of the L2 weight decay, not negative.
        augmentation: Whether to crop images that are padded by an eighth, and to mirror them.
        flip: Whether the augmentation mirrors. `None`: where that keeps the class, as the dataset says.
        fraction: Class-balanced share of the training images that is used, in (0, 1].
        seed: Non-negative integer for everything random.
        mixed_precision: `None`, `"mixed_float16"` or `"mixed_bfloat16"`.
        jit: Whether to compile the training step with XLA where Keras would not.

    Raises:
        InputError: if a setting is invalid.

    Example:

    >>> from keras_mma.study.recipe import Recipe
    >>> recipe = Recipe(method="cutmix+mma", epochs=5)
    >>> recipe.mixer_name, recipe.mixes_features
    ('cutmix', True)
    """

    dataset: str = "digits"
    data_dir: str | None = None
    image_size: int | None = None
    resize: str = "antialiased"
    skip_damaged: bool = False
    validation_fraction: float = 0.1
    method: str = "saliencymix+mma"
    mixing_points: tuple = ("stage1", "stage2")
    mixer_arguments: dict = dataclasses.field(default_factory=dict)
    adapt_arguments: dict = dataclasses.field(default_factory=dict)
    network: str = "preactresnet18"
    epochs: int = 200
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "cosine"
    weight_decay: float = 5e-4
    augmentation: bool = True
    flip: bool | None = None
    fraction: float = 1.0
    seed: int = 0
    mixed_precision: str | None = None
    jit: bool = False

    def __post_init__(self):
        checks.several("mixing_points", self.mixing_points)
        object.__setattr__(self, "mixing_points", tuple(self.mixing_points))
        for name, values in (
            ("method", METHODS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("mixed_precision", (None, "mixed_float16", "mixed_bfloat16")),
        ):
            if getattr(self, name) not in values:
                raise InputError(
                    f"`{name}` must be one of {', '.join(map(str, values))}. Received: {name}={getattr(self, name)!r}"
                )
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), least))
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            if not checks.is_number(value) or value < 0:
                raise InputError(f"`{name}` must be a finite number, not negative. Received: {name}={value!r}")
        if not checks.is_number(self.fraction) or not 0 < self.fraction <= 1:
            raise InputError(f"`fraction` must be in (0, 1]. Received: fraction={self.fraction!r}")
        for name in ("skip_damaged", "augmentation", "jit", *(("flip",) if self.flip is not None else ())):
            checks.boolean(name, getattr(self, name))
        if self.flip and not self.augmentation:
            raise InputError("`flip` must not be True without `augmentation`. Received: augmentation=False, flip=True")
        self._check_mixer_arguments()

    def _check_mixer_arguments(self):
        if self.mixer_name is None:
            given = self.mixer_arguments | self.adapt_arguments
            if given:
                names = ", ".join(f"`{name}`" for name in given)
                raise InputError(f"`method` none has no argument {names}. Received: {given}")
            return
        known = set()
        for parent in MIXERS[self.mixer_name].__mro__:
            if "__init__" in vars(parent):
                known |= set(inspect.signature(parent.__init__).parameters)
        known -= {"self", "args", "kwargs"}
        for name, value in self.mixer_arguments.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean `{close[0]}`?" if close else "."
                raise InputError(f"`method` {self.method} has no argument `{name}`{hint} Received: {name}={value!r}")

    @property
    def mixer_name(self):
        """Name of the mixer, a key of `MIXERS`; `None` without mixing."""
        name = self.method.partition("+")[0]
        return {"none": None, "manifold": "mixup", "catchupmix": "cutmix"}.get(name, name)

    @property
    def mixes_features(self):
        """Whether features are mixed too."""
        return self.method in ("manifold", "catchupmix") or self.method.endswith("+mma")

    def load_data(self):
        """The `keras_mma.datasets.Parts` of the dataset."""
        return datasets.load(
            self.dataset,
            data_dir=self.data_dir,
            image_size=self.image_size,
            resize=self.resize,
            validation_fraction=self.validation_fraction,
            skip_damaged=self.skip_damaged,
        )


class Built(NamedTuple):
    """What a recipe builds.

    Args:
        model: The compiled model that is trained. Without mixing it is `network`.
        network: The network, which shares its weights with `model`.
        mixer: The mixer of `model`, or `None` without mixing.
    """

    model: keras.Model
    network: keras.Model
    mixer: object


def build(recipe, train, steps):
    """Build and compile the model of a recipe. The initial weights depend on the seed and not on the method.

    Args:
        recipe: A `Recipe`.
        train: The training images, a `keras_mma.datasets.Dataset`.
        steps: Training steps in an epoch.

    Returns:
        A `Built`.

    Raises:
        ValueError: if the network or the mixer cannot be built by these settings.
    """
    with _dtype_policy(recipe.mixed_precision):
        keras.utils.set_random_seed(recipe.seed)
        network = make_network(recipe, train)
        if not _jit_compile(recipe):  # XLA fuses batch normalization itself
            fused_normalization.fuse(network)
        model = add_mixing(recipe, network)
        compile_model(recipe, model, steps)
    return Built(model, network, getattr(model, "mixer", None))


def make_network(recipe, train):
    """The network, which takes uint8 images: it first normalizes them by the statistics of the training images."""
    if keras.config.image_data_format() != "channels_last":
        raise InputError("Keras' image data format must be channels_last, as the images are. Received: channels_first")
    mean, variance = pixel_statistics(train)
    common = {
        "input_shape": train.shape,
        "classes": train.classes,
        "preprocessing": [keras.layers.Normalization(mean=mean, variance=variance, name="normalization")],
    }
    if recipe.network == "preactresnet18":
        return keras_mma.models.PreActResNet18(**common)
    if recipe.network == "resnet20":
        return keras_mma.models.ResNet20(**common)
    kind, *sizes = recipe.network.split("-")
    if kind != "wideresnet" or len(sizes) != 2 or not all(size.isdecimal() for size in sizes):
        wanted = "preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH"
        raise InputError(f"`network` must be {wanted}. Received: network={recipe.network!r}")
    return keras_mma.models.WideResNet(*map(int, sizes), **common)


def pixel_statistics(dataset):
    """Mean and variance of each channel, exact and without a float copy of the images."""
    counts = np.zeros((dataset.shape[-1], 256), "int64")
    for _, images, _ in dataset.batches(dataset.indices(), 1024):
        for channel, count in enumerate(counts):
            count += np.bincount(images[..., channel].ravel(), minlength=256)
    values = np.arange(256)
    mean = counts @ values / counts[0].sum()
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts[0].sum()
    return mean, variance


def add_mixing(recipe, network):
    """The model that mixes: the network itself without mixing."""
    if recipe.mixer_name is None:
        return network
    key = recipe.method if recipe.method in METHOD_ARGUMENTS else recipe.mixer_name
    arguments = METHOD_ARGUMENTS.get(key, {}) | recipe.mixer_arguments
    mixer = MIXERS[recipe.mixer_name](**{"seed": recipe.seed} | arguments)
    plain = {"attention": None, "smooth": False} if recipe.method == "manifold" else {}
    at = list(recipe.mixing_points) if recipe.mixes_features else []
    adapter = layers.CatchUpMix if recipe.method == "catchupmix" else layers.FeatureMixAdapt
    return keras_mma.mixify(network, mixer, at=at, adapter=adapter, **plain | recipe.adapt_arguments)


def compile_model(recipe, model, steps):
    """Compile a model for labels in one-hot form."""
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=recipe.epochs * steps)
    if recipe.optimizer == "sgd":
        # Keras decays weights outside the momentum, the papers inside, where it adds up to 1 / (1 - momentum) as much.
        decay = recipe.weight_decay / (1 - _MOMENTUM)
        optimizer = keras.optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True, weight_decay=decay or None)
    else:
        optimizer = keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay or None)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=_jit_compile(recipe))


def _jit_compile(recipe):
    """XLA makes TensorFlow's convolutions slower on processors, where Keras would use it."""
    if recipe.jit:
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return "auto" if tf.config.list_physical_devices("GPU") else False
    return "auto"


@contextlib.contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    try:
        if name is not None:
            keras.config.set_dtype_policy(name)
        yield
    finally:
        keras.config.set_dtype_policy(before)
