"""Attributions: saliency computed from the network being trained, in inference mode and without gradient.

The network is not changed: batch normalization uses its moving statistics without updating them, and dropout is off.
"""

import keras
from keras import ops

from keras_mma.differentiation import vjp

# Gradients of float16 networks would underflow. The scale cancels out.
_SCORE_SCALE = 1024.0


def activation(network, images):
    """Channel energy of a feature map.

        S = mean_c F^2

    Args:
        network: A `NetworkView`: `features(images)` returns F, `to_channels_last(x)` knows its data format.
        images: The images, as the network takes them.

    Returns:
        A float32 tensor (batch, height of F, width of F, 1).
    """
    features = network.to_channels_last(ops.cast(network.features(images), "float32"))
    return ops.stop_gradient(ops.mean(ops.square(features), axis=-1, keepdims=True))


def gradient(network, images):
    """Magnitude of the gradient of the highest score with respect to each pixel.

        S = || d max_k f_k(x) / dx ||_2 over the channels

    Args:
        network: A `NetworkView`: `predictions(images)` returns f, `to_channels_last(x)` knows its data format.
        images: The images, as the network takes them.

    Returns:
        A float32 tensor (batch, height, width, 1).

    References:
        - K. Simonyan, A. Vedaldi, A. Zisserman, Deep inside convolutional networks, ICLR workshop 2014,
          arXiv:1312.6034, section 3.
    """

    def score(x):
        heads = keras.tree.flatten(network.predictions(x))
        # In inference mode samples are independent: the gradient of the sum holds the gradient of each sample.
        return _SCORE_SCALE * sum(ops.sum(ops.max(ops.cast(head, "float32"), axis=-1)) for head in heads)

    total, pull_back = vjp(score, ops.cast(images, "float32"))
    gradients = network.to_channels_last(pull_back(ops.ones_like(total))) / _SCORE_SCALE
    return ops.stop_gradient(ops.sqrt(ops.sum(ops.square(gradients), axis=-1, keepdims=True)))


ATTRIBUTIONS = {"activation": activation, "gradient": gradient}
