"""Detectors by name."""

from keras_mma.saliency.fine_grained import fine_grained
from keras_mma.saliency.spectral_residual import spectral_residual

DETECTORS = {"fine_grained": fine_grained, "spectral_residual": spectral_residual}


def get(detector):
    """The detector of a name, or the callable itself.

    Args:
        detector: A key of `DETECTORS`, or a callable that takes images (batch, height, width, channels) and
            returns maps (batch, height, width, 1).

    Returns:
        The callable.

    Raises:
        ValueError: if it is neither.
    """
    if callable(detector):
        return detector
    if isinstance(detector, str) and detector in DETECTORS:
        return DETECTORS[detector]
    raise ValueError(f"`detector` must be one of {sorted(DETECTORS)} or a callable. Received: detector={detector!r}")
