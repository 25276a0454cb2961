"""Which functions XLA compiles, and that the values stay the same."""

import contextlib

import numpy as np
import pytest
from keras import ops

from keras_mma import layers
from keras_mma.backend import without_xla, xla_compiled


@xla_compiled
def _scaled(values, by=2.0, also=None):
    return values["x"] * by + (0.0 if also is None else also)


def _calls_of_xla(function, *specs):
    """The calls in a traced graph that are marked for compilation by XLA."""
    graph = function.get_concrete_function(*specs).graph
    called = [node.attr["f"].func.name for node in graph.as_graph_def().node if "PartitionedCall" in node.op]
    inner = {f.signature.name: f for f in graph.as_graph_def().library.function}
    return [name for name in called if inner[name].attr["_XlaMustCompile"].b]


def test_compiled_functions_return_the_same_values(rng):
    x, also = rng.random((3, 4)).astype("float32"), np.ones((3, 1), "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(_scaled({"x": ops.convert_to_tensor(x)})), 2 * x, rtol=1e-6)
    scaled = _scaled({"x": ops.convert_to_tensor(x)}, 3.0, also=ops.convert_to_tensor(also))
    np.testing.assert_allclose(ops.convert_to_numpy(scaled), 3 * x + 1, rtol=1e-6)


@pytest.mark.parametrize("shape, is_compiled", [((3, 4), True), ((None, 4), True), ((3, None), False)])
def test_graphs_with_static_sizes_are_compiled(needs_tensorflow, rng, shape, is_compiled):
    import tensorflow as tf

    function = tf.function(lambda x: _scaled({"x": x}, by=5.0))
    calls = _calls_of_xla(function, tf.TensorSpec(shape))
    assert len(calls) == is_compiled
    x = rng.random((3, 4)).astype("float32")
    np.testing.assert_allclose(function(x), 5 * x, rtol=1e-6)


def test_nothing_is_compiled_with_an_accelerator(needs_tensorflow, monkeypatch):
    import tensorflow as tf

    devices = tf.config.list_physical_devices()
    accelerator = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *kind: [*devices, accelerator])
    assert not _calls_of_xla(tf.function(lambda x: _scaled({"x": x}, by=7.0)), tf.TensorSpec((3, 4)))


def test_compiled_functions_have_gradients(needs_tensorflow):
    import tensorflow as tf

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = _scaled({"x": x}, by=3.0)
        return tape.gradient(y, x)

    np.testing.assert_allclose(gradient(tf.ones((2, 2))), 3.0)


#: Number of compiled functions of each mixer: to mix, to compute saliency, and to find the peak or the partner.
COMPILED_FUNCTIONS = {
    "mixup": 1,
    "cutmix": 1,
    "randomchoice": 1,
    "saliencymix": 3,
    "saliencygrafting": 2,
    "guidedmixup": 3,
    "puzzlemix": 2,
    "attentivemix": 2,
    "gmix": 1,
    "hmix": 1,
    "smoothmix": 1,
    "fmix": 2,
    "gridmix": 1,
    "resizemix": 1,
}


FAST = ("mixup", "cutmix", "saliencymix")


@pytest.mark.parametrize("name", layers.MIXERS)
def test_mixers_in_a_pipeline_are_compiled(needs_tensorflow, name):
    import tensorflow as tf

    mixer = layers.MIXERS[name]()
    function = tf.function(lambda x, y: mixer(x, y))
    calls = _calls_of_xla(function, tf.TensorSpec((None, 32, 32, 3), tf.uint8), tf.TensorSpec((None, 10)))
    assert len(calls) == COMPILED_FUNCTIONS[name]


# The limit is that of the area, and the same for all mixers.
@pytest.mark.parametrize(
    ("name", "side", "count"),
    [
        *(pytest.param(name, 16, 0, marks=() if name in FAST else pytest.mark.slow) for name in layers.MIXERS),
        ("saliencymix", 63, 0),
        ("saliencymix", 64, 3),
    ],
)
def test_small_images_in_a_model_are_not_compiled(needs_tensorflow, name, side, count):
    """Mixing small images takes a small part of the step, so loading XLA's compiler would not pay off."""
    import tensorflow as tf

    settings = {} if layers.MIXERS[name].is_input_only else {"sites": (0, 1)}
    settings |= {"grids": (2, 4)} if name == "puzzlemix" else {}  # each is traced on its own
    mixer = layers.MIXERS[name](**settings)
    function = tf.function(lambda x: mixer(x, training=True))
    graph = function.get_concrete_function(tf.TensorSpec((None, side, side, 3))).graph.as_graph_def()
    marked = [inner.signature.name for inner in graph.library.function if inner.attr["_XlaMustCompile"].b]
    assert len(marked) == count
    images, plan = function(tf.random.uniform((4, side, side, 3)))
    assert images.shape == (4, side, side, 3) and plan["mask"].shape == (4, side, side, 1)


def test_draws_are_the_same_with_and_without_xla(needs_tensorflow, rng):
    import tensorflow as tf

    images, labels = rng.random((6, 24, 24, 3)).astype("float32"), np.eye(6, dtype="float32")

    def mixed(context):
        mixer = layers.SaliencyMix(seed=3)

        @tf.function(autograph=False)
        def mix():
            with context():
                return mixer(images, labels)

        calls = _calls_of_xla(mix)
        return [value.numpy() for value in mix()], len(calls)

    (with_xla, calls), (op_by_op, calls_without_xla) = mixed(contextlib.nullcontext), mixed(without_xla)
    assert calls == 3 and calls_without_xla == 0
    np.testing.assert_allclose(with_xla[0], op_by_op[0], atol=1e-6)
    np.testing.assert_allclose(with_xla[1], op_by_op[1], atol=1e-6)
    assert np.abs(with_xla[1] - labels).max() > 0.01


def test_the_context_ends_with_an_error(needs_tensorflow):
    import tensorflow as tf

    with pytest.raises(RuntimeError, match="inside"), without_xla():
        raise RuntimeError("inside")
    assert _calls_of_xla(tf.function(lambda x: _scaled({"x": x}, by=11.0)), tf.TensorSpec((3, 4)))
