"""The networks of the papers for 32 x 32 images, with named mixing points.

The last layer of every stage is named `stage1`, `stage2`, ..., as `mixify(model, mixer, at=[...])` takes it.
"""

from collections.abc import Sequence

import keras
from keras import Input, Model, layers


def PreActResNet18(
    input_shape: tuple[int, ...] = (32, 32, 3),
    classes: int = 10,
    name: str | None = "preact_resnet18",
    preprocessing: Sequence[keras.Layer] = (),
    final_activation: bool = False,
) -> keras.Model:
    """Pre-activation ResNet-18 for small images.

    Args:
        input_shape: (height, width, channels), in the data format of Keras.
        classes: Number of classes.
        name: Name of the model.
        preprocessing: Layers applied to the images first, such as a `keras.layers.Normalization`.
        final_activation: Whether to normalize and activate the features before they are pooled, as He et al. do. The
            networks of the mixing papers (Manifold Mixup, PuzzleMix, GuidedMixup) do not, and neither does the default.

    Returns:
        A Functional model from images to logits (batch, classes), with the mixing points `stage1` (full resolution)
        to `stage4` (an eighth).

    Example:

    >>> network = keras_mma.models.PreActResNet18(input_shape=(16, 16, 3), classes=4)
    >>> [point.name for point in keras_mma.mixing_points(network)]
    ['stage1', 'stage2', 'stage3', 'stage4']

    References:
        - K. He, X. Zhang, S. Ren, J. Sun, Identity mappings in deep residual networks, ECCV 2016, arXiv:1603.05027.
    """
    return _resnet(input_shape, classes, 64, (64, 128, 256, 512), 2, 0.0, name, preprocessing, final_activation)


def WideResNet(
    depth: int,
    width: int,
    input_shape: tuple[int, ...] = (32, 32, 3),
    classes: int = 10,
    dropout: float = 0.0,
    name: str | None = None,
    preprocessing: Sequence[keras.Layer] = (),
) -> keras.Model:
    """Wide ResNet for small images.

    Args:
        depth: Number of convolutions, 6 n + 4: 10, 16, 22, 28, 40.
        width: Factor of the number of channels, a positive integer.
        input_shape: (height, width, channels), in the data format of Keras.
        classes: Number of classes.
        dropout: Rate of the dropout between the two convolutions of a block, in [0, 1).
        name: Name of the model.
        preprocessing: Layers applied to the images first, such as a `keras.layers.Normalization`.

    Returns:
        A Functional model from images to logits (batch, classes), with the mixing points `stage1` (full resolution)
        to `stage3` (a quarter).

    Raises:
        ValueError: If `depth` or `width` has another value.

    Example:

    >>> network = keras_mma.models.WideResNet(depth=10, width=1, input_shape=(16, 16, 3), classes=4)
    >>> [point.name for point in keras_mma.mixing_points(network)]
    ['stage1', 'stage2', 'stage3']

    References:
        - S. Zagoruyko, N. Komodakis, Wide residual networks, BMVC 2016, arXiv:1605.07146.
    """
    if not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
        raise ValueError(f"`depth` must be 6 n + 4: 10, 16, 22, 28, ... Received: depth={depth!r}")
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a positive integer. Received: width={width!r}")
    channels = (16 * width, 32 * width, 64 * width)
    name = name or f"wide_resnet{depth}_{width}"
    return _resnet(input_shape, classes, 16, channels, (depth - 4) // 6, dropout, name, preprocessing, True)


def _resnet(
    input_shape, classes, stem_channels, stage_channels, blocks, dropout, name, preprocessing, final_activation
):
    x = inputs = Input(input_shape, name="images")
    for layer in preprocessing:
        x = layer(x)
    x = _conv(x, stem_channels, 3, name="stem")
    for stage, channels in enumerate(stage_channels, 1):
        for block in range(1, blocks + 1):
            strides = 2 if block == 1 and stage > 1 else 1
            prefix = f"stage{stage}_block{block}"
            block_name = f"stage{stage}" if block == blocks else f"{prefix}_add"
            x = _block(x, channels, strides, dropout, prefix, block_name)
    if final_activation:
        x = _norm_relu(x, "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, dtype="float32", name="logits")(x)
    return Model(inputs, outputs, name=name)


def _block(x, channels, strides, dropout, prefix, name):
    y = _norm_relu(x, f"{prefix}_1")
    # The projection takes the activated features, as in the papers.
    is_same = strides == 1 and x.shape[channel_axis()] == channels
    shortcut = x if is_same else _conv(y, channels, 1, strides, f"{prefix}_shortcut")
    y = _norm_relu(_conv(y, channels, 3, strides, f"{prefix}_conv1"), f"{prefix}_2")
    if dropout:
        y = layers.Dropout(dropout, name=f"{prefix}_dropout")(y)
    return layers.Add(name=name)([_conv(y, channels, 3, name=f"{prefix}_conv2"), shortcut])


def channel_axis():
    """The axis of the channels of features, by the data format of Keras, in which convolutions work."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def _conv(x, channels, kernel, strides=1, name=None):
    return layers.Conv2D(
        channels, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def _norm_relu(x, prefix):
    x = layers.BatchNormalization(channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{prefix}_bn")(x)
    return layers.ReLU(name=f"{prefix}_relu")(x)
