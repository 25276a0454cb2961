"""Batch normalization in training by a single operation of TensorFlow, where Keras runs about ten.

On a CPU, each operation of TensorFlow writes a whole batch of feature maps to main memory.
"""

import keras


def fuse(network):
    """Let the batch normalizations of a network train by a single operation of TensorFlow.

    The layers compute the same as before, up to rounding. Their classes, weights and configs, and so the files that are
    saved, do not change. Layers of nested models, and batch normalizations with unusual arguments, are left unchanged.

    Args:
        network: A model. Its layers are changed in place.
    """
    for layer in network.layers:
        if type(layer) is keras.layers.BatchNormalization and _is_usual(layer):
            layer.call = _fused_call(layer, layer.call)


def _is_usual(layer):
    # Keras 3.12 has no `renorm`.
    has_options = getattr(layer, "renorm", False) or layer.synchronized
    return layer.scale and layer.center and layer.axis in (-1, 3) and not has_options


def _fused_call(layer, original):
    """The `call` of a layer: fused for batches of feature maps in training, and the original one otherwise."""
    import tensorflow as tf

    def call(inputs, training=None, mask=None):
        is_trained = training and layer.trainable and mask is None
        if not is_trained or len(inputs.shape) != 4 or inputs.dtype == tf.float64:
            return original(inputs, training=training, mask=mask)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=layer.gamma.value,
            offset=layer.beta.value,
            mean=tf.zeros([0]),  # these two are for inference
            variance=tf.zeros([0]),
            epsilon=layer.epsilon,
        )
        pixels = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
        # TensorFlow divides the sum of the squares by pixels - 1.
        for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance * (pixels - 1.0) / pixels)):
            average.assign(average * layer.momentum + value * (1.0 - layer.momentum))
        return normalized

    return call
