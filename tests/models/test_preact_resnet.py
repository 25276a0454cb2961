"""The networks of the papers: numbers of weights, shapes, names of layers."""

import keras
import numpy as np
import pytest

from keras_mma.models import PreActResNet18, ResNet20, WideResNet


def test_preact_resnet18_has_the_published_size():
    model = PreActResNet18()
    # The network of the mixing papers has no final normalization, whose 1,024 weights He et al. have.
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 11_171_146
    with_activation = PreActResNet18(final_activation=True)
    assert sum(int(np.prod(w.shape)) for w in with_activation.trainable_weights) == 11_171_146 + 1_024
    assert [model.get_layer(f"stage{n}").output.shape[1:] for n in (1, 2, 3, 4)] == [
        (32, 32, 64),
        (16, 16, 128),
        (8, 8, 256),
        (4, 4, 512),
    ]
    assert model.output_shape == (None, 10)


def test_normalization_is_that_of_the_papers():
    for model in (PreActResNet18(), WideResNet(10, 1)):
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert norms and {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}


def test_wide_resnet_28_10_has_the_published_size():
    model = WideResNet(28, 10, classes=10)
    # 36.5 million in the paper's table.
    assert round(sum(int(np.prod(w.shape)) for w in model.trainable_weights) / 1e6, 1) == 36.5
    assert [model.get_layer(f"stage{n}").output.shape[1:] for n in (1, 2, 3)] == [
        (32, 32, 160),
        (16, 16, 320),
        (8, 8, 640),
    ]


def test_arguments():
    model = WideResNet(
        10,
        1,
        input_shape=(None, None, 1),
        classes=7,
        dropout=0.3,
        preprocessing=[keras.layers.Rescaling(2.0)],
    )
    assert model.predict(np.zeros((2, 24, 20, 1)), verbose=0).shape == (2, 7)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    for depth, width, match in (
        (11, 1, "`depth` must be 6 n"),
        (4, 1, "`depth`"),
        (16, 0, "`width` must be"),
    ):
        with pytest.raises(ValueError, match=match):
            WideResNet(depth, width)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    assert WideResNet(10, 1).output.dtype == "float32"


@pytest.mark.parametrize("build", [lambda **shape: WideResNet(10, 1, **shape), PreActResNet18, ResNet20])
def test_channels_may_come_first(build):
    channels_last = build(input_shape=(32, 16, 3))
    keras.config.set_image_data_format("channels_first")
    model = build(input_shape=(3, 32, 16))
    assert [tuple(weight.shape) for weight in model.weights] == [
        tuple(weight.shape) for weight in channels_last.weights
    ]
    assert [layer.name for layer in model.layers] == [layer.name for layer in channels_last.layers]
    assert model.get_layer("stage2").output.shape[2:] == channels_last.get_layer("stage2").output.shape[1:3]
