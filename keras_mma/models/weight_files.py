"""Weights files that the model with mixing and the network without it both read.

Keras names the weights in a file by the place of their layer in the model. A mixed model has the layers of a nested
model as its own layers if a mixing point is inside, so their places differ from those in the network.
"""

import contextlib
import os
import re
import shutil
import tempfile

import keras

from keras_mma.models import encoders, graph

#: Group of a file that holds the weights of the mixed model; its root holds those of the network.
_GROUP = "keras_mma"


class SharedWeightFiles:
    """A mixin, placed before `keras.Model`, for models that `mixify` builds around a network."""

    #: A function that returns the network, or `None`. A function, so that Keras does not track the network.
    _network = None
    #: Where Keras stores each layer, here and in the network, if the places differ. A model that was loaded has it too.
    _network_places = None

    def share_weight_files(self, network):
        """Read and write weights files of a network whose layers this model has."""
        own = {id(layer): path for path, layer in _places(self)}
        places = {own[id(layer)]: path for path, layer in _places(network) if layer.weights and id(layer) in own}
        self._network = lambda: network
        self._network_places = places if any(here != there for here, there in places.items()) else None

    def get_config(self):
        for layer in self.layers:
            encoders.complete(layer)
        config, places = super().get_config(), self._network_places
        if "layers" in config:
            layers = {layer.name: layer for layer in self.layers}  # the rest of the graph are operations
            serialized = [encoders.loadable(each, layers.get(each["name"])) for each in config["layers"]]
            config = {**config, "layers": serialized}
        return config | ({"network_places": dict(places)} if places else {})

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        places = config.pop("network_places", None)
        model = super().from_config(config, custom_objects)
        model._network_places = places
        return model

    def save_weights(self, filepath, *args, **kwargs):
        """Save the weights. The network that was passed to `mixify` can load them too."""
        before = _modified(filepath)
        super().save_weights(filepath, *args, **kwargs)
        # Keras writes nothing where a person declines to overwrite a file.
        is_written = _modified(filepath) != before
        if self._network_places and str(filepath).endswith(".weights.h5") and is_written:
            _add_network(filepath, self._network_places)

    def load_weights(self, filepath, *args, **kwargs):
        """Load weights that this model, or the network that was passed to `mixify`, has saved."""
        if not str(filepath).endswith(".weights.h5") or not os.path.exists(filepath):
            return super().load_weights(filepath, *args, **kwargs)
        import h5py

        with h5py.File(filepath, "r") as file:
            if _GROUP in file:
                with _copied(file, {name: f"{_GROUP}/{name}" for name in file[_GROUP]}) as part:
                    return super().load_weights(part, *args, **kwargs)
            is_mixed = any("seed_state" in layer.get("vars", ()) for layer in file.get("layers", {}).values())
            if not is_mixed and self._network is None and self._network_places:
                with _copied(file, {"vars": "vars", **self._network_places}) as part:
                    return super().load_weights(part, *args, **kwargs)
        if is_mixed or self._network is None:
            return super().load_weights(filepath, *args, **kwargs)
        return self._network().load_weights(filepath, *args, **kwargs)


@contextlib.contextmanager
def _copied(file, paths):
    """A temporary weights file with groups of another one, from their new path to the old one."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        part = os.path.join(folder, "part.weights.h5")
        with h5py.File(part, "w") as target:
            for new, old in paths.items():
                if old in file and new not in target:
                    file.copy(old, target, new)
        yield part


def _add_network(filepath, places):
    """Add the weights of a network to the file of a mixed model, as links to those that are there."""
    import h5py

    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(filepath))) as folder:
        temporary = os.path.join(folder, "both.weights.h5")
        shutil.copy(filepath, temporary)
        with h5py.File(temporary, "a") as file:
            for name in list(file):
                file.move(name, f"{_GROUP}/{name}")
            file.create_group("vars")
            for here, there in places.items():
                if there not in file:
                    file[there] = file[f"{_GROUP}/{here}"]
        os.replace(temporary, filepath)


def _modified(filepath):
    """What changes when a file is written, or `None` if there is none."""
    try:
        status = os.stat(filepath)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _places(model, prefix="layers"):
    """The paths under which Keras stores the layers of a model, and those of what `mixify` can take apart in it."""
    for path, layer in _numbered(model.layers, prefix):
        yield path, layer
        if isinstance(layer, keras.Model) and graph.is_transparent(layer):
            yield from _places(layer, f"{path}/layers")
        elif isinstance(layer, encoders.FirstOutput):
            yield f"{path}/layer", layer.layer
        elif encoders.is_known(layer):
            yield from _numbered(layer.encoder_layers, f"{path}/encoder_layers")
            yield f"{path}/layer_norm", layer.layer_norm


def _numbered(layers, prefix):
    """The paths under which Keras stores the layers of a list."""
    counts = {}
    for layer in layers:
        name = _snake_case(type(layer).__name__)
        counts[name] = counts.get(name, -1) + 1
        yield f"{prefix}/{name}_{counts[name]}" if counts[name] else f"{prefix}/{name}", layer


def _snake_case(name):
    """The name of a class as Keras writes it in files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
