"""Mixing layers whose data format is not that of their features."""

import keras
import pytest

import keras_mma
from keras_mma import layers

FIRST, LAST = "channels_first", "channels_last"


def convolution(data_format):
    return keras.layers.Conv2D(6, 3, padding="same", data_format=data_format, name="conv")


def build(features_format, between=(), mixing_format=None, layer=layers.FeatureMixAdapt):
    """A model that mixes the features of a convolution and of the layers after it."""
    inputs = keras.Input((8, 8, 3) if features_format == LAST else (3, 8, 8))
    x, plan = layers.CutMix(sites=(0, 1), data_format=features_format)(inputs)
    x = convolution(features_format)(x)
    for part in between:
        x = part(x)
    x, plan = layer(site=1, data_format=mixing_format, name="adapt")(x, plan)
    return keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))


@pytest.mark.parametrize("layer", [layers.FeatureMixAdapt, layers.CatchUpMix])
@pytest.mark.parametrize(("features", "mixing"), [(FIRST, None), (FIRST, LAST), (LAST, FIRST)])
def test_another_format_is_refused(layer, features, mixing):
    with pytest.raises(
        ValueError, match=f"`data_format` of 'adapt' must be .* '{features}' as in 'conv'. Received: data_format='chan"
    ):
        build(features, mixing_format=mixing, layer=layer)
    build(features, mixing_format=features, layer=layer)


@pytest.mark.parametrize(
    "between",
    [
        lambda: [keras.layers.BatchNormalization(axis=1), keras.layers.ReLU()],
        lambda: [lambda x: keras.layers.Add()([x, x]), lambda x: x * 2.0, keras.layers.Dropout(0.1)],
    ],
)
def test_layers_without_a_format_keep_that_of_their_features(between):
    with pytest.raises(ValueError, match="'channels_first' as in 'conv'"):
        build(FIRST, between(), LAST)
    build(FIRST, between(), FIRST)


@pytest.mark.parametrize(
    "between",
    [
        [keras.layers.Permute((2, 3, 1))],
        [keras.layers.Reshape((8, 8, 6))],
        [lambda x: keras.ops.transpose(x, (0, 2, 3, 1))],
        [keras.layers.Lambda(lambda x: keras.ops.moveaxis(x, 1, -1), output_shape=(8, 8, 6))],
    ],
)
def test_layers_that_move_axes_do_not(between):
    build(FIRST, between, LAST)


def test_axes_of_equal_length_that_are_moved():
    inputs = keras.Input((8, 8, 8))
    x, plan = layers.CutMix(sites=(0, 1), data_format=FIRST)(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", data_format=FIRST)(x)
    x, plan = layers.FeatureMixAdapt(1, data_format=LAST)(keras.layers.Permute((2, 3, 1))(x), plan)
    keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))


def test_features_that_a_network_without_a_format_returns():
    inputs = keras.Input((8, 8, 3))
    x, plan = layers.CutMix(sites=(0, 1))(inputs)
    backbone = keras.Sequential([keras.Input((8, 8, 3)), convolution(LAST)])
    x, plan = layers.FeatureMixAdapt(1)(backbone(x), plan)
    keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))


@pytest.mark.parametrize("follower", [FIRST, LAST])
def test_a_further_input(follower):
    images, view = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x, plan = layers.CutMix()(images)
    view_features = convolution(LAST)(view)

    def join():
        other = layers.FollowPlan(data_format=follower, name="follow")(view_features, plan)
        x_and_other = keras.layers.Concatenate()([x, other])
        return keras_mma.MixModel([images, view], (keras.layers.Dense(3)(keras.layers.Flatten()(x_and_other)), plan))

    if follower == LAST:
        join()
    else:
        with pytest.raises(ValueError, match="`data_format` of 'follow' must be .* 'channels_last' as in 'conv'"):
            join()


def test_sequences_have_none():
    inputs = keras.Input((8, 8, 3))
    x, plan = layers.CutMix(sites=(0, 1))(inputs)
    x = keras.layers.Reshape((16, 8))(keras.layers.Conv2D(8, 2, strides=2, data_format=LAST)(x))
    x, plan = layers.FeatureMixAdapt(1, data_format=FIRST)(x, plan)
    keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))


@pytest.mark.parametrize("network", [FIRST, LAST])
def test_a_mixer_in_front_of_a_network_of_another_format(network):
    inputs = keras.Input((8, 8, 8))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D(data_format=network)(convolution(network)(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    other = FIRST if network == LAST else LAST
    match = f"`data_format` of 'cut' must be .*'{network}' as in 'conv'. Received: data_format='{other}'"
    with pytest.raises(ValueError, match=match):
        keras_mma.mixify(model, layers.CutMix(data_format=other, name="cut"), at=[])
    keras_mma.mixify(model, layers.CutMix(data_format=network), at=[])


def test_a_feature_mixer_in_front_of_a_layer_of_another_format():
    inputs = keras.Input((8, 8, 3))
    x, plan = layers.CutMix(sites=(0, 1))(inputs)
    x, plan = layers.FeatureMixAdapt(1, name="adapt")(keras.layers.Reshape((6, 8, 4))(x), plan)
    x = keras.layers.MaxPooling2D(data_format=FIRST, name="pool")(x)
    with pytest.raises(ValueError, match="`data_format` of 'adapt' must be .*'channels_first' as in 'pool'"):
        keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))


def test_a_layer_that_does_not_use_its_format():
    inputs = keras.Input((3, 8, 8))
    x = convolution(FIRST)(keras.layers.RandomBrightness(0.2)(inputs))
    x = keras.layers.GlobalAveragePooling2D(data_format=FIRST)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    keras_mma.mixify(model, layers.CutMix(data_format=FIRST), at=[])


class Moving(keras.layers.Layer):
    def call(self, x):
        return keras.ops.transpose(x, (0, 2, 3, 1))


@pytest.mark.parametrize(
    "form", [Moving, lambda: keras.Sequential([keras.Input((8, 8, 8)), keras.layers.Permute((2, 3, 1))])]
)
def test_layers_of_a_user_and_nested_models_may_move_axes(form):
    inputs = keras.Input((8, 8, 8))
    x, plan = layers.CutMix(sites=(0, 1), data_format=FIRST)(inputs)
    x = form()(keras.layers.Conv2D(8, 3, padding="same", data_format=FIRST)(x))
    x, plan = layers.FeatureMixAdapt(1, data_format=LAST)(x, plan)
    keras_mma.MixModel(inputs, (keras.layers.Dense(3)(keras.layers.Flatten()(x)), plan))
