"""`site_features`: the features that reach each site, without any mixing."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_mma import layers, mixify, models
from keras_mma.callbacks.mixing_monitor import measure
from keras_mma.models.site_features import at_input, site_features


def test_the_features_of_each_site(rng):
    """Each site receives twice what the site before received; the mask of the second input follows the plan."""
    double = keras.layers.Rescaling(2.0)
    images, other = keras.Input((4, 5, 1)), keras.Input((1,))
    mixer, first, second = (
        layers.MixUp(sites=(1, 2), seed=0),
        *(layers.FeatureMixAdapt(site=site) for site in (1, 2)),
    )
    x, plan = mixer(images)
    x, plan = first(double(x), plan)
    x, plan = second(double(x), plan)
    followed = layers.FollowPlan()(other=other, plan=plan)
    outputs = keras.layers.Add()([keras.layers.GlobalAveragePooling2D()(x), followed])
    model = models.MixModel([images, other], (outputs, plan))
    sites = site_features(model)
    assert sites.mixer is mixer and sites.layers == {1: first, 2: second}
    values = rng.random((3, 4, 5, 1)).astype("float32")
    features = sites.model([values, np.ones((3, 1))], training=True)
    assert sorted(features) == [0, 1, 2]
    for site, factor in ((0, 1), (1, 2), (2, 4)):
        np.testing.assert_array_equal(features[site], factor * values)


def test_a_mixer_by_itself_ignores_no_weights(rng):
    mixer = at_input(layers.CutMix(ignore_zero_weight=True, probability=0.5, sites=(0, 1)))
    images, _ = mixer(rng.random((4, 8, 8, 3)).astype("float32"), training=True)
    assert images.shape == (4, 8, 8, 3) and mixer.probability == 1


def test_another_model_raises():
    with pytest.raises(ValueError, match="`model` must be a `MixModel`.* Received: model=<Sequential"):
        site_features(keras.Sequential([keras.Input((4,))]))


def test_the_model_of_features_is_built_once_and_shares_the_weights(rng):
    network = keras.Sequential([keras.Input((4, 5, 1)), keras.layers.Conv2D(1, 1, kernel_initializer="ones")])
    model = mixify(network, layers.MixUp(), at=[network.layers[0].name])
    images = rng.random((2, 4, 5, 1)).astype("float32")
    for factor in (1.0, 3.0):
        network.layers[0].kernel.assign(np.full((1, 1, 1, 1), factor))
        features = site_features(model).model(images, training=False)[1]
        np.testing.assert_allclose(ops.convert_to_numpy(features), factor * images, rtol=1e-6)
        calls = [len(layer._inbound_nodes) for layer in network.layers]
        measure(model, images)
        assert [len(layer._inbound_nodes) for layer in network.layers] == calls


def test_the_model_of_features_is_freed_with_its_model():
    network = keras.Sequential([keras.Input((4, 5, 1)), keras.layers.Rescaling(2.0)])
    model = mixify(network, layers.MixUp(), at=[])
    references = [weakref.ref(model), weakref.ref(site_features(model).model)]
    del model
    gc.collect()
    assert [reference() for reference in references] == [None, None]
