"""`mixing_points`: which layers of a network are suggested."""

import warnings

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers


def names(model):
    return [(point.name, point.is_default) for point in keras_mma.mixing_points(model)]


def conv(x, filters=4, strides=1, **kwargs):
    return keras.layers.Conv2D(filters, 3, strides=strides, padding="same", **kwargs)(x)


def head(x):
    return keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))


def residual(stages=3, size=32):
    inputs = keras.Input((size, size, 3))
    x = conv(inputs, name="stem")
    for stage in range(stages):
        x = conv(x, strides=1 if stage == 0 else 2, name=f"down{stage}")
        x = keras.layers.Add(name=f"sum{stage}")([x, conv(x, name=f"branch{stage}")])
        x = keras.layers.ReLU(name=f"end{stage}")(x)
    return keras.Model(inputs, head(x))


def test_the_last_block_of_each_resolution_is_suggested():
    assert names(residual()) == [("end0", True), ("end1", True), ("end2", False)]
    assert names(residual(4)) == [("end0", True), ("end1", True), ("end2", False), ("end3", False)]
    assert names(residual(1)) == [("end0", True)]
    assert [point.shape for point in keras_mma.mixing_points(residual(2))] == [(32, 32, 4), (16, 16, 4)]


@pytest.mark.parametrize("layer", [keras.layers.Resizing(32, 32), keras.layers.UpSampling2D(2)])
def test_images_may_be_enlarged_before_the_network(layer):
    network = residual()
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, network(layer(inputs)))
    assert names(model) == [(f"{network.name}/{name}", is_default) for name, is_default in names(network)]
    mixed = keras_mma.mixify(model, layers.CutMix(seed=0))
    assert mixed.mixer.sites == (0, 1, 2)
    mixed.compile("sgd", "categorical_crossentropy")
    mixed.train_on_batch(np.ones((4, 16, 16, 3)), np.arange(4) % 3)


def test_without_blocks_the_last_layer_of_each_resolution_is_suggested():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(
                1 / 255
            ),  # mixing here would be mixing images, because nothing before it has weights
            keras.layers.Conv2D(4, 3, padding="same", name="a"),
            keras.layers.ReLU(name="b"),
            keras.layers.MaxPooling2D(name="c"),
            keras.layers.Conv2D(4, 3, padding="same", name="d"),
            keras.layers.ZeroPadding2D(name="larger"),
            keras.layers.Conv2D(4, 3, strides=2, name="e"),
            keras.layers.GlobalAveragePooling2D(keepdims=True),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    assert names(model) == [("b", True), ("d", True), ("e", False)]


def test_layers_that_features_bypass_are_not_suggested():
    inputs = keras.Input((16, 16, 3))
    x = conv(inputs, name="first")
    y = conv(conv(x, strides=2, name="half"), name="again")
    x = keras.layers.Concatenate()([head(x), head(y)])
    assert names(keras.Model(inputs, x)) == [("first", True)]


def test_heads_may_branch_after_the_mixing_point():
    inputs = keras.Input((16, 16, 3))
    x = conv(inputs, name="trunk")
    y = conv(x, strides=2, name="branch")
    model = keras.Model(inputs, {"a": head(x), "b": head(y)})
    assert names(model) == [("trunk", True)]


def test_layers_of_nested_models_are_suggested_by_path():
    inputs = keras.Input((32, 32, 3))
    inner = keras.Model((trunk := residual()).input, trunk.get_layer("end2").output, name="backbone")
    middle = keras.Sequential([keras.Input((32, 32, 3)), inner], name="middle")
    model = keras.Model(inputs, head(middle(keras.layers.Rescaling(2.0)(inputs))))
    assert [name for name, _ in names(model)] == [f"middle/backbone/end{stage}" for stage in range(3)]
    for at in (None, ["end0", "end1"], ["middle/backbone/end1"]):
        mixed = keras_mma.mixify(model, layers.CutMix(), at=at)
        sites = [layer.site for layer in mixed.layers if isinstance(layer, layers.FeatureMixAdapt)]
        assert sites == ([1, 2] if at is None or len(at) == 2 else [1])


def test_an_ambiguous_name_must_be_a_path():
    inputs = keras.Input((32, 32, 3))
    parts = [
        keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 3, padding="same", name="conv")], name=name)
        for name in ("one", "two")
    ]
    model = keras.Model(inputs, head(parts[1](parts[0](inputs))))
    with pytest.raises(ValueError, match=r"unambiguous: use one of \['one/conv', 'two/conv'\]. Received: 'conv'"):
        keras_mma.mixify(model, layers.CutMix(), at=["conv"])
    assert keras_mma.mixify(model, layers.CutMix(), at=["two/conv"])
    with pytest.raises(ValueError, match=r"Did you mean \['one/conv'.* Received: 'one/con'"):
        keras_mma.mixify(model, layers.CutMix(), at=["one/con"])


def test_unknown_sizes():
    inputs = keras.Input((None, None, 3))
    x = conv(conv(inputs, name="a"), strides=2, name="b")
    points = keras_mma.mixing_points(keras.Model(inputs, head(x)))
    assert [(point.name, point.shape) for point in points] == [("a", (None, None, 4)), ("b", (None, None, 4))]


def test_channels_first():
    inputs = keras.Input((3, 16, 20))
    x = keras.layers.Conv2D(5, 3, strides=2, data_format="channels_first", name="a")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x))
    (point,) = keras_mma.mixing_points(model, data_format="channels_first")
    assert point == ("a", (5, 7, 9), True)


def test_tokens_are_mixed_once_the_sequence_is_complete():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Reshape((16, 6))(keras.layers.Conv2D(6, 8, strides=8)(inputs))
    x = keras.layers.Concatenate(axis=1, name="complete")([keras.ops.mean(x, axis=1, keepdims=True), x])
    for index in range(2):
        x = keras.layers.Add(name=f"block{index}")([x, keras.layers.Dense(6)(x)])
    model = keras.Model(inputs, keras.layers.Dense(3)(x[:, 0]))
    assert names(model) == [("complete", True)]
    mixed = keras_mma.mixify(model, layers.CutMix())
    assert [layer.site for layer in mixed.layers if isinstance(layer, layers.FeatureMixAdapt)] == [1]


def test_a_network_without_feature_maps_is_mixed_at_the_input_only():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    assert keras_mma.mixing_points(model) == []
    (mixer,) = [layer for layer in keras_mma.mixify(model, layers.CutMix()).layers if isinstance(layer, layers.Mixer)]
    assert mixer.sites == (0,)


def test_several_inputs_raise():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    with pytest.raises(ValueError, match="with a single input, or `image` .* Received: Functional with 2 inputs"):
        keras_mma.mixing_points(keras.Model(inputs, head(keras.layers.Add()(inputs))))


def test_a_layer_that_is_called_again_is_not_suggested():
    inputs, relu = keras.Input((32, 32, 3)), keras.layers.ReLU(name="relu")
    x = inputs
    for name in ("a", "b", "c"):
        x = relu(conv(x, strides=2, name=name))
    model = keras.Model(inputs, head(x))
    assert names(model) == [("a", True), ("b", True), ("c", False)]
    assert keras_mma.mixify(model, layers.CutMix())


def test_the_activation_of_a_block_that_widens_the_features():
    inputs = keras.Input((16, 16, 3))
    x = conv(inputs, name="stem")
    x = keras.layers.Add(name="sum")([conv(x, 8), conv(x, 8)])
    model = keras.Model(inputs, head(keras.layers.ReLU(name="end")(x)))
    assert names(model) == [("end", True)]


class OfAnySize(keras.layers.Layer):
    """Does not say how large its maps are."""

    def call(self, x):
        return x

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], None, None, x.shape[3]), x.dtype)


def test_features_of_unstated_size_are_not_suggested():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, head(OfAnySize()(conv(inputs, strides=2, name="first"))))
    assert names(model) == [("first", True)]


def test_tokens_of_unknown_number_have_no_grid():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Reshape((-1, 8))(keras.layers.Conv2D(8, 8, strides=8, name="patches")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x)))
    assert names(model) == [("patches", True)]


def test_a_model_that_overrides_call_raises():
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2.0 * super().call(inputs, training=training)

    plain = residual()
    model = Doubled(plain.input, plain.output)
    for function in (keras_mma.mixing_points, lambda m: keras_mma.mixify(m, layers.CutMix(), at=["end0"])):
        with pytest.raises(ValueError, match="Received: a Doubled, which overrides `call`"):
            function(model)


def test_layers_of_the_same_name_in_different_nested_models_raise():
    inputs = keras.Input((32, 32, 3))
    parts = []
    for name, channels in (("one", 3), ("two", 4)):
        conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
        parts.append(keras.Sequential([keras.Input((32, 32, channels)), conv], name=name))
    model = keras.Model(inputs, head(parts[1](parts[0](inputs))))
    with pytest.raises(ValueError, match="layers of the same name.* brings together 'one/conv' and 'two/conv'"):
        keras_mma.mixify(model, layers.CutMix(), at=["one/conv", "two/conv"])


@pytest.mark.parametrize("at", [5, [None], [keras.layers.ReLU()]])
def test_names_that_are_not_strings_raise(at):
    with pytest.raises(ValueError, match="`at` must be a list of names of layers. Received: at="):
        keras_mma.mixify(residual(), layers.CutMix(), at=at)


def test_site_cannot_be_passed_and_errors_of_adapters_propagate():
    with pytest.raises(ValueError, match="`site` must not be passed.* Received: site=3"):
        keras_mma.mixify(residual(), layers.CutMix(), site=3)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Reshape((16, 6), name="tokens")(keras.layers.Conv2D(6, 8, strides=8)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    with pytest.raises(ValueError, match=r"`grid` must be .* Received: grid=\(5, 5\)"):
        keras_mma.mixify(model, layers.CutMix(), at=["tokens"], grid=(5, 5))


def test_a_frozen_network_has_the_same_points():
    base = residual()
    expected = names(base)
    base.trainable = False
    assert names(base) == expected
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(base(keras.layers.Rescaling(1 / 255)(inputs), training=False)))
    assert [point[1] for point in names(model)] == [point[1] for point in expected]


def test_statistics_of_the_data_are_no_weights():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.ReLU(name="nothing_learned_yet")(keras.layers.Normalization(mean=0.0, variance=1.0)(inputs))
    x = conv(x, strides=2, name="first")
    assert names(keras.Model(inputs, head(x))) == [("first", True)]


def test_a_network_without_points_triggers_a_warning_that_says_why():
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.warns(UserWarning, match="mixed at the input only: no layer returns feature maps"):
        keras_mma.mixify(flat, layers.CutMix())

    class Subclassed(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = keras.layers.Conv2D(4, 3)

        def call(self, inputs):
            return keras.ops.mean(self.conv(inputs), axis=(1, 2))

    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(Subclassed(name="inner")(inputs)))
    with pytest.warns(UserWarning, match=r"mixed at the input only: \['inner'\] are models without a graph"):
        keras_mma.mixify(model, layers.CutMix())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras_mma.mixify(model, layers.CutMix(), at=[])


def test_the_coarsest_resolution_is_no_default_unless_it_is_the_only_one():
    """Without blocks: of three resolutions two, of two one, of one that one."""

    def chain(stages):
        x = inputs = keras.Input((16, 16, 3))
        for stage in range(stages):
            x = conv(x, strides=1 if stage == 0 else 2, name=f"conv{stage}")
        return keras.Model(inputs, head(x))

    assert names(chain(1)) == [("conv0", True)]
    assert names(chain(2)) == [("conv0", True), ("conv1", False)]
    assert names(chain(3)) == [("conv0", True), ("conv1", True), ("conv2", False)]
    assert names(chain(4)) == [("conv0", True), ("conv1", True), ("conv2", False), ("conv3", False)]
    assert names(residual(2)) == [("end0", True), ("end1", False)]


class PooledSum(keras.layers.Layer):
    """The sum of two feature maps at half the resolution."""

    def call(self, x, y):
        return (x + y)[:, ::2, ::2]


def test_a_branch_of_one_layer_is_no_mixing_point():
    """The skip connection goes around that layer alone, and the layer is the last of its resolution."""
    inputs = keras.Input((16, 16, 3))
    stem = conv(inputs, name="stem")
    x = PooledSum(name="sum")(stem, conv(stem, name="branch"))
    model = keras.Model(inputs, head(conv(x, strides=2, name="last")))
    assert [name for name, _ in names(model)] == ["stem", "sum", "last"]
    with pytest.raises(ValueError, match="All features that reach the predictions must go through"):
        keras_mma.mixify(model, layers.CutMix(), at=["branch"])
