"""Detectors: the class, their names, and what all of them share."""

import functools
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mma import inference_mode
from keras_mma.backend import device_groups, is_compiled_for_cpu, xla_compiled
from keras_mma.resampling import resize
from keras_mma.saliency.attribution import ATTRIBUTIONS
from keras_mma.saliency.image_processing import to_levels

#: Pixels of a chunk. The intermediate maps of a detector take about 50 bytes per pixel.
CHUNK_PIXELS = 2**18

_DETECTORS: dict[str, "Detector"] = {}
_LARGEST = float(np.finfo("float32").max)


@keras.saving.register_keras_serializable("keras_mma")
class Detector:
    """Finds the salient parts of images.

    Args:
        function: A function from images (batch, height, width, channels) to maps (batch, height, width, 1), or a layer,
            which is called in inference mode.
        is_pure: Whether the function consists of tensor operations alone and returns maps that went through
            `sanitize_maps`. It is then compiled by XLA where that pays off.

    Call arguments:
        images: Tensor (batch, height, width, channels) of any dtype and range.
        size: Height and width in pixels at which the detector works, or `None` for those of the images. The map is
            resized back.
        data_format: `"channels_last"`, or `"channels_first"` for images (batch, channels, height, width).

    Returns:
        A float32 tensor (batch, height, width, 1), finite and non-negative.

    Raises:
        ValueError: If the function returns maps of another shape, or `size` is not a positive integer.

    Example:

    >>> red = keras_mma.saliency.Detector(lambda images: images[..., :1])
    >>> tuple(red(np.random.rand(2, 8, 8, 3)).shape)
    (2, 8, 8, 1)
    """

    def __init__(self, function: Callable, is_pure: bool = False) -> None:
        self.function, self.is_pure = function, is_pure
        if isinstance(function, keras.layers.Layer):
            function = functools.partial(inference_mode.call, function)
        else:
            functools.update_wrapper(self, function)
            del self.__dict__["__wrapped__"]  # its signature has no `size`
        self._detect = xla_compiled(downsampled(function)) if is_pure else _checked(downsampled(function))

    def __call__(self, images: Any, size: int | None = None, data_format: str = "channels_last") -> Any:
        images = images if data_format == "channels_last" else ops.transpose(images, (0, 2, 3, 1))
        return self._detect(images, size=size)

    def get_config(self):
        return {"function": keras.saving.serialize_keras_object(self.function), "is_pure": self.is_pure}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["function"]), config["is_pure"])


class Attribution:
    """Computes saliency from a network that is attached later. It is called in the same way as a `Detector`.

    Args:
        name: `"activation"` or `"gradient"`.
        network: A `NetworkView`, or `None` if there is none yet. It is held here, where Keras does not track its layers
            a second time as part of a mixer. It takes images of the `size` with which the attribution is called.
    """

    is_pure = False

    def __init__(self, name, network=None):
        self.name, self.network = name, network

    def __call__(self, images, size=None, data_format="channels_last"):
        if self.network is None:
            raise ValueError(
                f"`detector` {self.name!r} must have a network, from which it computes the saliency: use the mixer "
                f"inside a `MixModel`, which attaches its network, or a detector of images, one of {names()}. "
                "Received: no network"
            )
        height, width = ops.shape(images)[1:3] if data_format == "channels_last" else ops.shape(images)[2:4]
        own_format = self.network.data_format
        if data_format != own_format:
            images = ops.transpose(images, (0, 2, 3, 1) if own_format == "channels_last" else (0, 3, 1, 2))
        maps = ATTRIBUTIONS[self.name](self.network, reduced(images, size, own_format))
        return sanitize_maps(resize(maps, height, width, "bilinear"))


def names() -> list[str]:
    """The names of all detectors.

    Returns:
        A sorted list of strings.
    """
    return sorted(_DETECTORS)


def get(detector: str | Callable) -> Detector:
    """The detector of a name, or a callable as a detector.

    Args:
        detector: A registered name, a `Detector`, or a callable from images (batch, height, width, channels) to maps
            (batch, height, width, 1).

    Returns:
        A `Detector`.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(detector, Detector):
        return detector
    if callable(detector):
        return Detector(detector)
    if isinstance(detector, str) and detector in _DETECTORS:
        return _DETECTORS[detector]
    raise ValueError(f"`detector` must be one of {names()} or a callable. Received: detector={detector!r}")


def find(detector):
    """The detector or the attribution of an argument `detector`, or `None`."""
    if isinstance(detector, str) and detector in ATTRIBUTIONS:
        return Attribution(detector)
    return None if detector is None else get(detector)


def identifier(detector):
    """What a mixer keeps and stores of a detector: its name if it is registered, and otherwise the detector itself."""
    for name, registered in _DETECTORS.items():
        if detector is registered or detector is registered.function:
            return name
    # Keras tracks and saves the weights of a layer that the mixer itself holds.
    is_layer = isinstance(detector, Detector) and isinstance(detector.function, keras.layers.Layer)
    return detector.function if is_layer else detector


def register(name: str) -> Callable[[Callable], Callable]:
    """Register a detector under a name: `@keras_mma.saliency.register("mine")` above a function.

    A model that uses it is saved with the name; the function must be registered again before the model is loaded.

    Args:
        name: A string that is not taken and is not the name of an attribution.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        ValueError: If the name is taken, or the decorated object is not callable.
    """
    if not isinstance(name, str) or not name or name in ATTRIBUTIONS:
        raise ValueError(
            f"`name` must be a non-empty string other than {sorted(ATTRIBUTIONS)}. Received: name={name!r}"
        )

    def decorate(function):
        if not callable(function):
            raise ValueError(f"`detector` must be callable. Received: {function!r}")
        detector = get(function)
        if name in _DETECTORS and not _is_again(_DETECTORS[name], detector):
            raise ValueError(f"`name` must not be taken. Received: name={name!r}, which is already registered")
        _DETECTORS[name] = detector
        return function

    return decorate


def _is_again(before, now):
    """Whether two detectors are of one function, whose definition was perhaps run twice, as in a notebook."""
    places = [
        (getattr(each.function, "__module__", None), getattr(each.function, "__qualname__", "<"))
        for each in (before, now)
    ]
    is_same = places[0] == places[1] and "<" not in places[0][1]  # neither a lambda nor a nested function
    return before.function is now.function or (is_same and not before.is_pure)


def built_in(function):
    """Make a pure function a detector that is registered under the function's name."""
    return register(function.__name__)(Detector(function, is_pure=True))


def sanitize_maps(maps):
    """Float32 maps without NaN, infinities and negative values."""
    maps = ops.cast(maps, "float32")
    # The comparison is false for NaN.
    return ops.minimum(ops.where(maps > 0.0, maps, 0.0), _LARGEST)


def check_maps(name, maps, shape):
    """Raise a `ValueError` unless a callable returned maps (batch, height, width, 1) for a batch of `shape`."""
    expected, received = (*shape[:3], 1), tuple(maps.shape)
    fits = len(received) == 4 and all(
        None in pair or pair[0] == pair[1] for pair in zip(received, expected, strict=True)
    )
    if not fits:
        raise ValueError(f"`{name}` must return maps of shape {tuple(expected)}. Received: shape {received}")


def downsampled(function):
    """Add the argument `size` to a detector: the height and width at which it works; its map is resized back.

    The resized images have levels 0 to 255 whatever the range of the images, so that the range does not matter.
    """

    def detect(images, size=None):
        if size is None:
            return function(images)
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"`size` must be a positive integer or None. Received: size={size!r}")
        size = int(size)
        height, width = ops.shape(images)[1:3]
        small = ops.floor(resize(to_levels(images), size, size, "area") + 0.5)
        return resize(function(small), height, width, "bilinear")

    return detect


def reduced(images, size, data_format="channels_last"):
    """Images as a network takes them, at another height and width: each pixel is the mean of those that it replaces.

    Args:
        images: Tensor (batch, height, width, channels), or channels first. Integers are rounded.
        size: Height and width in pixels, or `None` for those of the images.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Images (batch, size, size, channels), or channels first, of the same dtype.
    """
    sides = images.shape[1:3] if data_format == "channels_last" else images.shape[2:4]
    if size is None or tuple(sides) == (size, size):
        return images
    dtype = keras.backend.standardize_dtype(images.dtype)
    small = ops.cast(images, "float32")
    small = small if data_format == "channels_last" else ops.transpose(small, (0, 2, 3, 1))
    small = resize(small, size, size, "area")
    small = small if data_format == "channels_last" else ops.transpose(small, (0, 3, 1, 2))
    return ops.cast(small if keras.backend.is_float_dtype(dtype) else ops.round(small), dtype)


def chunked(function):
    """Apply a detector to a few images at a time where it runs on a CPU, so that its maps fit into the cache.

    Over a whole batch of large images, intermediate maps travel to main memory and back many times. Accelerators have
    the bandwidth and process the batch at once.
    """

    @functools.wraps(function)
    def detect(images):
        size, height, width = ops.shape(images)[:3]
        if not is_compiled_for_cpu() or not isinstance(height, int) or not isinstance(width, int):
            return function(images)
        if device_groups(size) > 1:
            return function(images)  # slices of a sharded batch would travel between devices
        limit = max(1, CHUNK_PIXELS // (height * width))
        if isinstance(size, int) and size <= limit:
            return function(images)
        # Most batch sizes are multiples of a power of two.
        chunk = 1 << (limit.bit_length() - 1)
        if not isinstance(size, int):
            chunk = ops.minimum(chunk, size)

        def step(index, maps):
            # The last chunk overlaps the one before if the batch size is not a multiple.
            start = ops.minimum(index * chunk, size - chunk)
            part = ops.slice(images, (start, 0, 0, 0), (chunk, height, width, images.shape[3]))
            return ops.slice_update(maps, (start, 0, 0, 0), function(part))

        # A replica may get no sample of the last batch.
        count = -(-size // ops.maximum(chunk, 1))
        return ops.fori_loop(0, count, step, ops.zeros((size, height, width, 1), "float32"))

    return detect


def _checked(function):
    """A detector whose maps are checked and sanitized."""

    def detect(images, size=None):
        maps = function(images, size=size)
        check_maps("detector", maps, images.shape)
        return sanitize_maps(maps)

    return detect
