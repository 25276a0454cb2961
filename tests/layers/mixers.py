"""The table over which the contract runs: every host with the settings that change its behaviour."""

import keras
import numpy as np
from keras import ops

from keras_mma import layers, saliency


@saliency.register("everywhere")
def everywhere(images):
    """The same saliency everywhere: a label calibrated by it follows the area."""
    return ops.ones_like(ops.cast(images[..., :1], "float32"))


HOSTS = [
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
]
# Hosts that move the patch, and so mix at the input only.
MOVING = [
    (layers.SaliencyMix, {"scheme": "salient_to_salient"}),
    (layers.SaliencyMix, {"scheme": "salient_to_nonsalient"}),
    (layers.SaliencyMix, {"scheme": "nonsalient_to_salient", "border": "clip"}),
    (layers.SaliencyMix, {"scheme": "nonsalient_to_nonsalient", "label": "saliency"}),
]


def name(host):
    cls, kwargs = host
    return "-".join([cls.__name__, *map(str, kwargs.values())])


def to_numpy(structure):
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def is_calibrated(host):
    """Whether the label's share is not the mask's mean."""
    return host[1].get("label") == "saliency" or (
        host[0] is layers.SaliencyGrafting and host[1].get("detector") != "everywhere"
    )


def training_plan(host, images, **kwargs):
    """The images and the plan of one training call, as numpy arrays."""
    mixed, plan = host(images, training=True, **kwargs)
    return to_numpy(mixed), to_numpy(plan)


def gather(images, plan):
    return np.asarray(images)[plan["partner"]]


def repeatedly(host, images):
    """A function that makes one training call after the other, compiled once where eager control flow never is."""
    if keras.backend.backend() != "jax":
        return lambda: training_plan(host, images)
    import jax

    @jax.jit
    def call(images, state):
        with keras.StatelessScope([(host.seed_generator.state, state)]) as scope:
            results = host(images, training=True)
        return results, scope.get_current_value(host.seed_generator.state)

    def step():
        results, state = call(images, host.seed_generator.state.value)
        host.seed_generator.state.assign(state)
        return to_numpy(results)

    return step
