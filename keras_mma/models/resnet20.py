"""The ResNet-20 that examples of Keras train on CIFAR-10."""

from collections.abc import Sequence

import keras
from keras import Input, Model, layers, regularizers

from keras_mma.models.preact_resnet import channel_axis


def ResNet20(
    input_shape: tuple[int, ...] = (32, 32, 3),
    classes: int = 10,
    name: str = "resnet20",
    preprocessing: Sequence[keras.Layer] = (),
    l2: float = 1e-4,
) -> keras.Model:
    """ResNet-20 for small images, with the activation after the addition.

    Args:
        input_shape: (height, width, channels), in the data format of Keras.
        classes: Number of classes.
        name: Name of the model.
        preprocessing: Layers applied to the images first, such as a `keras.layers.Normalization`.
        l2: Factor of the L2 penalty on the kernels of the convolutions, part of the loss.

    Returns:
        A Functional model from images to logits (batch, classes), with the mixing points `stage1` (full resolution)
        to `stage3` (a quarter).

    Example:

    >>> network = keras_mma.models.ResNet20(input_shape=(16, 16, 3), classes=4)
    >>> [point.name for point in keras_mma.mixing_points(network)]
    ['stage1', 'stage2', 'stage3']

    References:
        - K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385,
          section 4.2; here, as in the examples of Keras, with projections where the resolution changes, and biases.
    """

    def conv(x, channels, kernel, strides, name):
        regularizer = regularizers.L2(l2) if l2 else None
        return layers.Conv2D(
            channels,
            kernel,
            strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=regularizer,
            name=name,
        )(x)

    def norm(name):
        return layers.BatchNormalization(channel_axis(), name=name)

    x = inputs = Input(input_shape, name="images")
    for layer in preprocessing:
        x = layer(x)
    x = norm("stem_bn")(conv(x, 16, 3, 1, "stem"))
    x = layers.ReLU(name="stem_relu")(x)
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in (1, 2, 3):
            prefix = f"stage{stage}_block{block}"
            strides = 2 if stage > 1 and block == 1 else 1
            y = norm(f"{prefix}_bn1")(conv(x, channels, 3, strides, f"{prefix}_conv1"))
            y = layers.ReLU(name=f"{prefix}_relu1")(y)
            y = norm(f"{prefix}_bn2")(conv(y, channels, 3, 1, f"{prefix}_conv2"))
            shortcut = x if strides == 1 else conv(x, channels, 1, strides, f"{prefix}_shortcut")
            x = layers.Add(name=f"{prefix}_add")([y, shortcut])
            x = layers.ReLU(name=f"stage{stage}" if block == 3 else f"{prefix}_relu2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, kernel_initializer="he_normal", dtype="float32", name="logits")(x)
    return Model(inputs, outputs, name=name)
