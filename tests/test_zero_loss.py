"""The zero-loss probe: if labels and features are mixed in the same way, the loss is 0 for every plan.

The first channels of each image are constant and hold its one-hot label. The network is the identity followed by global
average pooling, and returns those channels; the loss is the squared error. Two more channels contain texture, so that
saliency and attention, and with them the masks, vary over the image.
"""

import itertools

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.layers.mixers import CASES, MOVING_CASES, Case, is_calibrated
from tests.pictures import blobs

CLASSES = 5
TOLERANCE = {"float32": 1e-9, "mixed_float16": 2e-6, "mixed_bfloat16": 2e-4}
MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "mixed_float16": {"policy": "mixed_float16"},
    "mixed_bfloat16": {"policy": "mixed_bfloat16"},
}
SITES = [(0, 1, 2), (0,), (1,), (2,)]
QUICKLY_COMPILED = (layers.MixUp, layers.CutMix, layers.ResizeMix)
ADAPTERS = [
    {},
    {"temperature": 1.0, "preserve_ratio": False},
    {"attention": "cbam", "combine": "multiply", "attention_spread": None},
    {"attention": None, "smooth": False, "resize": "nearest"},
]


def images_and_labels(rng, size=24):
    labels = rng.integers(0, CLASSES, size)
    label_channels = np.broadcast_to(np.eye(CLASSES)[labels][:, None, None], (size, 12, 12, CLASSES))
    texture = blobs(rng, size, 12, 12, 2) / 255.0
    return np.concatenate([label_channels, texture], -1).astype("float32"), labels


def identity_network(mixer, feature_sites, size=12, **adapt):
    inputs = keras.Input((size, size, CLASSES + 2))
    x, plan = mixer(inputs)
    for site in feature_sites:
        x = keras.layers.Identity(name=f"features{site}")(x)
        x, plan = layers.FeatureMixAdapt(site, **adapt)(x, plan)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras_mma.MixModel(inputs, (pooled[:, :CLASSES], plan))


def losses(model, images, labels, mode="graph", epochs=2, **fit):
    # On JAX, Keras compiles the whole training step or nothing.
    settings = {"jit_compile": keras.backend.backend() == "jax" and mode == "graph", **MODES[mode]}
    settings.pop("policy", None)
    share = keras.metrics.MeanMetricWrapper(largest_share, name="share")
    model.compile("sgd", "mse", metrics=[share], **settings)
    history = model.fit(images, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **fit).history
    # Of maps, a binary mask mixes pixels, and no labels.
    assert np.ndim(labels) > 2 or max(history["share"]) < 0.999, "nothing is mixed, so that the loss is 0 anyway"
    return np.array(history["loss"])


def largest_share(y_true, y_pred):
    return keras.ops.max(y_true, axis=-1)


def is_meaningful(mode, sites, case):
    """Whether the probe applies to a combination, and no other combination runs the same code."""
    if is_calibrated(case) and 0 in sites:
        return False  # a calibrated label differs from the share of the area, which the pooling computes
    if keras.backend.backend() == "jax":
        return mode != "graph" and len(sites) > 1  # JAX compiles "graph" as "xla", and slowly
    return mode != "xla" or 0 in sites  # XLA compiles slowly; (0, 1, 2) includes the other sites


def marks(mode, case, compiled=()):
    """The marks of a combination, with those of a compiled one. PyTorch compiles saliency for up to six minutes."""
    if keras.backend.backend() == "torch" and mode == "xla" and case.cls not in QUICKLY_COMPILED:
        return pytest.mark.exhaustive
    return compiled if mode == "xla" else ()


def cases_and_modes(cases, **settings):
    rows = itertools.product(cases, MODES)
    return [pytest.param(case, mode, marks=marks(mode, case, **settings)) for case, mode in rows]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("mode", "sites", "case"),
    [
        pytest.param(mode, sites, case, marks=marks(mode, case))
        for mode, sites, case in itertools.product(MODES, SITES, CASES)
        if is_meaningful(mode, sites, case)
    ],
    ids=str,
)
def test_the_loss_is_zero(mode, sites, case, rng):
    cls, settings = case
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = images_and_labels(rng)
    model = identity_network(cls(sites=sites, seed=3, **settings), [site for site in sites if site])
    # Integer labels, so that the probe includes their encoding.
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]
    assert model.evaluate(images, labels, verbose=0, return_dict=True)["loss"] < TOLERANCE[policy]


@pytest.mark.sampled
@pytest.mark.parametrize("adapt", ADAPTERS, ids=str)
@pytest.mark.parametrize("case", [Case(layers.MixUp), Case(layers.CutMix), Case(layers.SaliencyMix)], ids=str)
def test_the_loss_is_zero_for_every_adaptation(case, adapt, rng):
    cls, settings = case
    images, labels = images_and_labels(rng)
    model = identity_network(cls(sites=(1, 2), probability=0.7, seed=3, **settings), (1, 2), **adapt)
    assert losses(model, images, labels, epochs=4).max() < 1e-9


ATTRIBUTION_CASES = [
    Case(layers.SaliencyMix, {"detector": "activation", "attribution_layer": "features1"}),
    Case(layers.GuidedMixup, {"detector": "gradient"}),
    Case(layers.PuzzleMix, {"detector": "gradient", "grids": (2, 8)}),
    Case(layers.AttentiveMix, {"detector": "gradient", "detector_size": 6}),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "mode"), cases_and_modes(ATTRIBUTION_CASES, compiled=pytest.mark.slow), ids=str)
def test_the_loss_is_zero_with_attributions_of_the_network(case, mode, rng):
    cls, settings = case
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = images_and_labels(rng)
    model = identity_network(cls(sites=(0, 1), seed=3, **settings), (1,))
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]


PROPORTIONAL_CASES = [case for case in MOVING_CASES if not is_calibrated(case)]


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "mode"), cases_and_modes(PROPORTIONAL_CASES, compiled=pytest.mark.slow), ids=str)
def test_the_loss_is_zero_for_mixers_that_move_pixels(case, mode, rng):
    cls, settings = case
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = images_and_labels(rng)
    model = identity_network(cls(seed=3, **settings), ())
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]


def test_the_loss_is_zero_with_sample_and_class_weights(rng):
    images, labels = images_and_labels(rng)
    model = identity_network(layers.SaliencyMix(sites=(0, 1), seed=3), (1,))
    weights = rng.random(24).astype("float32")
    assert losses(model, images, np.eye(CLASSES)[labels], sample_weight=weights).max() < 1e-9
    assert losses(model, images, labels, class_weight={0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0, 4: 1.5}).max() < 1e-9


@pytest.mark.parametrize(
    ("samples", "size", "steps"), [(21, 12, 1), (21, None, 1), (1, 12, 1), (1, None, 1), (16, 12, 2), (21, None, 2)]
)
def test_the_loss_is_zero_for_ragged_batches_unknown_sizes_and_several_steps_per_execution(samples, size, steps, rng):
    if steps > 1 and keras.backend.backend() == "torch":
        pytest.skip("Keras does not support `steps_per_execution` on PyTorch")
    images, labels = images_and_labels(rng, samples)
    model = identity_network(layers.SaliencyMix(sites=(0, 1, 2), seed=3), (1, 2), size=size)
    model.compile("sgd", "mse", steps_per_execution=steps)
    assert max(model.fit(images, labels, batch_size=8, epochs=3, verbose=0).history["loss"]) < 1e-9
    assert model.evaluate(images, labels, batch_size=8, verbose=0) < 1e-9


def test_the_probe_needs_samples_that_are_mixed(rng):
    images, labels = images_and_labels(rng)
    model = identity_network(layers.CutMix(probability=0.0), ())
    with pytest.raises(AssertionError, match="nothing is mixed"):
        losses(model, images, labels)


def test_the_probe_can_fail(rng):
    """Labels that follow the mixer's weight instead of the adapted mask give a positive loss."""
    images, labels = images_and_labels(rng)
    model = identity_network(layers.CutMix(sites=(1,), seed=3), (1,), label="mixer", preserve_ratio=False)
    assert losses(model, images, labels).max() > 1e-4
