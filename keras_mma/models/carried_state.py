"""Numbers of a mixer, such as `probability`, that are assigned while a training loop carries the state of the model."""

import contextlib
import weakref

import keras


class CarriedState:
    """A mixin, placed before `keras.Model`, that brings such an assignment together with the state that a loop carries.

    On JAX, a training step takes the values of all variables and returns them. Keras' `fit` holds them meanwhile and
    writes them back when it is asked to, which an assignment does. A loop of the user cannot be asked; the assignment
    triggers a warning. On PyTorch, no state is carried.
    """

    _is_run_by_keras = False

    def follow_assignments(self, mixer):
        """Take part in the assignments to a mixer and the mixers in it (`keras_mma.layers.arguments.Adjustable`)."""
        if keras.backend.backend() == "jax":
            for layer in mixer._flatten_layers():
                layer.carried_by = weakref.WeakSet([self, *getattr(layer, "carried_by", ())])

    @contextlib.contextmanager
    def run_by_keras(self):
        """A context in which Keras itself calls `stateless_call`."""
        before, self._is_run_by_keras = self._is_run_by_keras, True
        try:
            yield
        finally:
            self._is_run_by_keras = before

    def stateless_call(self, *args, **kwargs):
        if kwargs.get("training") and not self._is_run_by_keras and keras.backend.backend() != "torch":
            for layer in self.mixer._flatten_layers():
                layer.is_carried = True
        return super().stateless_call(*args, **kwargs)
