"""Detectors by name."""

from keras_mma.saliency.attribution import ATTRIBUTIONS
from keras_mma.saliency.fine_grained import fine_grained
from keras_mma.saliency.frequency_tuned import frequency_tuned
from keras_mma.saliency.spectral_residual import spectral_residual

_DETECTORS = {
    "fine_grained": fine_grained,
    "spectral_residual": spectral_residual,
    "frequency_tuned": frequency_tuned,
}


def names():
    """The names of all detectors."""
    return sorted(_DETECTORS)


def get(detector):
    """The detector of a name, or the callable itself.

    Args:
        detector: A registered name, or a callable that takes images (batch, height, width, channels) and
            returns maps (batch, height, width, 1).

    Returns:
        The callable.

    Raises:
        ValueError: if it is neither.
    """
    if callable(detector):
        return detector
    if isinstance(detector, str) and detector in _DETECTORS:
        return _DETECTORS[detector]
    raise ValueError(f"`detector` must be one of {names()} or a callable. Received: detector={detector!r}")


def register(name):
    """Make a detector known by a name: `@keras_mma.saliency.register("mine")` above a function.

    A model that names it is saved with the name; the function must be registered again before it is loaded.

    Args:
        name: The name, not one that is taken or that means an attribution of the network.

    Returns:
        A decorator, which gives the function back as it is.

    Raises:
        ValueError: if the name is taken, or what is decorated cannot be called.
    """
    if not isinstance(name, str) or not name or name in ATTRIBUTIONS:
        raise ValueError(f"`name` must be a string that means no attribution. Received: name={name!r}")

    def decorate(detector):
        if not callable(detector):
            raise ValueError(f"`detector` must be callable. Received: {detector!r}")
        if _DETECTORS.get(name, detector) is not detector:
            raise ValueError(f"`name` must be free: a detector named {name!r} is registered already")
        _DETECTORS[name] = detector
        return detector

    return decorate
