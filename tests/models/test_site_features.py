"""`site_features`: the features that reach each site, without any mixing."""

import keras
import numpy as np
import pytest

from keras_mma import layers, models
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
