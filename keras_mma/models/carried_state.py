"""Numbers of a mixer, such as `probability`, that are assigned while a training loop carries the state of the model."""

import contextlib

import keras
import numpy as np

from keras_mma.sampling import AdjustableNumber


class CarriedState:
    """A mixin, placed before `keras.Model`, that makes such assignments take effect in the next step.

    On JAX, a training step takes the values of all variables and returns them, and an assignment to a variable does not
    change the values that Keras' `fit` holds: each step of `fit` is given the present numbers. A loop of the user that
    calls `stateless_call` is not, so the assignment triggers a warning. On PyTorch, no state is carried.
    """

    _is_run_by_keras = False

    @contextlib.contextmanager
    def run_by_keras(self):
        """A context in which Keras itself calls `stateless_call`."""
        before, self._is_run_by_keras = self._is_run_by_keras, True
        try:
            yield
        finally:
            self._is_run_by_keras = before
            if not before and keras.backend.backend() == "jax":
                # `fit` writes back the numbers of the last step, after which they may have been assigned.
                for number in _numbers_of(self.mixer):
                    number.change(number.number)

    def stateless_call(self, *args, **kwargs):
        if kwargs.get("training") and not self._is_run_by_keras and keras.backend.backend() != "torch":
            for layer in self.mixer._flatten_layers():
                layer.is_carried = True
        return super().stateless_call(*args, **kwargs)

    if keras.backend.backend() == "jax":

        def make_train_function(self, force=False):
            before = self.train_function
            super().make_train_function(force=force)
            if self.train_function is not before:
                self.train_function = _with_numbers(self, self.train_function)


def _with_numbers(model, step):
    """A training step of Keras' JAX trainer that first writes the mixer's present numbers into the state."""
    import jax

    numbers = {id(number.state): number for number in _numbers_of(model.mixer)}
    places = {
        place: numbers[id(variable)]
        for place, variable in enumerate(model.non_trainable_variables)
        if id(variable) in numbers
    }
    written: dict[int, float] = {}

    def run(state, iterator):
        trainable, values, *others = state
        values = list(values)
        for place, number in places.items():
            present = number.number
            if written.get(place) != present:
                values[place] = jax.device_put(np.float32(present), values[place].sharding)
                written[place] = present
        try:
            return step((trainable, values, *others), iterator)
        except BaseException:  # also the end of the data, after which the values before the step remain
            written.clear()
            raise

    return run


def _numbers_of(mixer):
    """The numbers of a mixer and of the mixers in it."""
    held = [value for layer in mixer._flatten_layers() for value in vars(layer).values()]
    return [value for value in held if isinstance(value, AdjustableNumber)]
