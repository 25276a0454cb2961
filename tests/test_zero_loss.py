"""The zero-loss probe: if labels and features are mixed alike the loss is 0, whatever the plan.

The first channels of the images are constant maps of their one-hot label; the network is the identity and a global
average pooling that reads those channels; the loss is the squared error. Two more channels hold texture, so that
detectors and attention have something to see and masks vary over the image.
"""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.layers.mixers import MIXERS, MOVING, is_calibrated, name
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
ADAPTERS = [
    {},
    {"temperature": 1.0, "combine": "add"},
    {"attention": "cbam", "preserve_ratio": True},
    {"attention": None, "smooth": False, "resize": "nearest"},
]


def data(rng, size=24):
    labels = rng.integers(0, CLASSES, size)
    texture = blobs(rng, size, 12, 12, 2) / 255.0
    carried = np.broadcast_to(np.eye(CLASSES)[labels][:, None, None], (size, 12, 12, CLASSES))
    return np.concatenate([carried, texture], -1).astype("float32"), labels


def identity_network(mixer, points, size=12, **adapt):
    inputs = keras.Input((size, size, CLASSES + 2))
    x, plan = mixer(inputs)
    for site in points:
        x = keras.layers.Identity()(x)
        x, plan = layers.FeatureMixAdapt(site, **adapt)(x, plan)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras_mma.MixModel(inputs, (pooled[:, :CLASSES], plan))


def losses(model, images, labels, mode="graph", epochs=2, **fit):
    # Keras on jax compiles everything or nothing.
    settings = {"jit_compile": keras.backend.backend() == "jax" and mode == "graph", **MODES[mode]}
    settings.pop("policy", None)
    model.compile("sgd", "mse", **settings)
    history = model.fit(images, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **fit)
    return np.array(history.history["loss"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sites", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("case", MIXERS, ids=name)
def test_the_loss_is_zero(case, sites, mode, rng):
    cls, settings = case
    if keras.backend.backend() == "jax" and (mode == "graph" or len(sites) == 1):
        pytest.skip("without jit, jax has no graph; it compiles slowly and runs with all sites at once")
    if mode == "xla" and sites in ((1,), (2,)):
        pytest.skip("it compiles slowly and runs with all sites at once")
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    if is_calibrated(case) and 0 in sites:
        pytest.skip("a calibrated label differs from the share of the area, which is what pooling reads")
    images, labels = data(rng)
    model = identity_network(cls(sites=sites, seed=3, **settings), [site for site in sites if site])
    # The labels come as integer labels, so that encoding is part of the probe.
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]
    assert model.evaluate(images, labels, verbose=0) < TOLERANCE[policy]


@pytest.mark.parametrize("adapt", ADAPTERS, ids=str)
@pytest.mark.parametrize("case", [MIXERS[0], MIXERS[2], MIXERS[3]], ids=name)
def test_the_loss_is_zero_for_every_adaptation(case, adapt, rng):
    cls, settings = case
    images, labels = data(rng)
    model = identity_network(cls(sites=(1, 2), probability=0.7, seed=3, **settings), (1, 2), **adapt)
    assert losses(model, images, labels, epochs=4).max() < 1e-9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "case",
    [
        (layers.SaliencyMix, {"detector": "activation"}),
        (layers.GuidedMixup, {"detector": "gradient"}),
    ],
    ids=name,
)
def test_the_loss_is_zero_with_attributions_of_the_network(case, mode, rng):
    cls, settings = case
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = data(rng)
    model = identity_network(cls(sites=(0, 1), seed=3, **settings), (1,))
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]


@pytest.mark.parametrize("case", MOVING[:-1], ids=name)
def test_the_loss_is_zero_for_schemes_that_move_the_patch(case, rng):
    cls, settings = case
    images, labels = data(rng)
    assert losses(identity_network(cls(seed=3, **settings), ()), images, labels, epochs=4).max() < 1e-9


def test_the_loss_is_zero_with_sample_and_class_weights(rng):
    images, labels = data(rng)
    model = identity_network(layers.SaliencyMix(sites=(0, 1), seed=3), (1,))
    weights = rng.random(24).astype("float32")
    assert losses(model, images, np.eye(CLASSES)[labels], sample_weight=weights).max() < 1e-9
    assert losses(model, images, labels, class_weight={0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0, 4: 1.5}).max() < 1e-9


@pytest.mark.parametrize(
    ("rows", "size", "steps"), [(21, 12, 1), (21, None, 1), (1, 12, 1), (1, None, 1), (16, 12, 2), (21, None, 2)]
)
def test_the_loss_is_zero_for_ragged_batches_open_sizes_and_several_steps_at_once(rows, size, steps, rng):
    if steps > 1 and keras.backend.backend() == "torch":
        pytest.skip("Keras makes one step at once on torch")
    images, labels = data(rng, rows)
    model = identity_network(layers.SaliencyMix(sites=(0, 1, 2), seed=3), (1, 2), size=size)
    model.compile("sgd", "mse", steps_per_execution=steps)
    assert max(model.fit(images, labels, batch_size=8, epochs=3, verbose=0).history["loss"]) < 1e-9
    assert model.evaluate(images, labels, batch_size=8, verbose=0) < 1e-9


def test_the_probe_can_fail(rng):
    """Labels that follow the drawn share instead of the adapted one are found out."""
    images, labels = data(rng)
    model = identity_network(layers.CutMix(sites=(1,), seed=3), (1,), label="mixer", temperature=1.0)
    assert losses(model, images, labels).max() > 1e-4
