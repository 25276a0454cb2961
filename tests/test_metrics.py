"""Accuracy under mixed labels, against loops."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, metrics
from tests.layers.mixers import to_numpy


def loop(name, labels, predictions, weights):
    total = 0.0
    for label, prediction, weight in zip(labels, predictions, weights, strict=True):
        predicted = max(range(len(prediction)), key=lambda index: prediction[index])
        dominant = max(range(len(label)), key=lambda index: label[index])
        total += weight * (float(predicted == dominant) if name == "DominantAccuracy" else label[predicted])
    return total / sum(weights)


@pytest.mark.parametrize("name", metrics.__all__)
def test_a_metric_against_a_loop(rng, name):
    labels = rng.dirichlet(np.ones(4), 40).astype("float32")
    predictions, weights = rng.normal(size=(40, 4)).astype("float32"), rng.uniform(0, 1, 40).astype("float32")
    metric = getattr(metrics, name)()
    for part in (slice(0, 13), slice(13, 40)):
        metric.update_state(labels[part], predictions[part], weights[part])
    assert float(metric.result()) == pytest.approx(loop(name, labels, predictions, weights), rel=1e-5)


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("form", ["(batch,)", "(batch, 1)", "one-hot"])
def test_with_one_class_it_is_the_accuracy(rng, name, form):
    labels, predictions = rng.integers(0, 5, 30), rng.normal(size=(30, 5)).astype("float32")
    given = {"(batch,)": labels, "(batch, 1)": labels[:, None], "one-hot": np.eye(5, dtype="float32")[labels]}[form]
    assert float(getattr(metrics, name)()(given, predictions)) == pytest.approx(
        (predictions.argmax(1) == labels).mean()
    )


@pytest.mark.parametrize("threshold", [0.5, 0.0])
@pytest.mark.parametrize("name", metrics.__all__)
def test_a_network_with_one_output(rng, name, threshold):
    labels = rng.uniform(0, 1, 40).astype("float32")
    predictions = (threshold + rng.normal(size=(40, 1))).astype("float32")
    total = 0.0
    for label, prediction in zip(labels, predictions[:, 0], strict=True):
        is_positive = prediction > threshold
        share = label if is_positive else 1 - label
        total += share if name == "WeightedAccuracy" else share > 0.5
    metric = getattr(metrics, name)(threshold=threshold)
    metric = type(metric).from_config(metric.get_config())
    for given in (labels, labels[:, None]):
        assert float(metric(given, predictions)) == pytest.approx(total / 40, rel=1e-5)
        metric.reset_state()


@pytest.mark.parametrize("name", metrics.__all__)
def test_lists_are_taken(name):
    predictions = [[0.9, 0.1], [0.9, 0.1]]
    for labels in ([[0.75, 0.25], [0.25, 0.75]], [0, 1]):
        assert float(getattr(metrics, name)()(labels, predictions)) == 0.5


def test_a_model_that_is_compiled_with_them_trains_and_loads(rng, tmp_path):
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model = keras_mma.mixify(network, layers.CutMix(), at=[])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy", metrics.DominantAccuracy(), metrics.WeightedAccuracy()])
    images, labels = rng.uniform(0, 1, (12, 8, 8, 3)), np.arange(12) % 3
    history = model.fit(images, labels, verbose=0).history
    assert history["dominant_accuracy"] == history["accuracy"]
    assert 0 <= history["weighted_accuracy"][0] <= 1
    results = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert results["dominant_accuracy"] == results["weighted_accuracy"] == pytest.approx(results["accuracy"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(images, labels, verbose=0, return_dict=True) == pytest.approx(results)


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("widths", [(3, 4), (4, 3), (3, 1)])
def test_labels_of_another_number_of_classes_are_refused(name, widths):
    labels, predictions = (np.full((2, width), 1 / width, "float32") for width in widths)
    expected = rf"`y_true` must hold class indices, or .*, {widths[1]}. Received: y_true of shape \(2, {widths[0]}\)"
    with pytest.raises(ValueError, match=expected):
        getattr(metrics, name)()(labels, predictions)


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("label", [-1, 3, 0.5])
def test_what_is_no_class_index_is_refused(name, label):
    for labels in ([0, label], [[0], [label]]):
        match = f"`y_true` must be class indices from 0 to 2.*Received: y_true with the label {label}"
        with pytest.raises(ValueError, match=match):
            getattr(metrics, name)()(np.array(labels), np.eye(3, dtype="float32")[:2])


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_no_class_index_is_nan_in_a_graph(name, jit_compile, needs_tensorflow):
    """A graph cannot raise; a vector of zeros would be class 0."""
    import tensorflow as tf

    measure, predictions = getattr(metrics, name)()._fn, np.eye(3, dtype="float32")[[0, 0, 2, 0]]

    def call(labels, shape):
        function = tf.function(
            lambda labels: measure(labels, predictions, 0.5),
            input_signature=[tf.TensorSpec(shape, labels.dtype)],
            jit_compile=jit_compile,
        )
        return function(tf.constant(labels)).numpy()

    expected, indices = [np.nan, np.nan, 1.0, 0.0], np.array([7, -1, 2, 1])
    np.testing.assert_array_equal(call(indices, [None]), expected)
    np.testing.assert_array_equal(call(indices[:, None], [4, 1]), expected)
    np.testing.assert_array_equal(call(indices[:, None], [None, None]), expected)
    np.testing.assert_array_equal(call(np.array([[7], [0.5], [2], [1]], "float32"), [None, None]), expected)
    np.testing.assert_array_equal(call(np.eye(3)[[0, 1, 2, 1]], [None, None]), [1.0, 0.0, 1.0, 0.0])
    assert np.isnan(call(np.ones((4, 2)), [None, None])).all()


@pytest.mark.parametrize("name", metrics.__all__)
def test_labels_with_nan_are_not_counted_as_right(name):
    labels = np.array([[np.nan, 1.0], [1.0, 0.0]], "float32")
    values = getattr(metrics, name)()._fn(labels, np.eye(2, dtype="float32"), 0.5)
    np.testing.assert_array_equal(to_numpy(values), [np.nan, 0.0])


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.parametrize("width", [None, 1, 3])
def test_class_indices_of_maps(rng, name, width):
    labels, predictions = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype("float32")
    given = {None: labels, 1: labels[..., None], 3: np.eye(3)[labels]}[width]
    assert float(getattr(metrics, name)()(given, predictions)) == pytest.approx(
        (predictions.argmax(-1) == labels).mean()
    )


@pytest.mark.parametrize("metric", [metrics.DominantAccuracy, metrics.WeightedAccuracy])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_label_that_is_ignored_need_be_no_class(metric, shape):
    predictions = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    measured = metric()
    measured.update_state(np.array([0, 255, 1, 0]).reshape(shape), predictions, sample_weight=np.array([1.0, 0, 1, 1]))
    np.testing.assert_allclose(float(measured.result()), 2 / 3, rtol=1e-6)
