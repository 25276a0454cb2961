"""Encoding of labels, and errors for labels that cannot be encoded."""

import numpy as np
import pytest
from keras import ops

from keras_mma.label_encoding import encode


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_integers_are_one_hot_encoded(dtype, shape):
    labels = np.array([0, 2, 1, 2], dtype).reshape(shape)
    encoded = ops.convert_to_numpy(encode(labels, 3))
    np.testing.assert_array_equal(encoded, np.eye(3, dtype="float32")[labels.ravel()])
    assert encoded.dtype == "float32"


def test_a_class_index_out_of_range_becomes_nan():
    encoded = ops.convert_to_numpy(encode(np.array([0, 3, -1, 2]), 3))
    assert np.isnan(encoded[1:3]).all() and (encoded[[0, 3]] == np.eye(3)[[0, 2]]).all()


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
        (np.zeros((4, 2, 3), "float32"), 3, r"Received: labels of shape \(4, 2, 3\)"),
        (np.zeros((), "int32"), 3, r"Received: labels of shape \(\)"),
        (np.zeros((4,), "float32"), 3, "integer labels.*dtype float32"),
        (np.zeros((4, 1), "float32"), 3, "integer labels.*dtype float32"),
        (np.zeros((4,), "int32"), None, "number of classes is not known: pass `num_classes`"),
        (np.zeros((4, 2), "float32"), 1, r"shape \(batch, 1\)"),
    ],
)
def test_other_labels_raise(labels, classes, match):
    with pytest.raises(ValueError, match=match):
        encode(labels, classes)
