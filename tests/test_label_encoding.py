"""Encoding of labels, and errors for labels that cannot be encoded."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers
from keras_mma.label_encoding import check_range, check_width, encode, map_heads, one_hot, refuse_strings

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_integers_are_one_hot_encoded(dtype, shape):
    labels = np.array([0, 2, 1, 2], dtype).reshape(shape)
    encoded = ops.convert_to_numpy(encode(labels, 3))
    np.testing.assert_array_equal(encoded, np.eye(3, dtype="float32")[labels.ravel()])
    assert encoded.dtype == "float32"


def traced(function, labels):
    """Call a function where the values of its argument are not known."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)(labels)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)(labels)
    pytest.skip("PyTorch runs operations at once")


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_class_index_out_of_range_becomes_nan_in_a_graph(dtype):
    labels = np.array([0, 3, -1, 2], dtype)
    encoded = ops.convert_to_numpy(traced(lambda labels: encode(labels, 3), ops.convert_to_tensor(labels)))
    assert np.isnan(encoded[1:3]).all() and (encoded[[0, 3]] == np.eye(3)[[0, 2]]).all()


@pytest.mark.parametrize("convert", [np.asarray, ops.convert_to_tensor], ids=["numpy", "tensor"])
@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ([1, 2, 3], 3),
        ([[0], [-1]], -1),
        (np.array([200, 1], "uint8"), 200),
        ([0.0, 1.5], 1.5),
        ([0.0, np.nan], "nan"),
    ],
    ids=str,
)
def test_a_class_index_out_of_range_raises_where_its_value_is_known(labels, label, convert):
    with pytest.raises(ValueError, match=f"from 0 to 2, because .* 3 classes. Received: y with the label {label}"):
        encode(convert(labels), 3, "y")


def test_wide_integers_are_not_wrapped_around():
    labels = np.array([2**32 + 1, 1])
    with pytest.raises(ValueError, match=f"Received: labels with the label {2**32 + 1}"):
        encode(labels, 3)
    with pytest.raises(ValueError, match=f"Received: (labels with the label|the value) {2**32 + 1}"):
        layers.MixUp(num_classes=3)(np.zeros((2, 4, 4, 3), "uint8"), labels)
    if BACKEND == "tensorflow":
        encoded = traced(lambda labels: encode(labels, 3), labels).numpy()
        assert np.isnan(encoded[0]).all() and (encoded[1] == [0, 1, 0]).all()


@pytest.mark.parametrize("dtype", ["int64", "float32"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_open_width_is_decided_when_the_graph_runs(needs_tensorflow, dtype, jit_compile):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None), dtype)]

    def call(labels, classes):
        function = tf.function(
            lambda labels: encode(labels, classes), input_signature=signature, jit_compile=jit_compile
        )
        return function(tf.constant(labels, dtype)).numpy()

    indices = np.array([2, 0, 1])
    np.testing.assert_array_equal(call(indices[:, None], 3), np.eye(3)[indices])
    np.testing.assert_array_equal(call(np.eye(3)[indices], 3), np.eye(3)[indices])
    assert np.isnan(call(np.eye(4), 3)).all()
    if dtype == "float32":
        np.testing.assert_array_equal(call(np.eye(4), None), np.eye(4))
        assert np.isnan(call(indices[:, None], None)).all()
    else:
        with pytest.raises(ValueError, match="number of classes is not known: pass `num_classes`"):
            call(indices[:, None], None)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_symbolic_labels_of_an_open_width_have_that_of_the_classes(dtype, half_precision):
    encoded = encode(keras.KerasTensor((4, None), dtype), 3)
    assert isinstance(encoded, keras.KerasTensor) and encoded.shape == (4, 3) and encoded.dtype == "float32"


def test_labels_and_images_of_unknown_rank_are_refused(needs_tensorflow):
    import tensorflow as tf

    def unknown(tensor):
        return tf.py_function(lambda values: values, [tensor], tensor.dtype)

    dataset = tf.data.Dataset.from_tensors((np.zeros((4, 8, 8, 3), "uint8"), np.arange(4)))
    for change in (lambda images, labels: (images, unknown(labels)), lambda images, labels: (unknown(images), labels)):
        with pytest.raises(
            ValueError, match="must be tensors of known rank.*`set_shape`.* Received: a tensor of unknown"
        ):
            dataset.map(change).map(layers.MixUp(num_classes=4))


def test_labels_of_another_rank_after_the_first_training(needs_tensorflow):
    """TensorFlow then traces a step for both, in which the rank is unknown; plain Keras fails too."""
    inputs = keras.Input((4, 4, 3))
    mixed = keras_mma.mixify(
        keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))), layers.MixUp(), at=[]
    )
    mixed.compile("sgd", "mse")
    images, labels = np.zeros((4, 4, 4, 3)), np.array([0, 1, 2, 0])
    mixed.fit(images, labels, verbose=0)
    with pytest.raises(ValueError, match="`y` must have a known rank.*compile a model again.* Received: y of unknown"):
        mixed.fit(images, labels[:, None], verbose=0)
    mixed.compile("sgd", "mse")
    mixed.fit(images, labels[:, None], verbose=0)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_floats_with_integer_values_are_class_indices(shape):
    labels = np.array([0, 2, 1, 2], "float32")
    encoded = ops.convert_to_numpy(encode(labels.reshape(shape), 3))
    np.testing.assert_array_equal(encoded, np.eye(3)[labels.astype(int)])
    with pytest.raises(ValueError, match="layers in a pipeline convert integers to floats; with `num_classes`"):
        encode(labels, None)


def test_binary_labels_of_a_pipeline_are_told_what_they_need():
    """Those of `image_dataset_from_directory(label_mode="binary")`."""
    labels = np.array([[0.0], [1.0]], "float32")
    with pytest.raises(ValueError, match="`num_classes=1` for labels 0 and 1 of one output"):
        encode(labels, None)
    np.testing.assert_array_equal(ops.convert_to_numpy(encode(labels, 1)), labels)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "bool"])
def test_one_hot_labels_become_float32(dtype):
    labels = np.eye(3)[[0, 2]].astype(dtype)
    encoded = ops.convert_to_numpy(encode(labels, 3))
    np.testing.assert_array_equal(encoded, labels.astype("float32"))
    assert encoded.dtype == "float32"
    assert ops.convert_to_numpy(encode(labels, None)).shape == (2, 3)


def test_labels_of_a_single_output_are_numbers():
    for labels in (np.array([0, 1, 1]), np.array([[0.0], [0.5], [1.0]])):
        assert ops.convert_to_numpy(encode(labels, 1)).shape == (3, 1)


@pytest.mark.parametrize(
    ("labels", "classes", "match"),
    [
        (np.zeros((4, 5), "float32"), 3, r"shape \(batch, 3\).*Received: labels of shape \(4, 5\)"),
        (np.zeros((4, 2, 3), "float32"), 3, r"Received: labels of shape \(4, 2, 3\) and dtype float32, classes=3$"),
        (np.zeros((4, 2, 3), "float32"), None, r"Received: labels of shape \(4, 2, 3\) and dtype float32$"),
        (np.zeros((), "int32"), 3, r"Received: labels of shape \(\)"),
        (np.zeros((4,), "float32"), None, "integer labels.*dtype float32"),
        (np.zeros((4, 1), "float32"), None, "integer labels.*dtype float32"),
        (np.zeros((4,), "int32"), None, "number of classes is not known: pass `num_classes`"),
        (np.zeros((4, 2), "float32"), 1, r"shape \(batch, 1\)"),
    ],
)
def test_other_labels_raise(labels, classes, match):
    with pytest.raises(ValueError, match=match):
        encode(labels, classes)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("width", [2, 4, 6])
def test_the_width_of_labels_is_the_number_of_classes(dtype, width):
    labels = ops.zeros((3, width), dtype)
    match = rf"soft labels of shape \(batch, 5\).*Received: labels of shape \(3, {width}\)"
    with pytest.raises(ValueError, match=match):
        encode(labels, 5)
    with pytest.raises(ValueError, match=match):
        check_width(labels, 5)
    for fitting in (ops.zeros((3, 5), dtype), ops.zeros((3, 1), dtype), ops.zeros((3,), dtype)):
        check_width(fitting, 5)
        assert tuple(encode(fitting, 5).shape) == (3, 5)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((4, 2)), np.zeros((4, 5)), np.array(["a"]), np.array([b"a"])],
    ids=["narrow", "wide", "strings", "bytes"],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_errors_have_the_name_of_the_labels(labels, classes):
    with pytest.raises(ValueError, match="^`y` must be .* Received: y of"):
        encode(labels, classes, "y")


@pytest.mark.parametrize(
    "labels",
    ["a", b"a", ["a"], np.array(["a"]), np.array([b"a"]), np.array(["a"], object)],
    ids=["string", "bytes", "list", "array", "array of bytes", "array of objects"],
)
def test_strings_are_refused(labels):
    with pytest.raises(ValueError, match="^`labels` must be numbers"):
        refuse_strings(labels)
    refuse_strings([np.zeros(2), 1, None])


def test_string_tensors_are_refused(needs_tensorflow):
    import tensorflow as tf

    with pytest.raises(ValueError, match="Received: labels of dtype <dtype: 'string'>"):
        refuse_strings(tf.constant(["a"]))


def test_only_class_indices_have_a_range():
    with pytest.raises(ValueError, match="^`labels` must be class indices"):
        check_range(np.array([5]), 3)
    for labels, classes in ((np.array([5]), None), (np.array([5]), 1), (np.full((2, 3), 7.0), 3)):
        check_range(labels, classes)


def test_one_hot_vectors_of_what_is_no_class_index_are_nan():
    labels = np.array([[0, 3], [-1, 2]])
    for dtype in ("int32", "int64", "float32"):
        encoded = ops.convert_to_numpy(one_hot(ops.convert_to_tensor(labels.astype(dtype)), 3))
        np.testing.assert_array_equal(encoded, [[1, 0, 0], [np.nan] * 3, [np.nan] * 3, [0, 0, 1]])
    encoded = ops.convert_to_numpy(one_hot(ops.convert_to_tensor(np.array([0.5, 2.0], "float32")), 3))
    np.testing.assert_array_equal(encoded, [[np.nan] * 3, [0, 0, 1]])
    if BACKEND != "jax":  # which has no wider integers by default
        encoded = ops.convert_to_numpy(one_hot(ops.convert_to_tensor(np.array([2**32 + 1, 1])), 3))
        np.testing.assert_array_equal(encoded, [[np.nan] * 3, [0, 1, 0]])


def test_vectors_are_float32_under_half_precision(half_precision):
    encoded = ops.convert_to_numpy(one_hot(ops.convert_to_tensor(np.array([2049, 3], "int32")), 2050))
    assert encoded.argmax(1).tolist() == [2049, 3]  # float16 has no 2049
    for labels, classes in ((np.array([0, 1]), 1), (np.array([0, 1]), 3), (np.eye(3), 3)):
        assert keras.backend.standardize_dtype(encode(labels, classes).dtype) == "float32"


def test_labels_of_several_heads_meet_their_predictions():
    def pair(label, prediction, name):
        return label + prediction, name

    assert map_heads(pair, None, "a", ["a"]) is None
    assert map_heads(pair, "1", "a", ["a"]) == ("1a", "y")
    assert map_heads(pair, ["1", "2"], ["a", "b"], ["a", "b"]) == [("1a", "y"), ("2b", "y")]
    assert map_heads(pair, ["1", None], ["a", "b"], ["a", "b"]) == [("1a", "y"), None]
    assert map_heads(pair, ("1",), "a", ["a"]) == (("1a", "y"),)
    # Heads of a dict that are in order of their names where the model has them as a list.
    assert map_heads(pair, {"b": "2"}, ["a", "b"], ["a", "b"]) == {"b": ("2b", "y['b']")}
    nested = map_heads(pair, {"b": {"c": "1"}}, {"a": "a", "b": {"c": "c"}}, None, "labels")
    assert nested == {"b": {"c": ("1c", "labels['b']['c']")}}
    # Lists in lists, which are flat if the whole has another structure.
    assert map_heads(pair, [["1"], "2"], [["a"], "b"], None) == [[("1a", "y")], ("2b", "y")]
    with pytest.raises(ValueError, match=r"^`y` must name heads of the model, \['a', 'b'\]. Received: \['c'\]$"):
        map_heads(pair, {"a": "1", "c": "2"}, ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="^`y` must have labels for 2 heads. Received: labels for 3$"):
        map_heads(pair, ["1", "2", "3"], ["a", "b"], ["a", "b"])
    # What holds for a structure holds for those inside it: the names of the heads, that of the labels, and no labels.
    assert map_heads(pair, [{"out": "1"}], ["a"], ["out"]) == [{"out": ("1a", "y['out']")}]
    assert map_heads(pair, [["1"]], [["a"]], None, "sample_weight") == [[("1a", "sample_weight")]]
    assert map_heads(pair, ("1", ("2", None)), ["a", "b", "c"], None) == (("1a", "y"), (("2b", "y"), None))


def test_errors_say_how_many_classes_there_are_where_that_is_known():
    with pytest.raises(ValueError, match=r"soft labels of shape \(batch, classes\), "):
        encode(np.zeros((2, 3, 4)), None)
    with pytest.raises(ValueError, match=r"soft labels of shape \(batch, 5\), "):
        encode(np.zeros((2, 3, 4)), 5)


def test_strings_are_refused_with_their_dtype_where_they_have_one():
    with pytest.raises(ValueError, match="Received: labels of strings$"):
        refuse_strings(["a", "b"])
    with pytest.raises(ValueError, match="Received: labels of dtype <U1$"):
        refuse_strings(np.array(["a", "b"]))
