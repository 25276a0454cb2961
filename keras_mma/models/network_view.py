"""A network as the attributions see it."""

import keras
from keras import ops

from keras_mma.backend import aside


class NetworkView:
    """Images to predictions and to features of a network, in inference mode.

    It shares the network's layers and owns nothing: keep it out of Keras' tracking.

    Args:
        inputs: Symbolic input.
        predictions: Symbolic predictions.
        tensors: Symbolic outputs of the network's layers by their name, in the order of the network.
        data_format: Of the images and the feature maps.
    """

    def __init__(self, inputs, predictions, tensors, data_format):
        self.inputs = inputs
        self.tensors = tensors
        self.data_format = data_format
        self._predict = keras.Model(inputs, predictions)
        self._features = None

    def select(self, layer=None):
        """Choose the layer of `features`.

        Args:
            layer: Its name; by default the last that gives maps (batch, height, width, channels) of more than a pixel.

        Raises:
            ValueError: if there is no such layer, or it gives no maps.
        """
        maps = [name for name, tensor in self.tensors.items() if self._is_map(tensor)]
        if not maps or layer not in (None, *maps):
            raise ValueError(
                "`attribution_layer` must name a layer that gives maps (batch, height, width, channels), "
                f"one of {maps}. Received: attribution_layer={layer!r}"
            )
        self._features = keras.Model(self.inputs, self.tensors[maps[-1] if layer is None else layer])

    def _is_map(self, tensor):
        shape = getattr(tensor, "shape", ())
        return len(shape) == 4 and (shape[1:3] if self.data_format == "channels_last" else shape[2:]) != (1, 1)

    def predictions(self, images):
        with aside():
            return self._predict(images, training=False)

    def features(self, images):
        with aside():
            return self._features(images, training=False)

    def to_channels_last(self, maps):
        return maps if self.data_format == "channels_last" else ops.transpose(maps, (0, 2, 3, 1))
