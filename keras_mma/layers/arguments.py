"""Arguments of the layers: their checks, and those that can be changed during training."""

import numbers
import warnings

import keras

from keras_mma.saliency.detectors import Detector
from keras_mma.sampling import AdjustableNumber


class Adjustable:
    """An argument of a layer that can be assigned at any time; a descriptor.

    The layer holds an `AdjustableNumber` under the name of the argument with an underscore before it.

    Args:
        check: A function of the name and the value of the argument that returns a float or raises a `ValueError`.
    """

    def __init__(self, check):
        self._check = check

    def __set_name__(self, owner, name):
        self._name, self._key = name, f"_{name}"

    def __get__(self, layer, owner=None):
        return self if layer is None else getattr(layer, self._key).number

    def __set__(self, layer, value):
        number = self._check(self._name, value)
        if not hasattr(layer, self._key):
            setattr(layer, self._key, AdjustableNumber(number, self._name))
            return
        if getattr(layer, "copied_into", None):
            warnings.warn(
                f"`{self._name}` of {layer.name!r} does not change {layer.copied_into}. "
                f"Received: {self._name}={value!r}",
                stacklevel=2,
            )
        if getattr(layer, "is_carried", False):
            warnings.warn(
                f"`{self._name}` of {layer.name!r} does not change the state that a loop with `stateless_call` already "
                "carries: assign that state to the variables of the model, then the number, and read the variables "
                f"again. Received: {self._name}={value!r}",
                stacklevel=2,
            )
        getattr(layer, self._key).change(number)


def positive(name, value):
    """A positive, finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a positive, finite number. Received: {name}={value!r}")
    return float(value)


def non_negative(name, value):
    """A non-negative, finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= value < float("inf"):
        raise ValueError(f"`{name}` must be a non-negative, finite number. Received: {name}={value!r}")
    return float(value)


def fraction(name, value):
    """A float in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= value <= 1.0:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}")
    return float(value)


def choice(name, value, choices):
    """One of several values."""
    if value not in list(choices):
        raise ValueError(f"`{name}` must be one of {list(choices)}. Received: {name}={value!r}")
    return value


def boolean(name, value):
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value


def data_format(value):
    """`"channels_last"` or `"channels_first"`; Keras' own setting by default."""
    if value is None:
        return keras.config.image_data_format()
    return choice("data_format", value, ("channels_last", "channels_first"))


def integer(name, value, minimum):
    """An integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}")
    return int(value)


def any_integer(name, value):
    """An integer of 32 bits."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not -(2**31) <= value < 2**31:
        raise ValueError(f"`{name}` must be an integer of at most 32 bits. Received: {name}={value!r}")
    return int(value)


def size(name, value):
    """Two positive integers: rows and columns."""
    sides = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(sides) != 2:
        raise ValueError(f"`{name}` must be two positive integers, rows and columns. Received: {name}={value!r}")
    return tuple(integer(name, side, 1) for side in sides)


def interval(name, value, largest=float("inf")):
    """Two positive, finite floats in order, the second at most `largest`."""
    ends = tuple(value) if isinstance(value, (tuple, list)) else ()
    is_valid = len(ends) == 2 and all(isinstance(end, numbers.Real) and not isinstance(end, bool) for end in ends)
    if not is_valid or not 0.0 < ends[0] <= ends[1] <= largest or ends[1] == float("inf"):
        limit = "" if largest == float("inf") else f" of at most {largest}"
        raise ValueError(f"`{name}` must be two positive numbers{limit}, in order. Received: {name}={value!r}")
    return tuple(map(float, ends))


def sites(value):
    """The sites of a mixer: distinct non-negative integers."""
    values = (value,) if isinstance(value, numbers.Integral) else value
    try:
        values = () if isinstance(values, dict) else tuple(values)
    except TypeError:
        values = ()
    is_valid = all(isinstance(site, numbers.Integral) and not isinstance(site, bool) and site >= 0 for site in values)
    if not values or not is_valid or len(set(values)) != len(values):
        raise ValueError(
            "`sites` must be distinct non-negative integers: 0 for the input, k for `FeatureMixAdapt(site=k)`. "
            f"Received: sites={value!r}"
        )
    return tuple(map(int, values))


def site_weights(value, sites):
    """A positive weight for each site, or `None`."""
    if value is None:
        return None
    weights = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(weights) != len(sites):
        raise ValueError(
            f"`site_weights` must be a number for each of the sites {sites}. Received: site_weights={value!r}"
        )
    return tuple(positive("site_weights", weight) for weight in weights)


def check_frozen(name, value, why):
    """Raise a `ValueError` if a value is a layer that is not built or would be trained.

    Args:
        name: Name of the argument.
        value: A layer or anything else.
        why: Why it must not be trained.
    """
    if isinstance(value, keras.layers.Layer) and (not value.built or value.trainable_weights):
        raise ValueError(
            f"`{name}` must be built and have `trainable=False` if it is a layer, because {why}. "
            f"Received: {value.name!r} with built={value.built}, trainable={value.trainable}"
        )


def check_mixer(mixer, detector, attribution_layer):
    """Raise a `ValueError` for arguments of a mixer that do not go together.

    Args:
        mixer: A `Mixer` with its sites, partner and label.
        detector, attribution_layer: Its other arguments.
    """
    name = type(mixer).__name__
    detecting = detector.function if isinstance(detector, Detector) else detector
    check_frozen("detector", detecting, "the position of a mask carries no gradient")
    if mixer.is_input_only and mixer.sites != (0,):
        raise ValueError(
            f"`sites` must be (0,) for {name}, which changes the partner's image and can mix at the input only. "
            f"Received: sites={mixer.sites}"
        )
    is_needed = mixer.uses_saliency or mixer.partner == "distance" or mixer.label == "saliency"
    if is_needed != (detector is not None):
        rule = "is required" if is_needed else "has no effect without `partner='distance'` or `label='saliency'`"
        raise ValueError(
            f"`detector` {rule} in {name}. Received: detector={detector!r}, partner={mixer.partner!r}, "
            f"label={mixer.label!r}"
        )
    if mixer.detector_size is not None and detector is None:
        raise ValueError(
            f"`detector_size` requires a `detector` in {name}. Received: detector_size={mixer.detector_size}"
        )
    if attribution_layer is not None and detector != "activation":
        raise ValueError(
            "`attribution_layer` requires `detector='activation'`. "
            f"Received: attribution_layer={attribution_layer!r}, detector={detector!r}"
        )
