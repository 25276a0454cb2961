"""The zero-loss probe with labels that are maps: the loss is 0 if they are mixed where the features were mixed.

The first channels of each pixel hold its one-hot label. The network is the identity and returns these channels; the
loss is the squared error. Two more channels contain texture, so that saliency and attention vary over the image.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers
from tests.layers.mixers import CASES, Case, to_numpy
from tests.pictures import blobs
from tests.test_zero_loss import ADAPTERS, MODES, TOLERANCE, losses

CLASSES = 4
SIZE = 12
SITES = [(0, 1, 2), (0,), (1,), (2,)]
# JAX compiles each operation of an eager call.
FAST = "graph" if keras.backend.backend() == "jax" else "eager"


def images_and_maps(rng, size=16, block=1):
    """Images, and labels (batch, height, width) that are constant in blocks of pixels and have a class per region."""
    cells = rng.integers(0, CLASSES, (size, SIZE // block, SIZE // block))
    labels = cells.repeat(block, 1).repeat(block, 2)
    texture = blobs(rng, size, SIZE, SIZE, 2) / 255.0
    return np.concatenate([np.eye(CLASSES)[labels], texture], -1).astype("float32"), labels


def identity_network(mixer, feature_sites, pool=1, size=SIZE, adapter=layers.FeatureMixAdapt, **adapt):
    inputs = keras.Input((size, size, CLASSES + 2))
    x, plan = mixer(inputs)
    x = keras.layers.AveragePooling2D(pool)(x)
    for site in feature_sites:
        x = keras.layers.Identity()(x)
        x, plan = adapter(site, **adapt)(x, plan)
    return keras_mma.MixModel(inputs, (keras.layers.UpSampling2D(pool)(x)[..., :CLASSES], plan))


#: Most combinations of a sample have the first mode, and eager calls take the least time on TensorFlow.
EAGER_FIRST = sorted(MODES, key=lambda mode: mode != "eager")


def is_meaningful(mode, sites):
    """Compiling takes most of the time, and the modes differ in nothing that maps could add to the vector's probe."""
    if keras.backend.backend() == "jax":  # which compiles each operation of an eager call
        return len(sites) > 1 and mode not in ("graph", "eager")
    return mode == "eager" or (len(sites) > 1 and mode != "xla")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("mode", "sites", "case"),
    [values for values in itertools.product(EAGER_FIRST, SITES, CASES) if is_meaningful(*values[:2])],
    ids=str,
)
def test_the_loss_of_maps_is_zero(mode, sites, case, rng):
    cls, settings = case
    policy = MODES[mode].get("policy", "float32")
    keras.config.set_dtype_policy(policy)
    images, labels = images_and_maps(rng)
    model = identity_network(cls(sites=sites, seed=3, **settings), [site for site in sites if site])
    assert losses(model, images, labels, mode).max() < TOLERANCE[policy]


@pytest.mark.sampled
@pytest.mark.parametrize("adapt", [*ADAPTERS, {"edge_blur": 0}], ids=str)
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_the_loss_of_maps_is_zero_at_sites_that_resolve_them(adapt, pool, rng):
    """A coarser site mixes exactly what is constant in its cells."""
    images, labels = images_and_maps(rng, block=pool)
    mixer = layers.SaliencyMix(sites=(1, 2), probability=0.8, seed=3)
    assert losses(identity_network(mixer, (1, 2), pool, **adapt), images, labels, FAST).max() < 1e-9


@pytest.mark.parametrize("pool", [2, 3])
def test_the_loss_at_a_coarser_site_is_bounded_by_the_share_of_border_pixels(pool, rng):
    """With P the mean of each cell and m the mask, the error m (P(y) - y) + (1 - m) (P(y') - y') is 0 in a pixel whose
    cell has one class in both maps, and the square of an error of shares is at most 2."""
    images, labels = images_and_maps(rng, block=4 if pool == 3 else 3)
    shares = np.eye(CLASSES)[labels]
    cells = shares.reshape(len(labels), SIZE // pool, pool, SIZE // pool, pool, CLASSES).mean((2, 4))
    is_border = (cells.max(-1) < 1).repeat(pool, 1).repeat(pool, 2)
    model = identity_network(layers.CutMix(sites=(1,), partner="roll", seed=3), (1,), pool)
    loss = losses(model, images[:8], labels[:8], FAST, epochs=1)[0]
    either = is_border[:8] | np.roll(is_border[:8], 1, 0)
    assert 1e-3 < loss <= 2 / CLASSES * either.mean() < 2 / CLASSES


@pytest.mark.parametrize("sites", [(0, 1), (1,)])
@pytest.mark.parametrize("form", ["float indices", "column", "shares"])
def test_the_loss_is_zero_for_every_form_of_labels(sites, form, rng):
    images, labels = images_and_maps(rng)
    forms = {"float indices": labels.astype("float32"), "column": labels[..., None], "shares": np.eye(CLASSES)[labels]}
    model = identity_network(layers.CutMix(sites=sites, seed=3), [site for site in sites if site])
    assert losses(model, images, forms[form], FAST).max() < 1e-9


@pytest.mark.parametrize("size", [SIZE, None])
def test_the_loss_is_zero_for_ragged_batches_and_unknown_sizes(size, rng):
    images, labels = images_and_maps(rng, 13)
    model = identity_network(layers.SaliencyMix(sites=(0, 1), seed=3), (1,), size=size)
    assert losses(model, images, labels, epochs=3).max() < 1e-9
    assert model.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)["loss"] < 1e-9


def test_maps_follow_channels_by_their_share(rng):
    """A mask over channels has no place: its share is the same everywhere."""
    maps = np.broadcast_to(rng.integers(0, 2, 16)[:, None, None], (16, SIZE, SIZE)).astype("float32")
    texture = rng.normal(size=(16, SIZE, SIZE, 10)).astype("float32")
    texture -= texture.mean(-1, keepdims=True)
    inputs = keras.Input((SIZE, SIZE, 10))
    x, plan = layers.CutMix(sites=(1,), seed=3)(inputs)
    x, plan = layers.CatchUpMix(1)(keras.layers.Identity()(x), plan)
    share = ops.mean(x, axis=(1, 2, 3))[:, None, None, None] * ops.ones_like(x[..., :1])
    model = keras_mma.MixModel(inputs, (share, plan))
    texture -= texture.mean((1, 2), keepdims=True)
    assert losses(model, maps[..., None] + texture, maps, FAST).max() < 1e-9


@pytest.mark.parametrize("case", [Case(layers.CutMix), Case(layers.MixUp), Case(layers.SaliencyMix)], ids=str)
@pytest.mark.parametrize("sites", [(0,), (1,)])
def test_the_weight_of_the_plan_is_the_mean_of_its_mask(case, sites, rng):
    model = identity_network(case.cls(sites=sites, seed=3), [site for site in sites if site], pool=3)
    _, plan = to_numpy(model(images_and_maps(rng)[0], training=True))
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)
    assert plan["mask"].shape == (16, SIZE, SIZE, 1) and plan["weight"].std() > 0.01


def test_the_dense_probe_can_fail(rng):
    """Maps that follow the mixer's mask instead of the adapted one give a positive loss."""
    images, labels = images_and_maps(rng)
    model = identity_network(layers.CutMix(sites=(1,), seed=3), (1,), label="mixer", temperature=1.0)
    assert losses(model, images, labels, FAST).max() > 1e-4
