"""`mixify`: mixing points in an existing model."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers
from tests.pictures import blobs
from tests.tracing import UNTRACED


def functional(bypass=False):
    inputs = keras.Input((16, 20, 3), name="pictures")
    x = keras.layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    y = keras.layers.Conv2D(6, 3, padding="same", name="second")(x)
    x = keras.layers.Add(name="sum")([x, y]) * 0.5  # a raw operation
    if bypass:
        x = x + keras.ops.mean(inputs, -1, keepdims=True) / 255
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(x), name="net")


def sequential():
    return keras.Sequential(
        [
            keras.Input((16, 20, 3)),
            keras.layers.Conv2D(6, 3, name="first"),
            keras.layers.Conv2D(6, 3, name="second"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )


def nested():
    inputs = keras.Input((16, 20, 3))
    x = keras.Sequential([keras.layers.Conv2D(6, 3), keras.layers.ReLU()], name="first")(inputs)
    x = keras.layers.Conv2D(6, 3, name="second")(x)
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("build", [functional, sequential, nested])
def test_mixed_and_original_model_share_weights_and_predictions(build, rng):
    images, labels = blobs(rng, 12).astype("float32"), rng.integers(0, 5, 12)
    model = build()
    expected = model.predict(images, verbose=0)
    mixed = keras_mma.mixify(
        model, layers.SaliencyMix(seed=1), at=["first", "sum"] if build is functional else ["first", "second"]
    )
    np.testing.assert_allclose(mixed.predict(images, verbose=0), expected, atol=1e-5)
    assert {id(w) for w in model.weights} == {id(w) for w in mixed.weights if "seed" not in w.path}
    mode = {} if build is functional else UNTRACED
    mixed.compile(keras.optimizers.SGD(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True), **mode)
    mixed.fit(images, labels, epochs=2, verbose=0)
    trained = model.predict(images, verbose=0)
    assert not np.allclose(trained, expected)
    np.testing.assert_allclose(mixed.predict(images, verbose=0), trained, atol=1e-5)


def test_all_paths_from_the_input_receive_mixed_images(rng):
    model = functional(bypass=True)
    mixed = keras_mma.mixify(model, layers.MixUp(seed=1), at=[])
    images = blobs(rng, 8).astype("float32")
    predictions, plan = mixed(images, training=True)
    blended = keras_mma.plans.mix_images(images, plan)
    expected = ops.convert_to_numpy(model(blended))
    np.testing.assert_allclose(ops.convert_to_numpy(predictions), expected, atol=1e-4)


def test_sites_are_numbered_by_at_and_the_passed_mixer_is_unchanged():
    mixer = layers.CutMix(probability=0.5, seed=1)
    mixed = keras_mma.mixify(functional(), mixer, at=["first", "sum"], temperature=0.5)
    adapters = {layer.site: layer for layer in mixed.layers if isinstance(layer, layers.FeatureMixAdapt)}
    assert sorted(adapters) == [1, 2] and adapters[1].temperature == 0.5 and mixer.sites == (0,)
    (used,) = [layer for layer in mixed.layers if isinstance(layer, layers.Mixer)]
    assert used.sites == (0, 1, 2) and used.probability == 0.5
    features_only = keras_mma.mixify(functional(), layers.CutMix(sites=(1,)), at="first")
    assert [layer.sites for layer in features_only.layers if isinstance(layer, layers.Mixer)] == [(1,)]


def test_a_saved_model_loads(rng, tmp_path):
    images = blobs(rng, 4).astype("float32")
    mixed = keras_mma.mixify(functional(), layers.SaliencyMix(), at=["first"])
    mixed.save(tmp_path / "mixed.keras")
    copy = keras.models.load_model(tmp_path / "mixed.keras")
    np.testing.assert_allclose(copy.predict(images, verbose=0), mixed.predict(images, verbose=0), atol=1e-6)


@pytest.mark.parametrize("choose", [False, True])
def test_a_detector_that_cannot_be_serialized_is_copied(choose):
    mixer = layers.SaliencyMix(detector=functools.partial(lambda images, scale: scale * images[..., :1], scale=2.0))
    mixed = keras_mma.mixify(sequential(), layers.RandomChoice([mixer]) if choose else mixer, at=["first"])
    assert (mixed.mixer.mixers[0] if choose else mixed.mixer).detector is mixer.detector


def test_mixers_that_move_or_resize_images_mix_at_the_input_only_by_default():
    for mixer in (
        layers.ResizeMix(),
        layers.PuzzleMix(transport=True),
        layers.SaliencyMix(scheme="salient_to_salient"),
    ):
        assert keras_mma.mixify(sequential(), mixer).mixer.sites == (0,)
    assert keras_mma.mixify(sequential(), layers.CutMix()).mixer.sites == (0, 1)


def test_invalid_arguments_raise():
    model = functional()
    first, second = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    two = keras.Model([first, second], keras.layers.Add()([first, second]))
    for call, match in (
        (
            lambda: keras_mma.mixify(model, layers.CutMix(), at=["frist"]),
            r"Did you mean \['first'\]\? Received: 'frist'",
        ),
        (
            lambda: keras_mma.mixify(model, layers.CutMix(), at=["first", "first"]),
            "Received: 'first' more than once",
        ),
        (
            lambda: keras_mma.mixify(model, layers.CutMix(), at=["head"]),
            "layers that return one feature map .* Received: 'head'",
        ),
        (lambda: keras_mma.mixify(model, keras.layers.ReLU()), "`mixer` must be a `Mixer`"),
        (lambda: keras_mma.mixify(model, layers.CutMix), r"must be an instance: use CutMix\(\). Received: the class"),
        (
            lambda: keras_mma.mixify(two, layers.CutMix()),
            "single input, or `image` must name .* Received: Functional with 2 inputs",
        ),
        (
            lambda: keras_mma.mixify(keras.Sequential([keras.layers.ReLU()]), layers.CutMix()),
            "must be built first",
        ),
        (
            lambda: keras_mma.mixify(keras_mma.mixify(model, layers.CutMix()), layers.CutMix()),
            "Received: a MixModel",
        ),
        (
            lambda: keras_mma.mixify(model, layers.CutMix(sites=(0, 3)), at=["first"]),
            r"Received: sites=\(0, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_the_order_of_sites_does_not_matter():
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(4, 3, name="second")(keras.layers.Conv2D(4, 3, name="first")(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    mixer = layers.CutMix(sites=(2, 1), site_weights=(3, 1))
    mixed = keras_mma.mixify(model, mixer, at=["first", "second"])
    assert mixed.mixer.sites == (2, 1) and mixed.mixer.site_weights == (3, 1)


def test_a_layer_that_features_bypass_raises():
    with pytest.raises(ValueError, match="must go through .*not inside a branch"):
        keras_mma.mixify(functional(), layers.CutMix(), at=["second"])
    with pytest.raises(ValueError, match="features that go around it"):
        keras_mma.mixify(functional(bypass=True), layers.CutMix(), at=["sum"])


def test_a_layer_that_is_called_twice_and_the_input_layer_raise():
    inputs = keras.Input((8, 8, 3), name="pictures")
    conv = keras.layers.Conv2D(3, 1, name="twice")
    x = keras.layers.GlobalAveragePooling2D()(conv(conv(inputs)))
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match="layers that are called once. Received: 'twice', which is called again"):
        keras_mma.mixify(model, layers.CutMix(), at=["twice"])
    with pytest.raises(ValueError, match="`at` must name layers of"):
        keras_mma.mixify(model, layers.CutMix(), at=["pictures"])


def test_an_unregistered_detector_can_be_used(rng):
    mixer = layers.SaliencyMix(detector=lambda images: images[..., :1], seed=1)
    mixed = keras_mma.mixify(functional(), mixer, at=["first"])
    assert mixed(blobs(rng, 4).astype("float32"), training=True)[0].shape == (4, 5)


@pytest.mark.parametrize("adapter", [object, "CatchUpMix", layers.CutMix, layers.CatchUpMix(1)], ids=str)
def test_another_adapter_raises(adapter):
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="^`adapter` must be a subclass of `FeatureMixer`.* Received: adapter="):
        keras_mma.mixify(keras.Model(inputs, keras.layers.Flatten()(inputs)), layers.MixUp(), at=[], adapter=adapter)


def test_adapters_inherit_the_data_format_of_the_mixer():
    inputs = keras.Input((3, 16, 20))
    x = keras.layers.Conv2D(6, 3, strides=2, data_format="channels_first", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x))
    mixed = keras_mma.mixify(model, layers.CutMix(data_format="channels_first"), at=["conv"])
    (adapter,) = [layer for layer in mixed.layers if isinstance(layer, layers.FeatureMixAdapt)]
    assert adapter.data_format == "channels_first"


def test_the_weights_of_the_sites_stay():
    network = keras_mma.models.WideResNet(10, 1, classes=4)
    mixer = layers.CutMix(sites=(0, 1, 2), site_weights=[8, 1, 1])
    assert keras_mma.mixify(network, mixer, at=["stage1", "stage2"]).mixer.site_weights == (8, 1, 1)
    assert mixer.copy(probability=0.5).site_weights == mixer.copy(sites=[0, 1, 2]).site_weights == (8, 1, 1)
    assert mixer.copy(sites=(0, 2)).site_weights is None  # weights belong to the sites


def two_inputs(as_dict):
    """A network that calls a nested model of two inputs with a dict whose keys, sorted, are in another order."""
    image, edges = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 3), name="edges")
    x = keras.layers.Conv2D(4, 3, name="stem")(image) + 9 * keras.layers.Conv2D(4, 3)(edges)
    sources = {"image": image, "edges": edges} if as_dict else [image, edges]
    backbone = keras.Model(sources, keras.layers.ReLU(name="block")(x), name="backbone")
    images = keras.Input((8, 8, 3))
    x = backbone({"image": images, "edges": -images, "unused": 5 * images})
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_a_nested_model_finds_its_inputs_in_a_dict(as_dict, rng):
    images = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    network = two_inputs(as_dict)
    mixed = keras_mma.mixify(network, layers.CutMix(), at=["backbone/block"])
    np.testing.assert_allclose(ops.convert_to_numpy(mixed(images)), ops.convert_to_numpy(network(images)), atol=1e-5)
    assert keras_mma.mixing_points(network)


def test_a_nested_model_casts_its_inputs(rng, tmp_path):
    source = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="block")(keras.layers.ReLU(name="first")(source))
    base = keras.Model(source, keras.layers.Conv2D(4, 3)(x), name="base")
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(base(inputs))))
    mixed = keras_mma.mixify(network, layers.CutMix(), at=["base/block"])
    mixed.save(tmp_path / "mixed.keras")
    copy = keras.models.load_model(tmp_path / "mixed.keras")
    images = rng.integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    expected, *others = (
        ops.convert_to_numpy(model(images)) for model in (network, mixed, copy, copy.inference_model())
    )
    for predictions in others:
        np.testing.assert_allclose(predictions, expected, rtol=1e-5)


def test_a_cast_of_an_input_is_no_mixing_point():
    """It lies between two layers with weights, at the end of the maps of its size."""
    source = keras.Input((6, 6, 4), dtype="float16", name="features")
    head = keras.layers.Conv2D(4, 3, strides=2, name="next")(source)
    nested = keras.Model(source, head, name="nested")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="stem")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(nested(x))))
    names = [point.name for point in keras_mma.mixing_points(network)]
    assert names == ["stem", "nested/next"]


def test_a_data_loader_trains_like_arrays(rng):
    torch = pytest.importorskip("torch")
    images, labels = blobs(rng, 12).astype("float32"), rng.integers(0, 3, 12)
    histories = []
    for form in ("arrays", "loader"):
        keras.utils.set_random_seed(1)
        network = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.GlobalAveragePooling2D()])
        network.add(keras.layers.Dense(3))
        model = keras_mma.mixify(network, layers.CutMix(seed=2), at=[])
        model.compile(keras.optimizers.SGD(1e-5), keras.losses.CategoricalCrossentropy(from_logits=True))
        if form == "arrays":
            history = model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
        else:
            data = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
            history = model.fit(torch.utils.data.DataLoader(data, batch_size=4), epochs=2, verbose=0)
        histories.append(history.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)


def test_a_checkpoint_of_the_weights_is_read_by_the_network(rng, tmp_path):
    images, labels = blobs(rng, 8).astype("float32"), rng.integers(0, 3, 8)
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 20, 3), classes=3)
    model = keras_mma.mixify(network, layers.CutMix(seed=2), at=["stage1"])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    path = str(tmp_path / "best.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_weights_only=True)
    model.fit(images, labels, validation_data=(images, labels), verbose=0, callbacks=[checkpoint])
    other = keras_mma.models.WideResNet(10, 1, input_shape=(16, 20, 3), classes=3)
    other.load_weights(path)
    for own, trained in zip(other.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(own, trained)


@pytest.mark.parametrize("arguments", [{"at": []}, {"at": [], "adapter": layers.CatchUpMix}])
def test_arguments_of_layers_that_mix_no_features_are_refused(arguments):
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=3)
    with pytest.raises(
        ValueError, match=r"`at` must name a layer .* `label` is an argument .* Received: label='mixer', at=\[\]"
    ):
        keras_mma.mixify(network, layers.CutMix(), label="mixer", **arguments)
