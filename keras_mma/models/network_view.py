"""The part of a network that attributions use."""

import keras
from keras import ops

from keras_mma.backend import stateless_call


class NetworkView:
    """Computes predictions and features of a network in inference mode.

    It shares the layers of the network and must not be tracked by Keras as part of another layer.

    Args:
        inputs: Symbolic images, which may be those inside a network.
        predictions: Symbolic predictions.
        tensors: For each layer by name, in the order of the network, its symbolic outputs and whether they depend on
            weights.
        data_format: Data format of the images and the feature maps.
    """

    def __init__(self, inputs, predictions, tensors, data_format):
        self.inputs = inputs
        self.tensors = tensors
        self.data_format = data_format
        self._predict = keras.Model(inputs, predictions)
        self._features = None

    def select(self, layer=None):
        """Select the layer of `features`.

        Args:
            layer: Its name; by default the last layer that returns feature maps of more than one pixel. Layers in front
                of the first weights, such as `Rescaling`, return images and are no default.

        Raises:
            ValueError: If there is no such layer, or it does not return feature maps.
        """
        maps = [name for name, (tensor, _) in self.tensors.items() if self._is_map(tensor)]
        learned = [name for name in maps if self.tensors[name][1]]
        if layer not in maps and (layer is not None or not learned):
            raise ValueError(
                "`attribution_layer` must name a layer that returns feature maps (batch, height, width, channels), "
                f"one of {maps}; by default, it is the last of those that depend on weights, {learned}. Layers inside "
                "a nested model can be named if features are mixed inside it (`at`). "
                f"Received: attribution_layer={layer!r}"
            )
        self._features = keras.Model(self.inputs, self.tensors[learned[-1] if layer is None else layer][0])

    def _is_map(self, tensor):
        shape = getattr(tensor, "shape", ())
        return len(shape) == 4 and (shape[1:3] if self.data_format == "channels_last" else shape[2:]) != (1, 1)

    def predictions(self, images):
        with stateless_call():
            return self._predict(images, training=False)

    def features(self, images):
        with stateless_call():
            return self._features(images, training=False)

    def to_channels_last(self, maps):
        return maps if self.data_format == "channels_last" else ops.transpose(maps, (0, 2, 3, 1))
