"""Whatever mixer, images and labels are drawn, the conventions hold, or a `ValueError` names the argument."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from keras_mma import layers, plans
from tests.fuzz import strategies
from tests.fuzz.outcomes import refusals
from tests.layers.mixers import to_numpy

pytestmark = pytest.mark.slow


def make(setting, **others):
    cls, arguments = setting
    if "mixers" in arguments:
        arguments = {**arguments, "mixers": [inner() for inner in arguments["mixers"]]}
    return cls(**arguments, **others)


def is_calibrated(mixer):
    return mixer.label == "saliency"


def tolerance(dtype):
    return {"float16": 2e-3}.get(str(dtype), 1e-5)


@given(setting=strategies.mixers(), images=strategies.images())
def test_images_and_the_plan(setting, images):
    with refusals():
        mixer = make(setting, data_format=images.data_format)
        mixed, plan = to_numpy(mixer(images.values, training=True))
        event(type(mixer).__name__)
        check_plan(plan, mixer, images)
        check_images(mixed, plan, mixer, images)
        same, nothing = to_numpy(mixer(images.values, training=False))
        np.testing.assert_array_equal(same, images.values)
        assert (nothing["mask"] == 1).all() and (nothing["weight"] == 1).all()


def check_plan(plan, mixer, images):
    size, height, width, _ = images.last.shape
    assert plans.is_plan(plan) and plan["mask"].shape == (size, height, width, 1)
    assert plan["weight"].shape == plan["partner"].shape == (size,)
    for key in ("mask", "weight"):
        assert plan[key].dtype == "float32" and np.isfinite(plan[key]).all()
        assert (plan[key] >= 0).all() and (plan[key] <= 1).all()
    assert plan["partner"].dtype == "int32" and np.isin(plan["partner"], np.arange(size)).all()
    if not is_calibrated(mixer):
        np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-5)
    unmixed = (plan["mask"] == 1).all((1, 2, 3))
    assert (plan["weight"][unmixed] == 1).all()
    if mixer.probability == 0:
        assert unmixed.all()


def check_images(mixed, plan, mixer, images):
    mixed = mixed if images.data_format == "channels_last" else mixed.transpose(0, 2, 3, 1)
    # JAX has no 64-bit types by default.
    expected = "float32" if images.last.dtype == "float64" and keras.backend.backend() == "jax" else images.last.dtype
    assert mixed.shape == images.last.shape and mixed.dtype == expected
    unmixed = (plan["mask"] == 1).all((1, 2, 3))
    np.testing.assert_array_equal(mixed[unmixed], images.last[unmixed].astype(expected))
    if not len(mixed):
        return
    own, partner = (values.astype("float64") for values in (images.last, images.last[plan["partner"]]))
    scale = np.abs(images.last.astype("float64")).max() + 1
    step = 0 if images.last.dtype.kind == "f" else 0.51
    if not mixer.is_input_only:
        blend = plan["mask"] * own + (1 - plan["mask"].astype("float64")) * partner
        np.testing.assert_allclose(mixed.astype("float64"), blend, atol=scale * tolerance(mixed.dtype) + step)
    # A blend lies between the two images, also where the partner's pixels were moved.
    low = np.minimum(own.min((1, 2)), partner.min((1, 2)))[:, None, None]
    high = np.maximum(own.max((1, 2)), partner.max((1, 2)))[:, None, None]
    margin = scale * tolerance(mixed.dtype)
    assert (mixed.astype("float64") >= low - margin).all() and (mixed.astype("float64") <= high + margin).all()


@given(setting=strategies.mixers(), batch=strategies.batches())
def test_labeled_batches(setting, batch):
    with refusals():
        mixer = make(setting, data_format=batch.images.data_format, num_classes=batch.num_classes)
        images, labels, weight = strategies.call(mixer, batch)
        images, labels = to_numpy((images, labels))
        event(f"{type(mixer).__name__} {batch.form}")
        assert images.shape == batch.images.values.shape
        for mixed, rows in zip(keras.tree.flatten(labels), batch.rows, strict=True):
            assert mixed.dtype == "float32" and mixed.shape == rows.shape
            if not len(rows):
                continue
            if mixed.shape[1] > 1:
                np.testing.assert_allclose(mixed.sum(1), 1, atol=1e-5)
            assert (mixed >= rows.min(0) - 1e-6).all() and (mixed <= rows.max(0) + 1e-6).all()
        assert (weight is None) == (batch.sample_weight is None)
        if weight is not None:
            weight = to_numpy(weight)
            assert weight.dtype == "float32" and weight.shape == (len(images),)
            if len(images):
                low, high = batch.sample_weight.min(), batch.sample_weight.max()
                assert (weight >= low - 1e-5).all() and (weight <= high + 1e-5).all()
        if mixer.probability == 0:
            np.testing.assert_array_equal(images, batch.images.values.astype(images.dtype))


@given(setting=strategies.mixers(), images=strategies.images(("uint8", "float32")))
def test_the_same_seed_gives_the_same_plan(setting, images):
    with refusals():
        a, b = (make(setting, data_format=images.data_format) for _ in range(2))
        for _ in range(2):
            first, second = (to_numpy(mixer(images.values, training=True)) for mixer in (a, b))
            keras.tree.map_structure(np.testing.assert_array_equal, first, second)
        clone = type(a).from_config(a.get_config())
        assert clone.get_config() == a.get_config()


@given(setting=strategies.mixers(), size=st.integers(1, 9), classes=st.integers(1, 4))
def test_label_maps_follow_the_pixels(setting, size, classes):
    """Segmentation masks whose classes are the images: whatever moves, both stay equal."""
    cls, arguments = setting
    with refusals():
        mixer = make(setting)
        rng = np.random.default_rng(arguments["seed"])
        shares = np.eye(classes, dtype="float32")[rng.integers(0, classes, (size, 8, 11))]
        mixed = to_numpy(mixer({"images": shares, "segmentation_masks": shares}))
        np.testing.assert_allclose(mixed["images"], mixed["segmentation_masks"], atol=1e-5)
        event(cls.__name__)


def test_every_mixer_is_drawn_with_every_argument():
    assert set(strategies.OWN) == set(layers.MIXERS.values())
    for cls, own in strategies.OWN.items():
        arguments = set(inspect.signature(cls).parameters) | set(inspect.signature(layers.Mixer).parameters)
        drawn = set(own) | set(strategies.SHARED) | strategies.PASSED
        assert arguments - {"kwargs"} == drawn, cls
