"""Attributions of the network in training: correct, without side effects, with shared weights."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers
from keras_mma.saliency import attribution
from tests.layers.mixers import to_numpy
from tests.pictures import blobs

DETECTORS = ["activation", "gradient"]


def network():
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="tanh", name="second")(x)
    x = keras.layers.Dropout(0.5, seed=1)(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(keras.layers.GlobalAveragePooling2D()(x)))


def mixed_model(detector, mixer=layers.SaliencyGrafting, at=("second",), **kwargs):
    plain = network()
    plain.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 4))
    return plain, keras_mma.mixify(plain, mixer(detector=detector, seed=3, **kwargs), at=list(at))


def mixer_of(model):
    (mixer,) = [layer for layer in model.layers if isinstance(layer, layers.Mixer)]
    return mixer


@pytest.fixture
def data(rng):
    return blobs(rng, 8).astype("float32") / 255, rng.integers(0, 5, 8)


def test_gradient_equals_that_of_single_images(needs_tensorflow, data):
    import tensorflow as tf

    plain, model = mixed_model("gradient")
    maps = to_numpy(mixer_of(model).saliency_maps(tf.constant(data[0])))
    for saliency_map, image in zip(maps, data[0], strict=True):
        x = tf.constant(image[None])
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_max(plain(x, training=False))
        expected = np.sqrt((tape.gradient(score, x).numpy()[0] ** 2).sum(-1))
        np.testing.assert_allclose(saliency_map[..., 0], expected, atol=1e-5, rtol=1e-4)
        assert expected.max() > 1e-3


def test_gradient_equals_finite_differences(data):
    plain, model = mixed_model("gradient")
    images = data[0][:1]
    saliency_map = to_numpy(mixer_of(model).saliency_maps(ops.convert_to_tensor(images)))[0, ..., 0]
    best = plain.predict(images, verbose=0)[0].argmax()
    for y, x in ((0, 0), (7, 9), (15, 19)):
        slopes = []
        for channel in range(3):
            pair = np.repeat(images, 2, 0)
            pair[0, y, x, channel] -= 0.01
            pair[1, y, x, channel] += 0.01
            low, high = plain.predict(pair, verbose=0)[:, best]
            slopes.append((high - low) / 0.02)
        assert saliency_map[y, x] == pytest.approx(np.linalg.norm(slopes), abs=2e-4, rel=0.05)


@pytest.mark.parametrize("layer", [None, "relu"])
def test_activation_is_the_channel_energy(data, layer):
    plain, model = mixed_model("activation", attribution_layer=layer)
    maps = to_numpy(mixer_of(model).saliency_maps(ops.convert_to_tensor(data[0])))
    name = layer or "second"  # only dropout follows, which is inactive
    features = keras.Model(plain.input, plain.get_layer(name).output).predict(data[0], verbose=0)
    energy = (features**2).mean(-1, keepdims=True)
    if layer:
        np.testing.assert_allclose(maps, energy, atol=1e-5)
    else:
        assert maps.shape == (8, 16, 20, 1)
        np.testing.assert_allclose(maps[:, 1:-1:2, 1:-1:2].mean(), energy.mean(), rtol=0.1)


@pytest.mark.parametrize("detector", DETECTORS)
def test_attributions_change_no_variables(data, detector):
    plain, model = mixed_model(detector)
    before = [ops.convert_to_numpy(v) for v in model.variables if v is not mixer_of(model).seed_generator.state]
    mixer = mixer_of(model)
    mixer(data[0], training=True)
    after = [ops.convert_to_numpy(v) for v in model.variables if v is not mixer.seed_generator.state]
    keras.tree.map_structure(np.testing.assert_array_equal, before, after)
    # A training call updates the moving statistics once, as a call of the network without attributions does.
    unmixed, plain = mixed_model(detector, probability=0.0)[1], network()
    plain.set_weights(unmixed.inference_model().get_weights())
    unmixed(data[0], training=True)
    plain(data[0], training=True)
    for ours, theirs in zip(unmixed.inference_model().get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_attributions_do_not_change_the_loss(data):
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(4, 3, activity_regularizer=keras.regularizers.L2(0.1), name="first")(inputs)
    plain = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    histories = []
    for name in (None, *DETECTORS):
        mixer = layers.SaliencyMix(detector=name, probability=0.0) if name else layers.CutMix(probability=0.0)
        model = keras_mma.mixify(plain, mixer)
        model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=keras.backend.backend() == "jax")
        histories.append(model.fit(data[0], data[1], epochs=2, shuffle=False, verbose=0).history["loss"])
    for history in histories[1:]:
        np.testing.assert_allclose(history, histories[0], rtol=1e-5)


@pytest.mark.sampled
@pytest.mark.parametrize("mixer", [layers.GuidedMixup, layers.SaliencyGrafting, layers.SaliencyMix])
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    "mode",
    [{}, {"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)],
    ids=["graph", "eager", "xla"],
)
def test_models_train_with_attributions(data, detector, mode, mixer):
    plain, model = mixed_model(detector, mixer)
    model.compile(keras.optimizers.SGD(0.01), "mse", **{"jit_compile": False, **mode})
    before = plain.get_weights()
    history = model.fit(data[0], data[1], batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, plain.get_weights(), strict=True))
    np.testing.assert_allclose(model.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), atol=1e-5)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_maps_are_float32_and_nonzero(data, detector, policy):
    expected = to_numpy(mixer_of(mixed_model(detector)[1]).saliency_maps(ops.convert_to_tensor(data[0])))
    keras.utils.set_random_seed(0)
    weights = mixed_model(detector)[0].get_weights()
    keras.config.set_dtype_policy(policy)
    plain, model = mixed_model(detector)
    plain.set_weights(weights)
    maps = to_numpy(mixer_of(model).saliency_maps(ops.convert_to_tensor(data[0])))
    assert maps.dtype == "float32" and np.isfinite(maps).all() and (maps.max((1, 2, 3)) > 0).all()
    tolerance = {"mixed_float16": 0.02, "mixed_bfloat16": 0.1}[policy]
    np.testing.assert_allclose(maps, expected, atol=tolerance * expected.max())


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_loaded_model_computes_attributions_with_its_own_weights(data, detector, tmp_path):
    plain, model = mixed_model(detector)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(data[0], data[1], verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert len(copy.weights) == len(model.weights)
    assert {w.path.split("/")[-1] for w in copy.weights} == {w.path.split("/")[-1] for w in model.weights}
    images = ops.convert_to_tensor(data[0])
    np.testing.assert_allclose(
        to_numpy(mixer_of(copy).saliency_maps(images)), to_numpy(mixer_of(model).saliency_maps(images)), atol=1e-5
    )
    before = to_numpy(mixer_of(copy).saliency_maps(images))
    copy.fit(data[0], data[1], epochs=3, verbose=0)
    after = to_numpy(mixer_of(copy).saliency_maps(images))
    assert not np.allclose(before, after, atol=1e-7)  # training changed its weights, and so the maps
    np.testing.assert_allclose(
        to_numpy(mixer_of(model).saliency_maps(images)), before, atol=1e-5
    )  # the original model is unchanged


@pytest.mark.parametrize("detector", DETECTORS)
def test_exported_models_predict_the_same_and_have_no_other_variables(needs_tensorflow, data, detector, tmp_path):
    import tensorflow as tf

    plain, model = mixed_model(detector)
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(served.serve(data[0]), plain.predict(data[0], verbose=0), atol=1e-5)
    assert len(served.variables) == len(plain.variables)


@pytest.mark.parametrize("detector", DETECTORS)
def test_channels_first_equals_channels_last(rng, detector):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels-first convolution on the CPU")
    images = rng.random((3, 8, 10, 3)).astype("float32")
    maps = []
    for data_format in ("channels_last", "channels_first"):
        inputs = keras.Input((8, 10, 3) if data_format == "channels_last" else (3, 8, 10))
        conv = keras.layers.Conv2D(4, 3, padding="same", activation="tanh", data_format=data_format)
        x = keras.layers.GlobalAveragePooling2D(data_format=data_format)(conv(inputs))
        plain = keras.Model(inputs, keras.layers.Dense(5)(x))
        plain.set_weights([np.linspace(-1, 1, w.size).reshape(w.shape) for w in plain.get_weights()])
        mixer = mixer_of(keras_mma.mixify(plain, layers.SaliencyMix(detector=detector, data_format=data_format)))
        x = images if data_format == "channels_last" else images.transpose(0, 3, 1, 2)
        maps.append(to_numpy(mixer.saliency_maps(ops.convert_to_tensor(x))))
        # As in plots, whose images are channels last.
        copy = mixer.copy(data_format="channels_last")
        maps.append(to_numpy(copy.saliency_maps(ops.convert_to_tensor(images))))
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-5)


def test_the_default_layer_has_maps_of_more_than_one_pixel():
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(4, 3, name="map")(inputs)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    plain = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Conv2D(5, 1, name="scores")(x)))
    mixer = mixer_of(keras_mma.mixify(plain, layers.SaliencyMix(detector="activation")))
    maps = to_numpy(mixer.saliency_maps(ops.convert_to_tensor(np.random.rand(2, 16, 20, 3), "float32")))
    assert maps.std((1, 2, 3)).min() > 1e-4


def test_unsuitable_layers_and_inputs_raise():
    plain = network()
    mixer = layers.SaliencyMix(detector="activation", attribution_layer="head")
    with pytest.raises(
        ValueError, match=r"`attribution_layer` must name a layer that returns feature maps .* Received: .*'head'"
    ):
        keras_mma.mixify(plain, mixer)
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    with pytest.raises(ValueError, match="'gradient' requires a model with float inputs.* dtype uint8"):
        keras_mma.mixify(keras.Model(inputs, keras.layers.Dense(2)(x)), layers.SaliencyMix(detector="gradient"))


@pytest.mark.parametrize("detector", DETECTORS)
def test_layers_in_front_of_the_mixer_are_not_applied_twice(data, detector):
    plain = network()
    front = [keras.layers.Rescaling(1 / 50.0, offset=-1.0), keras.layers.RandomFlip("horizontal")]
    inputs = keras.Input((16, 20, 3))
    behind = keras.Model(inputs, plain(front[1](front[0](inputs))))
    model = keras_mma.mixify(behind, layers.SaliencyMix(detector=detector, seed=3), at=["second"])
    expected = keras_mma.mixify(plain, layers.SaliencyMix(detector=detector, seed=3), at=["second"])
    images = ops.convert_to_tensor(data[0])  # as the mixer receives them, behind the flip
    maps, expected_maps = (to_numpy(mixer_of(m).saliency_maps(images)) for m in (model, expected))
    np.testing.assert_allclose(maps, expected_maps, rtol=1e-4, atol=1e-6)
    assert expected_maps.std() > 1e-4


def test_layers_in_front_of_the_first_weights_are_no_default(data):
    base = keras.Sequential(
        [keras.Input((16, 20, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    )
    inputs = keras.Input((16, 20, 3))
    plain = keras.Model(inputs, keras.layers.Dense(5)(base(keras.layers.Rescaling(2.0, name="rescale")(inputs))))
    with pytest.raises(ValueError, match="by default, it is the last of those that depend on weights, \\[\\]"):
        keras_mma.mixify(plain, layers.SaliencyMix(detector="activation"), at=[])
    named = layers.SaliencyMix(detector="activation", attribution_layer="rescale")
    maps = to_numpy(mixer_of(keras_mma.mixify(plain, named, at=[])).saliency_maps(ops.convert_to_tensor(data[0])))
    assert np.isfinite(maps).all() and maps.std() > 0


def test_gradients_of_float16_that_would_underflow_do_not():
    """1e-8 is no float16, 1e-5 is."""

    class View:
        to_channels_last = staticmethod(lambda values: values)

        @staticmethod
        def predictions(images):
            x = ops.cast(images, "float16")
            return ops.sum(ops.cast(x * ops.cast(1e-4, "float16") * ops.cast(1e-4, "float16"), "float32"), axis=(1, 2))

    maps = to_numpy(attribution.gradient(View, ops.ones((2, 3, 3, 1))))
    assert maps.dtype == "float32"
    np.testing.assert_allclose(maps, 1e-8, rtol=0.05)
