"""The base of hosts that look at the images before they mix them."""

import keras
from keras import ops

from keras_mma import saliency
from keras_mma.layers import arguments, partners
from keras_mma.layers.mixer import Mixer
from keras_mma.resampling import resize
from keras_mma.saliency.attribution import ATTRIBUTIONS
from keras_mma.saliency.detector import finite, is_built_in
from keras_mma.saliency.thumbnail import on_thumbnail


class SaliencyMixer(Mixer):
    """Base of the hosts that draw their masks from saliency.

    Args:
        detector: A name in the registry of `keras_mma.saliency`, a callable from images
            (batch, height, width, channels) to maps (batch, height, width, 1), or an attribution of the network being
            trained: `"activation"` or `"gradient"`. The network is bound by `MixModel`.
        detector_size: Height and width of the thumbnail on which a detector works, or `None` for the images' own.
        attribution_layer: Name of the layer whose activation is the saliency; by default the last that gives maps.
        **kwargs: Arguments of `Mixer`.
    """

    PARTNERS = (*Mixer.PARTNERS, "distance")

    def __init__(self, detector="fine_grained", detector_size=None, attribution_layer=None, **kwargs):
        super().__init__(**kwargs)
        self.detector = detector
        self.is_attributed = isinstance(detector, str) and detector in ATTRIBUTIONS
        if self.is_attributed:
            self._detect = None
        else:
            detect = saliency.get(detector)
            self._detect = detect if is_built_in(detect) else on_thumbnail(detect)
        if detector_size is not None:
            detector_size = arguments.whole("detector_size", detector_size, 1)
        self.detector_size = detector_size
        if attribution_layer is not None and detector != "activation":
            raise ValueError(
                "`attribution_layer` needs `detector='activation'`. "
                f"Received: attribution_layer={attribution_layer!r}, detector={detector!r}"
            )
        self.attribution_layer = attribution_layer

    def bind(self, network):
        """Give the host the network that it asks for its attribution; `MixModel` does.

        Args:
            network: What `keras_mma.saliency.attribution` calls a view of a network.
        """
        attribute = ATTRIBUTIONS[self.detector]
        # A closure, so that Keras does not track the network's layers a second time, as part of this one.
        self._detect = lambda images: attribute(network, images)

    def copy(self, **changes):
        # The callable itself: it need not be registered to be copied.
        copy = super().copy(**{"detector": self.detector, **changes})
        if copy.detector is self.detector:
            copy._detect = self._detect  # the network that it is bound to, if it is
        return copy

    def saliency(self, images):
        """Saliency maps of a batch, finite, not negative and without gradient.

        Args:
            images: Images in the layer's data format.

        Returns:
            A float32 tensor (batch, height, width, 1).

        Raises:
            ValueError: if the attribution of a network is asked for and no `MixModel` has bound one, or a detector
                gives maps of another shape.
        """
        if self._detect is None:
            raise ValueError(
                f"`detector` {self.detector!r} is an attribution of a network: use the host inside a `MixModel`, which "
                f"binds its network, or a detector of images, one of {saliency.names()}. Received: no network"
            )
        if self.is_attributed:
            _, height, width = self.image_size(images)
            maps = resize(self._detect(images), height, width, "bilinear")
        else:
            images = self.to_channels_last(images)
            maps = self._detect(images, size=self.detector_size)
            arguments.maps_of("detector", maps, images.shape)
        return ops.stop_gradient(maps if is_built_in(self._detect) else finite(maps))

    def look(self, images):
        return self.saliency(images)

    def draw_partner(self, size, maps):
        if self.partner != "distance":
            return super().draw_partner(size, maps)
        return partners.farthest(maps, self.seed_generator)

    def get_config(self):
        return {
            **super().get_config(),
            "detector": keras.saving.serialize_keras_object(self.detector),
            "detector_size": self.detector_size,
            "attribution_layer": self.attribution_layer,
        }

    @classmethod
    def from_config(cls, config):
        detector = keras.saving.deserialize_keras_object(config["detector"])
        return cls(**{**config, "detector": detector})


def covered_share(maps, mask, norm=1):
    """Share ||S M|| / ||S|| of the saliency of each map that a mask covers; of the area where S is 0 everywhere.

    Args:
        maps: Float32 tensor (batch, height, width, 1), not negative.
        mask: Float32 tensor of the same shape in [0, 1].
        norm: 1 or 2.

    Returns:
        A float32 tensor (batch,).
    """
    # Scaled to a maximum of 1, so that squares neither vanish nor overflow.
    highest = ops.max(maps, axis=(1, 2, 3), keepdims=True)
    maps = ops.where(highest > 0.0, maps / ops.where(highest > 0.0, highest, 1.0), 1.0)
    return _norm(maps * mask, norm) / _norm(maps, norm)


def calibrated_weight(own, donor, mask, norm=1):
    """Own share of a label by the saliency that is kept and the saliency that is given.

        weight = I(S_own, mask) / (I(S_own, mask) + I(S_donor, 1 - mask)),    I(S, M) = ||S M|| / ||S||

    Args:
        own, donor: Saliency of the row's own image and of what is mixed in, (batch, height, width, 1).
        mask: Share of its own image that each location keeps, of the same shape.
        norm: 1 or 2.

    Returns:
        A float32 tensor (batch,): 1 where nothing is given, the mask's mean where nothing salient is kept or given.
    """
    kept, given = covered_share(own, mask, norm), covered_share(donor, 1.0 - mask, norm)
    total = kept + given
    return ops.where(total > 0.0, kept / ops.where(total > 0.0, total, 1.0), ops.mean(mask, axis=(1, 2, 3)))


def _norm(maps, norm):
    if norm == 1:
        return ops.sum(maps, axis=(1, 2, 3))
    return ops.sqrt(ops.sum(ops.square(maps), axis=(1, 2, 3)))
