"""Spatial attention of feature maps: (batch, height, width, channels) to (batch, height, width, 1)."""

from keras import ops


def activation(features):
    """Mean magnitude of the channels."""
    return ops.mean(ops.abs(features), axis=-1, keepdims=True)


def cbam(features):
    """CBAM's spatial gate with a uniform kernel: sigmoid of the 7 x 7 mean of the channels' mean and maximum."""
    pooled = ops.mean(features, axis=-1, keepdims=True) + ops.max(features, axis=-1, keepdims=True)
    smoothed = ops.average_pool(pooled, 7, strides=1, padding="same", data_format="channels_last")
    return ops.sigmoid(smoothed)


ATTENTIONS = {"activation": activation, "cbam": cbam}


def normalize(attention):
    """Scale each map to a mean of 1; a map of zeros becomes 1 everywhere."""
    mean = ops.mean(attention, axis=(1, 2, 3), keepdims=True)
    return ops.where(mean > 0.0, attention / ops.where(mean > 0.0, mean, 1.0), 1.0)
