"""The part of a mixer that finds saliency."""

from keras import ops

from keras_mma import saliency
from keras_mma.layers import arguments
from keras_mma.resampling import resize
from keras_mma.saliency.attribution import ATTRIBUTIONS
from keras_mma.saliency.detector import identifier, sanitize_maps


class SaliencyDetection:
    """A mixin of `Mixer`: its detector, or the attribution of a network."""

    #: Whether `sample_mask` uses saliency maps.
    uses_saliency = False

    def _set_detector(self, detector, size, layer):
        is_needed = self.uses_saliency or self.partner == "distance" or self.label == "saliency"
        if is_needed != (detector is not None):
            rule = "is required" if is_needed else "has no effect without `partner='distance'` or `label='saliency'`"
            raise ValueError(
                f"`detector` {rule} in {type(self).__name__}. Received: detector={detector!r}, "
                f"partner={self.partner!r}, label={self.label!r}"
            )
        self.detector = identifier(detector)
        self.uses_attribution = isinstance(detector, str) and detector in ATTRIBUTIONS
        self.detector_size = None if size is None else arguments.integer("detector_size", size, 1)
        if layer is not None and detector != "activation":
            raise ValueError(
                "`attribution_layer` requires `detector='activation'`. "
                f"Received: attribution_layer={layer!r}, detector={detector!r}"
            )
        self.attribution_layer = layer
        self._detect = None if detector is None or self.uses_attribution else saliency.get(detector)

    def saliency_maps(self, images):
        """Saliency maps of a batch, finite, non-negative and without gradient.

        Args:
            images: Images in the layer's data format.

        Returns:
            A float32 tensor (batch, height, width, 1), or `None` without a detector.

        Raises:
            ValueError: If an attribution is requested but no `MixModel` has attached its network, or a detector returns
                maps of another shape.
        """
        if self.detector is None:
            return None
        if self._detect is None:
            raise ValueError(
                f"`detector` {self.detector!r} is an attribution of a network: use the mixer inside a `MixModel`, "
                f"which attaches its network, or a detector of images, one of {saliency.names()}. Received: no network"
            )
        if self.uses_attribution:
            maps = sanitize_maps(resize(self._detect(images), *self.image_size(ops.shape(images)), "bilinear"))
        else:
            channels_last = self.data_format == "channels_last"
            images = images if channels_last else ops.transpose(images, (0, 2, 3, 1))
            maps = self._detect(images, size=self.detector_size)
        return ops.stop_gradient(maps)

    def attributing_mixers(self):
        """The mixers in this one whose detector is an attribution of the network."""
        return [self] if self.uses_attribution else []

    def attach_network(self, network):
        """Give the mixer the network of its attribution. `MixModel` calls this.

        Args:
            network: A `NetworkView`.
        """
        attribute = ATTRIBUTIONS[self.detector]
        # A closure, so that Keras does not track the layers of the network a second time, as part of this layer.
        self._detect = lambda images: attribute(network, images)
