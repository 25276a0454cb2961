"""Attributions: saliency in the eyes of the network that is trained, in inference mode and without gradient.

Nothing of the network changes: batch normalisation uses its moving statistics and does not move them, dropout is off.
"""

import keras
from keras import ops

from keras_mma.backend import input_gradient

# Gradients of half-precision networks would vanish below float16's smallest number; the map has no scale of its own.
_SCORE_SCALE = 1024.0


def activation(network, images):
    """Channel energy of a feature map.

        S = mean_c F^2

    Args:
        network: A view of the network: `features(images)` are F, `to_channels_last(x)` knows its data format.
        images: The images, as the network takes them.

    Returns:
        A float32 tensor (batch, height of F, width of F, 1).
    """
    features = network.to_channels_last(ops.cast(network.features(images), "float32"))
    return ops.stop_gradient(ops.mean(ops.square(features), axis=-1, keepdims=True))


def gradient(network, images):
    """Magnitude of the gradient of the winning score with respect to each pixel.

        S = || d max_k f_k(x) / dx ||_2 over the channels

    Args:
        network: A view of the network: `predictions(images)` are f, `to_channels_last(x)` knows its data format.
        images: The images, as the network takes them.

    Returns:
        A float32 tensor (batch, height, width, 1).

    References:
        - K. Simonyan, A. Vedaldi, A. Zisserman, Deep inside convolutional networks, ICLR workshop 2014,
          arXiv:1312.6034, section 3.
    """

    def score(x):
        heads = keras.tree.flatten(network.predictions(x))
        # In inference mode rows do not see each other: the gradient of the sum is each row's own.
        return _SCORE_SCALE * sum(ops.sum(ops.max(ops.cast(head, "float32"), axis=-1)) for head in heads)

    gradients = network.to_channels_last(input_gradient(score, ops.cast(images, "float32"))) / _SCORE_SCALE
    return ops.stop_gradient(ops.sqrt(ops.sum(ops.square(gradients), axis=-1, keepdims=True)))


ATTRIBUTIONS = {"activation": activation, "gradient": gradient}
