"""`FollowPlan`: further inputs are mixed as the images are, in models with and without feature sites."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plans
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.pictures import blobs
from tests.test_zero_loss_dense import FAST

BATCH = 8


@pytest.fixture
def plan(rng):
    mask = rng.choice([0.0, 0.4, 1.0], (4, 6, 8, 1))
    mask[3] = 1
    return plans.make(np.array([1, 2, 3, 0]), mask)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 5, 3)])
def test_vectors_and_sequences_follow_the_weight(plan, shape, rng):
    other = rng.normal(size=shape).astype("float32")
    mixed = to_numpy(layers.FollowPlan()(other, plan, training=True))
    np.testing.assert_allclose(mixed, oracles.mix_labels(other, to_numpy(plan)), atol=1e-6)
    np.testing.assert_array_equal(mixed[3], other[3])
    for training in (False, None):
        np.testing.assert_array_equal(to_numpy(layers.FollowPlan()(other, plan, training=training)), other)


@pytest.mark.parametrize("size", [(6, 8), (3, 4), (12, 16)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_maps_follow_the_mask_at_their_size(plan, size, data_format, rng):
    other = rng.normal(size=(4, *size, 2)).astype("float32")
    is_last = data_format == "channels_last"
    layer = layers.FollowPlan(data_format=data_format)
    mixed = to_numpy(layer(other if is_last else other.transpose(0, 3, 1, 2), plan, training=True))
    plan = to_numpy(plan)
    mask = np.stack([oracles.area_pool(own[..., 0], *size) for own in plan["mask"]])[..., None]
    expected = oracles.mix(other, {**plan, "mask": mask})
    np.testing.assert_allclose(mixed if is_last else mixed.transpose(0, 2, 3, 1), expected, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_mask_of_a_sequence_is_kept(plan, training):
    embedding = keras.layers.Embedding(5, 3, mask_zero=True)
    tokens = np.array([[1, 2, 0], [3, 0, 0], [1, 1, 1], [4, 4, 0]])
    for sites in (None, (0,)):
        layer = layers.FollowPlan()
        layer.sites = sites
        followed = layer(embedding(tokens), plan, training=training)
        np.testing.assert_array_equal(to_numpy(followed._keras_mask), tokens > 0)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_views_keep_their_dtype(plan, dtype, rng):
    other = rng.integers(0, 256, (4, 6, 8, 3)).astype(dtype)
    mixed = layers.FollowPlan()(other, plan, training=True)
    assert keras.backend.standardize_dtype(mixed.dtype) == dtype
    np.testing.assert_allclose(to_numpy(mixed), oracles.mix(other, to_numpy(plan)), atol=0.51)


def probe(rng, size=16):
    """Images whose first channel is a number per sample, the number, and another one."""
    numbers = rng.random((size, 2)).astype("float32")
    channel = np.broadcast_to(numbers[:, None, None, :1], (size, 12, 12, 1))
    images = np.concatenate([channel, blobs(rng, size, 12, 12, 2) / 255.0], -1).astype("float32")
    return images, numbers


def network(place, sites=(0, 1, 2), follow=True, followed_at=None):
    """Predicts both numbers; the second one, an input of its own, meets the features at a place of the network."""
    images, other = keras.Input((12, 12, 3), name="picture"), keras.Input((1,), name="meta")
    x, plan = layers.CutMix(sites=sites, seed=3)(images)
    chain = [plan]

    def followed():
        used = chain[-1] if followed_at is None else chain[followed_at]
        return layers.FollowPlan()(other, used) if follow else other

    def meet(x):
        return keras.layers.Concatenate()([x, keras.ops.ones_like(x[..., :1]) * followed()[:, None, None]])

    for position in (0, 1, 2):
        if position == place:
            x = meet(x)
        if position in sites and position:
            x, plan = layers.FeatureMixAdapt(position)(keras.layers.Identity()(x), chain[-1])
            chain.append(plan)
    if place == 3:
        x = meet(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras_mma.MixModel([images, other], (keras.ops.take(pooled, [0, 3], axis=1), chain[-1]))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_loss_is_zero_wherever_the_input_meets_the_features(place, rng):
    images, numbers = probe(rng)
    model = network(place)
    follow = next(layer for layer in model.layers if isinstance(layer, layers.FollowPlan))
    assert follow.sites == {0: (0,), 1: (0,), 2: (0, 1), 3: (0, 1, 2)}[place]
    model.compile("sgd", "mse", run_eagerly=FAST == "eager")
    assert (
        max(model.fit([images, numbers[:, 1:]], numbers, batch_size=BATCH, epochs=4, verbose=0).history["loss"]) < 1e-9
    )
    assert model.evaluate([images, numbers[:, 1:]], numbers, verbose=0) < 1e-9


def test_the_probe_of_inputs_can_fail(rng):
    images, numbers = probe(rng)
    model = network(3, sites=(1,))
    next(layer for layer in model.layers if isinstance(layer, layers.FollowPlan)).sites = (0,)
    model.compile("sgd", "mse", run_eagerly=FAST == "eager")
    assert model.fit([images, numbers[:, 1:]], numbers, batch_size=BATCH, verbose=0).history["loss"][0] > 1e-3


def test_an_input_that_is_not_mixed_is_named():
    for arguments in ({"follow": False}, {"followed_at": 0}, {"followed_at": 1}):
        with pytest.raises(ValueError, match="`FollowPlan` with the plan of the place.* Received: .* the input 'meta'"):
            network(3, **arguments)
    images, other = keras.Input((12, 12, 3)), keras.Input((12, 12, 3), name="view")
    x, plan = layers.CutMix()(images)
    _, stranger = layers.CutMix()(images)
    twice = layers.FollowPlan(name="f")
    for invalid, match in (
        (lambda: layers.FollowPlan(name="f")(other, stranger), "Received: another plan in 'f'"),
        (lambda: twice(other, plan) + twice(other, plan), "'f', which is called again"),
    ):
        with pytest.raises(ValueError, match=match):
            keras_mma.MixModel([images, other], (x + invalid(), plan))
    x, plan = layers.ResizeMix(name="resize_mix")(images)
    with pytest.raises(ValueError, match="`other` must not be maps for the mixer 'resize_mix.* Received: maps in 'f'"):
        keras_mma.MixModel([images, other], (x + layers.FollowPlan(name="f")(other, plan), plan))


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (
            np.zeros((3, 2), "float32"),
            r"`other` must have as many samples as the plan: expected 4. Received: .*\(3, 2\)",
        ),
        (np.zeros((4, 2), "int32"), "`other` must be floats, .* Received: other of shape .* and dtype int32"),
        (
            np.zeros((4, 1, 1, 1, 1), "float32"),
            r"`other` must be vectors .* Received: other of shape \(4, 1, 1, 1, 1\)",
        ),
    ],
)
def test_other_tensors_raise(plan, other, match):
    with pytest.raises(ValueError, match=match):
        layers.FollowPlan()(other, plan, training=True)
    with pytest.raises(ValueError, match="`plan` must be a dict"):
        layers.FollowPlan()(np.zeros((4, 2), "float32"), {"weight": plan["weight"]}, training=True)


def two_inputs(place="late"):
    images = keras.Input((16, 16, 3), name="picture")
    meta = keras.Input((2,), name="meta")
    x = keras.layers.RandomFlip(name="flip")(images)
    hidden = keras.layers.Dense(4, name="hidden")(meta)
    x = keras.layers.Conv2D(4, 3, padding="same", name="fine")(x)
    if place == "early":
        x = keras.layers.Multiply(name="meet")([x, hidden[:, None, None]])
    x = keras.layers.Conv2D(4, 3, strides=2, name="coarse")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(5)(keras.layers.Concatenate()([x, hidden] if place == "late" else [x]))
    return keras.Model({"picture": images, "meta": meta}, outputs)


@pytest.mark.parametrize(("place", "sites"), [("late", (0, 1, 2)), ("early", (0, 1))])
def test_mixify_follows_the_plan_with_other_inputs(place, sites, rng, tmp_path):
    network = two_inputs(place)
    points = ["fine" if place == "late" else "meet", "coarse"]
    assert [point.name for point in keras_mma.mixing_points(network, image="picture")] == points
    model = keras_mma.mixify(network, layers.CutMix(seed=1), at=["fine", "coarse"], image="picture")
    assert model.get_layer("follow_meta").sites == sites
    batch = {"picture": blobs(rng, 8, 16, 16).astype("float32"), "meta": rng.normal(size=(8, 2)).astype("float32")}
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(batch, np.arange(8) % 5, verbose=0)
    expected = model.predict(batch, verbose=0)
    np.testing.assert_allclose(network.predict(batch, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(model.inference_model().predict(batch, verbose=0), expected, atol=1e-5)
    assert not any(isinstance(layer, layers.FollowPlan) for layer in model.inference_model().layers)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.get_layer("follow_meta").sites == sites
    np.testing.assert_allclose(reloaded.predict(batch, verbose=0), expected, atol=1e-5)
    with pytest.raises(ValueError):
        model.fit({**batch, "meta": batch["meta"][:4]}, np.arange(8) % 5, verbose=0)


@keras.saving.register_keras_serializable("tests")
class Shift(keras.layers.Layer):
    """Adds a vector to the features, unless it is absent."""

    def call(self, features, vector=None):
        return features if vector is None else features + vector

    def compute_output_spec(self, features, vector=None):
        return keras.KerasTensor(features.shape, features.dtype)


def test_an_optional_input_may_be_absent(rng, tmp_path):
    images, vector = keras.Input((16, 16, 3), name="picture"), keras.Input((4,), name="vector", optional=True)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="conv")(images))
    network = keras.Model([images, vector], keras.layers.Dense(5)(Shift()(pooled, vector)))
    model = keras_mma.mixify(network, layers.CutMix(seed=1), at=["conv"], image="picture")
    assert isinstance(model.get_layer("follow_vector"), layers.FollowPlan)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    pictures, vectors = blobs(rng, 8, 16, 16).astype("float32"), rng.normal(size=(8, 4)).astype("float32")
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    batches = [pictures, None], [pictures, vectors]
    for batch in batches:
        expected = network.predict(batch, verbose=0)
        for each in (model, reloaded, model.inference_model()):
            np.testing.assert_allclose(each.predict(batch, verbose=0), expected, atol=1e-5)
    for batch in batches:
        assert np.isfinite(reloaded.fit(batch, np.arange(8) % 5, verbose=0).history["loss"][0])


def test_mixify_with_unsuitable_inputs_raises():
    network = two_inputs()
    for image, match in (
        (None, r"`image` must name the one that takes the images. Received: Functional with 2 inputs"),
        ("photo", r"`image` must name an input of .*, one of \[.*'picture'.*\]. Received: image='photo'"),
    ):
        with pytest.raises(ValueError, match=match):
            keras_mma.mixify(network, layers.CutMix(), image=image)
    with pytest.raises(
        ValueError, match="`detector` 'gradient' requires a model with one input.* Received: the inputs"
    ):
        keras_mma.mixify(network, layers.SaliencyMix(detector="gradient"), at=[], image="picture")
    images, index = keras.Input((16, 16, 3), name="picture"), keras.Input((), dtype="int32", name="index")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    network = keras.Model([images, index], keras.layers.Dense(5)(x + keras.layers.Embedding(9, 4)(index)))
    with pytest.raises(ValueError, match="`other` must be floats.* their embedding.* in 'follow_index'"):
        keras_mma.mixify(network, layers.CutMix(), at=[], image="picture")
