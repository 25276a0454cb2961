"""Random networks mixed at random layers: the loss of the zero-loss probe is 0, or a `ValueError` names the argument.

The networks keep the shares of the labels, which are constant over the image: they pool, enlarge, average branches,
call a layer twice and nest models.
"""

import keras
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import keras_mma
from keras_mma import layers
from tests.fuzz import strategies
from tests.fuzz.outcomes import refusals
from tests.fuzz.test_batches import is_calibrated, make
from tests.pictures import blobs

pytestmark = pytest.mark.slow
CLASSES = 3
OPERATIONS = (*("identity", "pool", "enlarge", "branches", "nested") * 3, "skip", "twice")
ADAPTERS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.05, 4.0),
        "combine": st.sampled_from(["multiply", "add"]),
        "preserve_ratio": st.booleans(),
        "attention": st.sampled_from(["activation", "cbam", None]),
        "attention_spread": st.none() | st.floats(-0.02, 4.0),
        "edge_blur": st.none() | st.floats(-0.1, 6.0),
        "smooth": st.booleans(),
        "resize": st.sampled_from(["area", "nearest", "bilinear"]),
    },
)


def network(operations, size):
    """A network of operations, and the names of the layers after which features may be mixed."""
    inputs = x = keras.Input((*size, CLASSES + 1))
    names = []
    for number, operation in enumerate(operations):
        identity = keras.layers.Identity(name=f"identity{number}")
        if operation == "identity":
            x = identity(x)
        elif operation == "pool" and not any(side % 2 for side in x.shape[1:3]):
            x = keras.layers.AveragePooling2D(2, name=f"pool{number}")(x)
        elif operation == "enlarge" and max(x.shape[1:3]) <= 16:
            x = keras.layers.UpSampling2D(2, name=f"enlarge{number}")(x)
        elif operation == "branches":
            x = keras.layers.Average(name=f"average{number}")([identity(x), keras.layers.Identity()(x)])
        elif operation == "skip":
            x = keras.layers.Average(name=f"average{number}")([identity(x), x])
        elif operation == "twice":
            x = identity(identity(x))
        elif operation == "nested":
            inner = keras.Input(x.shape[1:])
            inside = keras.layers.Identity(name=f"inside{number}")(inner)
            x = keras.Model(inner, keras.layers.Identity()(inside), name=f"model{number}")(x)
            names.append(f"inside{number}")
        names.append(x._keras_history.operation.name)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, pooled[:, :CLASSES]), names


@given(
    operations=st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=5),
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    setting=strategies.mixers(classes=[cls for cls in strategies.OWN if cls is not layers.ResizeMix]),
    adapt=ADAPTERS,
    draw=st.data(),
    with_input=st.booleans(),
    samples=st.integers(1, 6),
)
def test_the_loss_is_zero_in_any_network(operations, size, setting, adapt, draw, with_input, samples):
    cls, arguments = setting
    rng = np.random.default_rng(arguments["seed"])
    net, names = network(operations, size)
    at = draw.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    indices = rng.integers(0, CLASSES, samples)
    maps = np.broadcast_to(np.eye(CLASSES)[indices][:, None, None], (samples, *size, CLASSES))
    images = np.concatenate([maps, blobs(rng, samples, *size, 1) / 255], -1).astype("float32")
    with refusals():
        sites = tuple(range(0 if with_input else 1, len(at) + 1))
        weights = draw.draw(st.none() | st.lists(st.floats(0.1, 5.0), min_size=len(sites), max_size=len(sites)))
        mixer = make((cls, {**arguments, "sites": sites, "site_weights": weights}))
        model = keras_mma.mixify(net, mixer, at=at, **adapt)
        model.compile("sgd", "mse", run_eagerly=True)
        expected = net.predict_on_batch(images)
        np.testing.assert_array_equal(model.predict_on_batch(images), expected)
        for _ in range(3):
            loss = float(model.train_on_batch(images, indices))
            # A calibrated label is that of the mask's saliency at the input only.
            if not (is_calibrated(mixer) and with_input):
                assert loss < 1e-9
        event(f"{cls.__name__}, {len(at)} sites")
