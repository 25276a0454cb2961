"""Batch normalization in training by one operation of TensorFlow, where Keras runs about ten.

On a CPU, each operation of TensorFlow writes a whole batch of feature maps to main memory.
"""

import keras

from keras_mma.models import graph


def fuse(network):
    """The network with its batch normalizations fused, for training on TensorFlow without XLA.

    Args:
        network: A Functional model.

    Returns:
        A model that computes the same, up to rounding, and shares its layers with the network. Layers that normalize
        otherwise than over the last axis of images are as before.
    """
    fused = {}

    def call(path, layer, args, kwargs):
        if type(layer) is keras.layers.BatchNormalization and _is_usual(layer, args, kwargs):
            return fused.setdefault(path, _FusedBatchNormalization(layer))(*args)
        return layer(*args, **kwargs)

    inputs, values = graph.fresh_inputs(network.input)
    return keras.Model(inputs, graph.rebuild_graph(network.output, values, call), name=network.name)


def _is_usual(layer, args, kwargs):
    has_options = layer.renorm or layer.synchronized or any(value is not None for value in kwargs.values())
    is_scaled = layer.scale and layer.center
    return is_scaled and not has_options and len(args) == 1 and len(args[0].shape) == 4 and layer.axis in (-1, 3)


class _FusedBatchNormalization(keras.layers.Layer):
    """Calls a `BatchNormalization` outside training, and normalizes and updates its statistics as it does in training.

    It is part of the model that is trained, and not of the network that is saved.
    """

    def __init__(self, layer):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def call(self, features, training=None):
        layer = self.layer
        if not (training and layer.trainable):
            return layer(features, training=training)
        import tensorflow as tf

        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=features,
            scale=layer.gamma.value,
            offset=layer.beta.value,
            mean=tf.zeros([0]),  # these two are for inference
            variance=tf.zeros([0]),
            epsilon=layer.epsilon,
        )
        pixels = keras.ops.cast(tf.size(features) // features.shape[-1], "float32")
        # TensorFlow divides the sum of the squares by pixels - 1.
        for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance * (pixels - 1.0) / pixels)):
            average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
        return normalized

    def compute_output_spec(self, features, training=None):
        return keras.KerasTensor(features.shape, self.compute_dtype)
