"""The ResNet-20 of the examples of Keras: number of weights, shapes, weight penalty."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma.models import ResNet20
from tests.tracing import UNTRACED


def test_resnet20_has_the_published_size():
    model = ResNet20()
    # 0.27 million in the paper's table; projections and biases add 2 %.
    assert round(sum(int(np.prod(w.shape)) for w in model.trainable_weights) / 1e6, 2) == 0.27
    assert [model.get_layer(f"stage{n}").output.shape[1:] for n in (1, 2, 3)] == [
        (32, 32, 16),
        (16, 16, 32),
        (8, 8, 64),
    ]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len([layer for layer in convolutions if layer.kernel_size == (3, 3)]) + 1 == 20
    assert isinstance(model.get_layer("stage3"), keras.layers.ReLU)


def test_arguments():
    model = ResNet20((16, 12, 1), 7, preprocessing=[keras.layers.Rescaling(2.0)], l2=0)
    assert model.predict(np.zeros((2, 16, 12, 1)), verbose=0).shape == (2, 7) and not model.losses


def test_the_penalty_is_part_of_the_loss_of_a_mixed_model():
    model = ResNet20((8, 8, 1), 3, l2=0.5)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    penalty = 0.5 * sum(float(keras.ops.sum(kernel**2)) for kernel in kernels)
    mixed = keras_mma.mixify(model, keras_mma.layers.CutMix(), at=["stage1"])
    mixed.compile(keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True), **UNTRACED)
    labels = keras.ops.one_hot(np.arange(6) % 3, 3)
    loss = mixed.fit(np.zeros((6, 8, 8, 1)), labels, batch_size=6, verbose=0).history["loss"][0]
    assert loss == pytest.approx(penalty + np.log(3), rel=0.02)
