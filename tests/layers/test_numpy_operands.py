"""Tensors of PyTorch on a GPU cannot be combined with NumPy arrays, which a machine without a GPU does not show."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import layers
from tests.layers.mixers import CASES, MOVING_CASES
from tests.pictures import blobs

if keras.backend.backend() != "torch":
    pytest.skip("other backends combine them", allow_module_level=True)


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Refuse the conversion to an array, which NumPy asks for as the other operand."""
    import torch

    def refuse(*arguments, **keywords):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)


def test_an_array_as_the_other_operand_is_noticed(like_a_gpu):
    with pytest.raises((TypeError, RuntimeError)):
        ops.ones((3,)) * np.arange(3.0)


@pytest.mark.parametrize("case", [*CASES, *MOVING_CASES], ids=str)
def test_mixers_combine_tensors_with_tensors(case, rng, request):
    images = ops.convert_to_tensor(blobs(rng, 6).astype("float32"))
    mixer = case.cls(seed=3, **case.settings)
    request.getfixturevalue("like_a_gpu")
    mixer(images, training=True)


@pytest.mark.parametrize("layer", [layers.FeatureMixAdapt, layers.CatchUpMix])
def test_feature_sites_combine_tensors_with_tensors(layer, rng, request):
    images = ops.convert_to_tensor(blobs(rng, 6).astype("float32"))
    _, plan = layers.CutMix(sites=(1,), seed=3)(images, training=True)
    features = ops.convert_to_tensor(rng.random((6, 8, 10, 4)).astype("float32"))
    request.getfixturevalue("like_a_gpu")
    layer(1)(features, plan, training=True)
