"""The table of the contract: every mixer with its defaults, and with each setting that changes its behavior."""

import typing

import keras
import numpy as np
from keras import ops

from keras_mma import layers, saliency, sampling


@saliency.register("everywhere")
def everywhere(images):
    """Uniform saliency, for which a calibrated label equals the share of the area."""
    return ops.ones_like(ops.cast(images[..., :1], "float32"))


class Case(typing.NamedTuple):
    """A mixer with some of its settings."""

    cls: type
    settings: dict = {}

    @property
    def kind(self):
        """Cases of one kind count as the same value in tables of which the fast suite runs a sample."""
        return self.cls, "scheme" in self.settings

    def __str__(self):
        return "-".join([self.cls.__name__, *map(str, self.settings.values())])


#: Mixers whose mixed images are `mask * images + (1 - mask) * images[partner]`.
CASES = [
    Case(layers.MixUp),
    Case(layers.MixUp, {"alpha": 0.2}),
    Case(layers.CutMix),
    Case(layers.SaliencyMix),
    Case(layers.SaliencyMix, {"detector": "spectral_residual"}),
    Case(layers.SaliencyMix, {"border": "clip"}),
    Case(layers.SaliencyMix, {"box": "batch"}),
    Case(layers.SaliencyMix, {"label": "saliency"}),
    Case(layers.SaliencyMix, {"detector": "frequency_tuned", "detector_size": 12, "partner": "distance"}),
    Case(layers.CutMix, {"partner": "roll"}),
    Case(layers.SaliencyGrafting),
    Case(layers.SaliencyGrafting, {"norm": 1, "grid": 5, "temperature": 0.3}),
    Case(layers.SaliencyGrafting, {"norm": 1, "detector": "everywhere"}),
    Case(layers.GuidedMixup),
    Case(layers.RandomChoice),
    Case(layers.RandomChoice, {"per": "sample"}),
    # One grid, because each is compiled on its own; the probe has a row with several.
    Case(layers.PuzzleMix, {"grids": (4,)}),
    Case(layers.AttentiveMix),
    Case(layers.AttentiveMix, {"count": None, "grid": 5, "label": "saliency"}),
    Case(layers.GMix),
    Case(layers.HMix),
    Case(layers.SmoothMix),
    Case(layers.FMix),
    Case(layers.GridMix),
]
#: Mixers that move or resize images, which is possible for images only, not for feature maps.
MOVING_CASES = [
    Case(layers.ResizeMix),
    Case(layers.PuzzleMix, {"transport": True, "grids": (4,)}),
    Case(layers.SaliencyMix, {"scheme": "salient_to_salient"}),
    Case(layers.SaliencyMix, {"scheme": "salient_to_nonsalient"}),
    Case(layers.SaliencyMix, {"scheme": "nonsalient_to_salient", "border": "clip"}),
    Case(layers.SaliencyMix, {"scheme": "nonsalient_to_nonsalient", "label": "saliency"}),
]


def red(images):
    """A detector that returns the first channel."""
    return ops.cast(images[..., :1], "float32")


def to_numpy(structure):
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def is_calibrated(case):
    """Whether the weight of the label differs from the mean of the mask."""
    return case.settings.get("label") == "saliency" or (
        case.cls is layers.SaliencyGrafting and case.settings.get("detector") != "everywhere"
    )


def training_plan(mixer, images, **kwargs):
    """The mixed images and the plan of a training call, as NumPy arrays."""
    mixed, plan = mixer(images, training=True, **kwargs)
    return to_numpy(mixed), to_numpy(plan)


def gather(images, plan):
    return np.asarray(images)[plan["partner"]]


def repeatedly(mixer, images):
    """A function that makes a training call each time, of a graph on TensorFlow and of a compiled program on JAX.

    Many eager calls take far longer: TensorFlow dispatches each operation from Python, and JAX compiles control flow.
    """
    if keras.backend.backend() == "torch":
        return lambda: training_plan(mixer, images)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        graph = tf.function(lambda: mixer(tf.constant(images), training=True))
        return lambda: to_numpy(graph())
    import jax

    @jax.jit
    def call(images, state):
        with keras.StatelessScope([(mixer.seed_generator.state, state)]) as scope:
            results = mixer(images, training=True)
        return results, scope.get_current_value(mixer.seed_generator.state)

    def step():
        results, state = call(images, mixer.seed_generator.state.value)
        mixer.seed_generator.state.assign(state)
        return to_numpy(results)

    return step


def record_draws(monkeypatch):
    """A list to which each draw of `keras_mma.sampling` is appended as a pair (name, NumPy array).

    Draws from which another one is computed are not listed, nor are those of `probability`.
    """
    draws, depth = [], [0]
    monkeypatch.setattr(layers.Mixer, "is_pure", False)  # compiled draws have no values

    def recorded(name, draw):
        def call(*args, **kwargs):
            depth[0] += 1
            values = draw(*args, **kwargs)
            depth[0] -= 1
            if not depth[0] and name != "bernoulli":
                draws.append((name, to_numpy(values)))
            return values

        return call

    for name in ("bernoulli", "beta", "normal", "uniform"):
        monkeypatch.setattr(sampling, name, recorded(name, getattr(sampling, name)))
    return draws
