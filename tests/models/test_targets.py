"""Labels of several heads, in every structure: each has the width of its own head and is mixed by the one plan."""

from collections import namedtuple

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma.models import targets
from tests import oracles
from tests.layers.mixers import to_numpy

WIDTHS = (5, 3, 4)
Heads = namedtuple("Heads", ["first", "second", "third"])
FORMS = {
    "list": lambda values: list(values),
    "tuple": lambda values: tuple(values),
    "named tuple": lambda values: Heads(*values),
    "nested": lambda values: [values[0], {"second": values[1], "third": values[2]}],
    "dict": lambda values: dict(zip(("first", "second", "third"), values, strict=True)),
    "dict of another order": lambda values: {"third": values[2], "first": values[0], "second": values[1]},
}


@pytest.mark.parametrize(
    ("form", "form_of_heads"),
    [*zip(FORMS, FORMS, strict=True), ("dict of another order", "list"), ("list", "dict"), ("named tuple", "list")],
)
def test_labels_have_the_width_of_their_own_head(rng, form, form_of_heads):
    labels = [rng.integers(0, 3, 6) for _ in WIDTHS]
    y, heads = FORMS[form](labels), FORMS[form_of_heads]([ops.zeros((6, width)) for width in WIDTHS])
    encoded = targets.encode(y, heads, ["first", "second", "third"])
    plan = {
        "partner": np.array([1, 2, 3, 4, 5, 0], "int32"),
        "mask": rng.random((6, 2, 2, 1)).astype("float32"),
        "weight": rng.random(6).astype("float32"),
        "site": np.int32(0),
    }
    plan_of_tensors = keras.tree.map_structure(ops.convert_to_tensor, plan)
    mixed, _ = targets.follow(encoded, None, heads, ["first", "second", "third"], plan_of_tensors)
    expected = FORMS[form](
        [oracles.mix_labels(np.eye(width)[label], plan) for label, width in zip(labels, WIDTHS, strict=True)]
    )
    keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), to_numpy(mixed), expected)


def test_a_model_with_a_list_of_heads_knows_which_is_which(rng):
    """Integer labels fit their own head; those of another one are out of range."""
    inputs = keras.Input((8, 8, 3))
    x, plan = keras_mma.layers.CutMix(seed=1)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    heads = [keras.layers.Dense(width, name=f"head{width}")(x) for width in WIDTHS]
    model = keras_mma.MixModel(inputs, (heads, plan))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("sgd", [loss] * 3, run_eagerly=keras.backend.backend() == "tensorflow")
    labels = [np.arange(8) % width for width in WIDTHS]
    history = model.fit(rng.random((8, 8, 8, 3)).astype("float32"), labels, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        model.fit(rng.random((8, 8, 8, 3)).astype("float32"), labels[::-1][1:] + labels[:1], verbose=0)


def test_the_width_of_labels_is_checked_before_a_step(rng):
    predictions = keras.KerasTensor((None, 3), "float32")
    for fitting in (np.eye(3), np.array([0, 2]), np.array([[0], [2]])):
        targets.check(fitting, predictions, ["a"])
    with pytest.raises(ValueError, match=r"^`y` must be one-hot or soft labels of shape \(batch, 3\)"):
        targets.check(np.eye(4), predictions, ["a"])
    with pytest.raises(ValueError, match="^`labels` must be class indices from 0 to 2"):
        targets.check(np.array([0, 3]), predictions, ["a"], name="labels")


def test_targets_have_the_names_of_their_labels():
    predictions = {"first": np.zeros((2, 3), "float32"), "second": np.zeros((2, 4, 4, 3), "float32")}
    labels = {"first": np.array([0, 2]), "second": np.zeros((2, 4, 4), int)}
    encoded = targets.encode(labels, predictions, None)
    assert {key: target.name for key, target in encoded.items()} == {"first": "y['first']", "second": "y['second']"}
    assert {key: target.is_map for key, target in encoded.items()} == {"first": False, "second": True}


def test_a_head_without_weights_beside_a_map_with_ignored_pixels(half_precision):
    """Keras takes no `None` among the weights of several heads."""
    predictions = [np.zeros((2, 3), "float32"), np.zeros((2, 2, 2, 3), "float32")]
    maps = np.array([[[0, 255], [1, 2]]] * 2)
    encoded = targets.encode([np.array([0, 2]), maps], predictions, None, ignore_class=255)
    _, (weight, weights) = targets.follow(encoded, None, predictions, None)
    assert keras.backend.standardize_dtype(weight.dtype) == "float32" and to_numpy(weight).tolist() == [1, 1]
    np.testing.assert_array_equal(to_numpy(weights), maps != 255)


def test_a_map_without_weights_beside_a_head_with_weights(rng):
    """The loss of a map is one of pixels, for which weights of samples have the wrong shape."""
    predictions = {"scene": np.zeros((2, 3), "float32"), "map": np.zeros((2, 4, 2, 3), "float32")}
    labels = {"scene": np.array([0, 2]), "map": rng.integers(0, 3, (2, 4, 2))}
    encoded = targets.encode(labels, predictions, None, ignore_class=None)
    _, weights = targets.follow(encoded, {"scene": np.array([1.0, 3.0], "float32")}, predictions, None)
    assert to_numpy(weights["scene"]).tolist() == [1, 3]
    np.testing.assert_array_equal(to_numpy(weights["map"]), np.ones((2, 4, 2)))


def map_and_vector(mixer, arrange=list):
    """A network with a map and a vector, whose predictions are arranged by a function of both."""
    inputs = keras.Input((8, 8, 3))
    x, plan = mixer(inputs)
    vector = keras.layers.Dense(3, activation="softmax", name="vector")(keras.layers.GlobalAveragePooling2D()(x))
    heads = (keras.layers.Conv2D(3, 1, activation="softmax", name="map")(x), vector)
    return keras_mma.MixModel(inputs, (arrange(heads), plan))


@pytest.mark.parametrize("weights", [None, "heads", "samples"])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_labels_in_a_dict_of_heads_in_a_list(rng, weights, probability):
    """Keras finds such labels by the names of the heads, but sample weights only by their place."""
    images, maps, vectors = rng.random((4, 8, 8, 3)), rng.integers(0, 3, (4, 8, 8)), rng.integers(0, 3, 4)
    of_map, of_vector = rng.random((4, 8, 8)).astype("float32"), rng.random(4).astype("float32")
    losses = []
    in_a_dict = {"vector": vectors, "map": maps}, {"vector": of_vector, "map": of_map}
    for y, of_heads in (in_a_dict, ([maps, vectors], [of_map, of_vector])):
        keras.utils.set_random_seed(1)
        model = map_and_vector(keras_mma.layers.CutMix(probability=probability, seed=3))
        loss = keras.losses.CategoricalCrossentropy
        metrics = {"weighted_metrics": [["accuracy"]] * 2, "run_eagerly": keras.backend.backend() == "tensorflow"}
        model.compile("sgd", [loss(), loss()], ignore_class=2, **metrics)
        sample_weight = {None: None, "heads": of_heads, "samples": of_vector}[weights]
        losses.append(model.fit(images, y, sample_weight=sample_weight, shuffle=False, verbose=0).history["loss"])
        losses[-1].append(model.evaluate(images, y, sample_weight=sample_weight, verbose=0)[0])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (lambda heads: {"a": heads[0], "b": heads[1]}, {"b": 1, "a": 3}),
        (lambda heads: [heads[0], {"b": heads[1]}], [3, {"b": 1}]),
        (tuple, (3, 1)),
    ],
)
def test_weights_have_the_structure_that_keras_looks_them_up_in(arrange, expected):
    predictions = arrange((np.zeros((2, 2, 2, 3), "float32"), np.zeros((2, 3), "float32")))
    labels = {"b": np.array([0, 2]), "a": np.zeros((2, 2, 2), "int32")}
    encoded = targets.encode(labels, predictions, ["a", "b"], ignore_class=2)
    mixed, weights = targets.follow(encoded, None, predictions, ["a", "b"])
    assert list(mixed) == ["b", "a"]
    assert keras.tree.map_structure(lambda weight: len(weight.shape), weights) == expected
    # A subclass that has called `follow_plan` may call the `compute_loss` of `MixModel`, which calls it again.
    encoded = targets.encode(mixed, predictions, ["a", "b"])
    _, again = targets.follow(encoded, weights, predictions, ["a", "b"])
    keras.tree.map_structure(np.testing.assert_array_equal, to_numpy(again), to_numpy(weights))


def test_a_dict_that_lacks_a_head_has_no_weights_for_it():
    predictions = [np.zeros((2, 3), "float32"), np.zeros((2, 2, 2, 3), "float32")]
    encoded = targets.encode({"b": np.zeros((2, 2, 2), "int32")}, predictions, ["a", "b"], ignore_class=2)
    _, (nothing, weights) = targets.follow(encoded, None, predictions, ["a", "b"])
    assert nothing is None and weights.shape == (2, 2, 2)
