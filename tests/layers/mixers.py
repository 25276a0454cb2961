"""The table over which the contract runs: every mixer with the settings that change its behaviour."""

import keras
import numpy as np
from keras import ops

from keras_mma import layers, saliency


@saliency.register("everywhere")
def everywhere(images):
    """The same saliency everywhere: a label calibrated by it follows the area."""
    return ops.ones_like(ops.cast(images[..., :1], "float32"))


MIXERS = [
    (layers.MixUp, {}),
    (layers.MixUp, {"alpha": 0.2}),
    (layers.CutMix, {}),
    (layers.SaliencyMix, {}),
    (layers.SaliencyMix, {"detector": "spectral_residual"}),
    (layers.SaliencyMix, {"border": "clip"}),
    (layers.SaliencyMix, {"box": "batch"}),
    (layers.SaliencyMix, {"label": "saliency"}),
    (layers.SaliencyMix, {"detector": "frequency_tuned", "detector_size": 12, "partner": "distance"}),
    (layers.CutMix, {"partner": "roll"}),
    (layers.SaliencyGrafting, {}),
    (layers.SaliencyGrafting, {"norm": 1, "grid": 5, "temperature": 0.3}),
    (layers.SaliencyGrafting, {"norm": 1, "detector": "everywhere"}),
    (layers.GuidedMixup, {}),
    (layers.RandomChoice, {}),
    (layers.RandomChoice, {"per": "sample"}),
]
# Mixers that move the patch, and so mix at the input only.
MOVING = [
    (layers.SaliencyMix, {"scheme": "salient_to_salient"}),
    (layers.SaliencyMix, {"scheme": "salient_to_nonsalient"}),
    (layers.SaliencyMix, {"scheme": "nonsalient_to_salient", "border": "clip"}),
    (layers.SaliencyMix, {"scheme": "nonsalient_to_nonsalient", "label": "saliency"}),
]


def name(case):
    cls, kwargs = case
    return "-".join([cls.__name__, *map(str, kwargs.values())])


def to_numpy(structure):
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def is_calibrated(case):
    """Whether the label's share is not the mask's mean."""
    return case[1].get("label") == "saliency" or (
        case[0] is layers.SaliencyGrafting and case[1].get("detector") != "everywhere"
    )


def training_plan(mixer, images, **kwargs):
    """The images and the plan of one training call, as numpy arrays."""
    mixed, plan = mixer(images, training=True, **kwargs)
    return to_numpy(mixed), to_numpy(plan)


def gather(images, plan):
    return np.asarray(images)[plan["partner"]]


def repeatedly(mixer, images):
    """A function that makes one training call after the other, compiled once where eager control flow never is."""
    if keras.backend.backend() != "jax":
        return lambda: training_plan(mixer, images)
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
