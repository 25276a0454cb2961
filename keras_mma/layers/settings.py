"""Numbers of a layer that can be changed during training, without compiling the step again."""

import warnings

import keras

_IS_EAGER = keras.backend.backend() == "torch"


class Setting(object if _IS_EAGER else keras.random.SeedGenerator):
    """A number that compiled training steps read when they run.

    Keras passes the states of seed generators through compiled steps, but neither counts nor saves them as weights,
    which is what a setting needs: it is part of the config. PyTorch compiles nothing; the number itself is enough.

    Args:
        number: Float.
        name: Name of the variable.
    """

    def __init__(self, number, name):
        self.name = name
        self.number = number
        if not _IS_EAGER:
            with keras.name_scope(name):
                self.state = keras.Variable(
                    number, dtype="float32", trainable=False, autocast=False, aggregation="none", name=name
                )

    def change(self, number):
        """Set the number, also for steps that are already compiled."""
        self.number = number
        if not _IS_EAGER:
            self.state.assign(number)

    def read(self):
        """The number as a step uses it: a float32 scalar tensor, or a float on PyTorch."""
        return self.number if _IS_EAGER else self.state.value


class Adjustable:
    """An argument of a layer that can be assigned at any time; a descriptor.

    Args:
        check: A function of the name and the value of the argument that returns a float or raises a `ValueError`.
    """

    def __init__(self, check):
        self._check = check

    def __set_name__(self, owner, name):
        self._name, self._key = name, _key(name)

    def __get__(self, layer, owner=None):
        return self if layer is None else getattr(layer, self._key).number

    def __set__(self, layer, value):
        number = self._check(self._name, value)
        if not hasattr(layer, self._key):
            setattr(layer, self._key, Setting(number, self._name))
            return
        if getattr(layer, "is_copied", False):
            warnings.warn(
                f"`{self._name}` of {layer.name!r} does not change the model that `mixify` built from a copy of it: "
                "set it on the `mixer` of that model.",
                stacklevel=2,
            )
        getattr(layer, self._key).change(number)


def _key(name):
    return f"_{name}_setting"


def read(layer, name):
    """The value of an adjustable argument of a layer as a step uses it: a scalar tensor, or a float on PyTorch."""
    return getattr(layer, _key(name)).read()
