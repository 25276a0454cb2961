"""Weights files that the model with mixing and the network without it both read.

Keras names the weights in a file by the place of their layer in the model. A mixed model has the layers of a nested
model as its own layers if a mixing point is inside, so their places differ from those in the network.
"""

import os
import re
import shutil
import tempfile

import keras

from keras_mma.models import graph

#: Group of a file that holds the weights of the mixed model; its root holds those of the network.
_GROUP = "keras_mma"


class SharedWeightFiles:
    """A mixin, placed before `keras.Model`, for models that `mixify` builds around a network."""

    #: A function that returns the network, or `None`. A function, so that Keras does not track the network.
    _network = None

    def save_weights(self, filepath, *args, **kwargs):
        """Save the weights. The network that was passed to `mixify` can load them too."""
        super().save_weights(filepath, *args, **kwargs)
        if self._network is not None and str(filepath).endswith(".weights.h5") and os.path.exists(filepath):
            _add_network(filepath, self, self._network())

    def load_weights(self, filepath, *args, **kwargs):
        """Load weights that this model, or the network that was passed to `mixify`, has saved."""
        if not str(filepath).endswith(".weights.h5") or not os.path.exists(filepath):
            return super().load_weights(filepath, *args, **kwargs)
        import h5py

        with h5py.File(filepath, "r") as file:
            if _GROUP in file:
                with tempfile.TemporaryDirectory() as folder:
                    part = os.path.join(folder, "part.weights.h5")
                    with h5py.File(part, "w") as own:
                        for name in file[_GROUP]:
                            file.copy(f"{_GROUP}/{name}", own)
                    return super().load_weights(part, *args, **kwargs)
            is_mixed = any("seed_state" in layer.get("vars", ()) for layer in file.get("layers", {}).values())
        if is_mixed or self._network is None:
            return super().load_weights(filepath, *args, **kwargs)
        return self._network().load_weights(filepath, *args, **kwargs)


def _add_network(filepath, model, network):
    """Add the weights of a network to the file of a mixed model, as links to those that are there."""
    own = {id(layer): path for path, layer in _places(model)}
    places = list(_places(network))
    if all(own.get(id(layer)) == path for path, layer in places if layer.weights):
        return
    import h5py

    temporary = f"{filepath}.tmp"
    shutil.copy(filepath, temporary)
    with h5py.File(temporary, "a") as file:
        for name in list(file):
            file.move(name, f"{_GROUP}/{name}")
        file.create_group("vars")
        for path, layer in places:
            if id(layer) in own and path not in file:
                file[path] = file[f"{_GROUP}/{own[id(layer)]}"]
    os.replace(temporary, filepath)


def _places(model, prefix="layers"):
    """The paths under which Keras stores the layers of a model, and of nested models that only run their graph."""
    counts = {}
    for layer in model.layers:
        name = _snake_case(type(layer).__name__)
        counts[name] = counts.get(name, -1) + 1
        path = f"{prefix}/{name}_{counts[name]}" if counts[name] else f"{prefix}/{name}"
        yield path, layer
        if isinstance(layer, keras.Model) and graph.is_transparent(layer):
            yield from _places(layer, f"{path}/layers")


def _snake_case(name):
    """The name of a class as Keras writes it in files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
