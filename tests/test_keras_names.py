"""The names that Keras does not document are there, and `docs/keras_names.md` lists all that the package uses."""

import ast
import inspect
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "keras_names.md").read_text()
PRIVATE, OTHERS = (
    re.findall(r"^\| (`.+?|paths.+?) \| (.+?) \| (.+?) \| (.+?) \|$", part, re.M) for part in PAGE.split("\n## ")[1:]
)
BACKEND = keras.backend.backend()
#: Names of Python: of named tuples, and of `multiprocessing`, which `sampling` explains.
OF_PYTHON = {"_asdict", "_fields", "_replace", "_identity"}


class Probe(keras.layers.Layer):
    """A layer that remembers in what model it was called."""

    def __init__(self):
        super().__init__()
        self.inner = [keras.layers.ReLU()]
        self.caller = lambda: None

    def call(self, x):
        model = self._get_call_context().entry_layer
        self.caller = lambda: model  # a closure, so that Keras does not track the model
        return self.inner[0](x)


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Probe()(inputs))
    model(np.zeros((1, 3), "float32"))
    return model


def flatten_layers(model):
    assert model.layers[1].inner[0] in list(model._flatten_layers())


def loss_ids(model):
    layer = keras.layers.ActivityRegularization(l2=1.0)
    with keras.StatelessScope(collect_losses=True):
        layer(np.ones((1, 3), "float32"))
        kept = set(layer._loss_ids)
        assert len(kept) == len(layer.losses) == 1
        with keras.StatelessScope(collect_losses=False):
            layer(np.ones((1, 3), "float32"))
        assert not layer.losses
        layer._loss_ids.update(kept)
        assert len(layer.losses) == 1


def keras_history(model):
    layer, index, _ = model.output._keras_history
    assert layer is model.layers[1] and index == 0


def inbound_nodes(model):
    assert len(model.layers[1]._inbound_nodes) == 1


def get_call_context(model):
    assert model.layers[1].caller() is model
    layer = keras.layers.Identity()
    context = layer._get_call_context()
    layer(np.zeros((1, 3), "float32"), training=True)
    assert context.training is True


def reset_call_context(model):
    layer = keras.layers.Identity()
    context = layer._get_call_context()
    assert layer._get_call_context() is context
    layer._maybe_reset_call_context()
    assert layer._get_call_context() is not context
    layer._maybe_reset_call_context()


def symbolic_build(model):
    if BACKEND == "tensorflow":
        parameters = inspect.signature(keras.Model._maybe_symbolic_build).parameters
        assert {"iterator", "data_batch"} <= set(parameters)


def distribute_strategy(model):
    assert BACKEND != "tensorflow" or model._distribute_strategy is None


def initial_seed(model):
    assert keras.random.SeedGenerator(3)._initial_seed == 3
    assert keras.random.SeedGenerator()._initial_seed is None


def direction(model):
    assert keras.metrics.BinaryAccuracy()._direction == "up" and keras.metrics.MeanSquaredError()._direction == "down"


def multi_worker_mode(model):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        assert tf.distribute.get_strategy().extended._in_multi_worker_mode() is False


def node(model):
    (call,) = model.layers[1]._inbound_nodes
    assert call.operation is model.layers[1] and call.input_tensors == [model.input] and call.outputs == [model.output]
    assert call.arguments.args == (model.input,) and call.arguments.kwargs == {}


def state(model):
    assert tuple(keras.random.SeedGenerator(3).state.shape) == (2,)


def loss_and_updates(model):
    assert BACKEND != "jax" or callable(keras.Model.compute_loss_and_updates)


def step_of_jax(model):
    if BACKEND == "jax":
        taken = []
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()])
        network.compile("sgd", "mse")
        network.make_train_function()
        step = network.train_function
        network.train_function = lambda state, iterator: taken.append(state) or step(state, iterator)
        network.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0)
        trainable, non_trainable, *_ = taken[0]
        assert [value.shape for value in trainable] == [tuple(v.shape) for v in network.trainable_variables]
        assert [value.shape for value in non_trainable] == [tuple(v.shape) for v in network.non_trainable_variables]


def symbolic_call(model):
    assert callable(keras.Model.symbolic_call)


def weight_paths(model, folder):
    layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1), keras.layers.Conv2D(1, 1)]
    keras.Sequential(layers).save_weights(folder / "w.weights.h5")
    with h5py.File(folder / "w.weights.h5") as file:
        assert {"conv2d", "conv2d_1"} <= set(file["layers"]) and "0" in file["layers/conv2d_1/vars"]


CHECKS = dict(
    zip(
        [row[0] for row in PRIVATE + OTHERS],
        [
            *(
                flatten_layers,
                loss_ids,
                keras_history,
                inbound_nodes,
                get_call_context,
                reset_call_context,
                symbolic_build,
                distribute_strategy,
            ),
            *(initial_seed, direction, multi_worker_mode, node, state, loss_and_updates, step_of_jax),
            *(symbolic_call, weight_paths),
        ],
        strict=True,
    )
)


@pytest.mark.parametrize("row", PRIVATE + OTHERS, ids=lambda row: row[0])
def test_a_name_is_there(row, model, tmp_path):
    name, users, purpose, way_round = row
    check = CHECKS[name]
    try:
        check(*(model, tmp_path)[: check.__code__.co_argcount])
    except Exception as error:
        pytest.fail(
            f"{name} has changed in Keras {keras.__version__} ({type(error).__name__}: {error}). {users} use it for "
            f"{purpose}. Without it: {way_round}."
        )


def test_every_private_name_is_listed():
    defined, used = set(), {}
    for path in (ROOT / "keras_mma").rglob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.ClassDef):
                defined.add(item.name)
            elif isinstance(item, ast.Name | ast.Attribute) and isinstance(item.ctx, ast.Store):
                defined.add(item.id if isinstance(item, ast.Name) else item.attr)
            if isinstance(item, ast.Attribute) and re.match("_[a-z]", item.attr):
                used.setdefault(item.attr, set()).add(str(path.relative_to(ROOT / "keras_mma")))
            assert not re.search(r"keras\.src", ast.unparse(item)) or not isinstance(item, ast.Import | ast.ImportFrom)
    # `_maybe_symbolic_build` is overridden and `_direction` is set, so that the package defines them too.
    defined -= {"_maybe_symbolic_build", "_direction"}
    foreign = {name: files for name, files in used.items() if name not in defined}
    listed = {re.search(r"\.(_\w+)`", row[0])[1]: set(re.findall(r"`([\w/]+\.py)`", row[1])) for row in PRIVATE}
    assert {name: files for name, files in foreign.items() if name not in OF_PYTHON} == listed
