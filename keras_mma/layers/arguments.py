"""Checks of constructor arguments, shared by the layers."""

import numbers

import keras


def positive(name, value):
    """A float above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a positive, finite number. Received: {name}={value!r}")
    return float(value)


def fraction(name, value):
    """A float in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= value <= 1.0:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}")
    return float(value)


def one_of(name, value, choices):
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
    """`"channels_last"` or `"channels_first"`, Keras' own setting by default."""
    if value is None:
        return keras.config.image_data_format()
    return one_of("data_format", value, ("channels_last", "channels_first"))


def whole(name, value, least):
    """A whole number from some least one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{name}` must be a whole number from {least}. Received: {name}={value!r}")
    return int(value)


def size(name, value):
    """Two whole numbers from 1: rows and columns."""
    given = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(given) != 2:
        raise ValueError(f"`{name}` must be two whole numbers, rows and columns. Received: {name}={value!r}")
    return tuple(whole(name, part, 1) for part in given)


def maps_of(name, maps, shape):
    """Check that a callable gave maps (batch, height, width, 1) for a batch (batch, height, width, channels)."""
    expected = (*shape[:3], 1)
    received = tuple(maps.shape)
    fits = len(received) == 4 and all(
        None in pair or pair[0] == pair[1] for pair in zip(received, expected, strict=True)
    )
    if not fits:
        raise ValueError(f"`{name}` must give maps of shape {tuple(expected)}. Received: shape {received}")


def sites(value):
    """The sites of a host: different whole numbers from 0."""
    given = (value,) if isinstance(value, numbers.Integral) else value
    try:
        given = tuple(given)
    except TypeError:
        given = ()
    valid = all(isinstance(site, numbers.Integral) and not isinstance(site, bool) and site >= 0 for site in given)
    if not given or not valid or len(set(given)) != len(given):
        raise ValueError(
            "`sites` must be different whole numbers: 0 for the input, k for `FeatureMixAdapt(site=k)`. "
            f"Received: sites={value!r}"
        )
    return tuple(map(int, given))
