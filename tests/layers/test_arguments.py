"""Checks of the arguments of layers at the ends of their ranges."""

import re

import numpy as np
import pytest

from keras_mma import layers
from keras_mma.layers import arguments
from keras_mma.layers.puzzle import normalize
from tests.layers.mixers import to_numpy

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("check", "valid", "invalid"),
    [
        (arguments.positive, [1e-9, 1, np.float32(2)], [0, -1.0, INFINITE, float("nan"), True, "1", None]),
        (arguments.non_negative, [0, 0.0, 1e9], [-1e-9, INFINITE, float("nan"), False, "1"]),
        (arguments.fraction, [0, 1, 0.5], [-1e-9, 1 + 1e-9, float("nan"), True, "0.5"]),
        (arguments.any_integer, [0, -(2**31), 2**31 - 1, np.int64(3)], [2**31, -(2**31) - 1, 1.0, True, "1"]),
        (arguments.boolean, [True, False], [0, 1, None, "True"]),
    ],
    ids=["positive", "non-negative", "fraction", "integer", "boolean"],
)
def test_the_ends_of_ranges(check, valid, invalid):
    for value in valid:
        assert check("name", value) == value
    for value in invalid:
        with pytest.raises(ValueError, match=rf"^`name` must be .* Received: name={re.escape(repr(value))}$"):
            check("name", value)


def test_the_least_integer():
    assert arguments.integer("name", 2, 2) == 2
    for value in (1, 2.0, True):
        with pytest.raises(ValueError, match=f"^`name` must be an integer of at least 2. Received: name={value}$"):
            arguments.integer("name", value, 2)


def test_a_mixer_for_the_input_only_is_named():
    with pytest.raises(ValueError, match=r"`sites` must be \(0,\) for ResizeMix, which .* Received: sites=\(0, 1\)"):
        layers.ResizeMix(sites=(0, 1))


def test_weights_of_sites_belong_in_site_weights():
    with pytest.raises(ValueError, match=r"`sites` must be distinct .* Received: sites=\{0: 2, 1: 1\}"):
        layers.CutMix(sites={0: 2, 1: 1})


def test_a_box_that_moves_is_for_the_input_only():
    with pytest.raises(ValueError, match="^`scheme` must be .* Received: scheme='salient_to_salient', sites=.*1"):
        layers.SaliencyMix(scheme="salient_to_salient", sites=(0, 1))


def test_shares_of_saliency():
    maps = np.array([[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], "float32")
    expected = [[[1 / 8, 3 / 8], [0, 1 / 2]], [[1 / 4, 1 / 4], [1 / 4, 1 / 4]]]
    np.testing.assert_allclose(to_numpy(normalize(maps)), expected)
