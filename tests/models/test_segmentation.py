"""Networks whose predictions are maps: training, ignored pixels, weights of pixels, heads, saving and export."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plans
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.pictures import blobs

CROSSENTROPY = keras.losses.CategoricalCrossentropy(from_logits=True)
CLASSES = 3


def u_net(size=16):
    """A U-Net of two resolutions behind a stem."""

    def block(x, filters, name):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
        return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_norm")(x))

    inputs = keras.Input((size, size, 3))
    fine = block(keras.layers.Rescaling(1 / 255)(inputs), 4, "fine")
    coarse = block(keras.layers.MaxPooling2D()(fine), 8, "coarse")
    x = keras.layers.Concatenate(name="meet")([keras.layers.UpSampling2D()(coarse), fine])
    return keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1, name="logits")(block(x, 4, "decoder")))


@pytest.fixture
def data(rng):
    return blobs(rng, 8, 16, 16).astype("float32"), rng.integers(0, CLASSES, (8, 16, 16))


def convolution(mixer, sites=()):
    """A small network whose predictions are a map, not trained, so that a loss can be computed by hand."""
    inputs = keras.Input((16, 16, 3))
    x, plan = mixer(inputs)
    x = keras.layers.Rescaling(1 / 255)(x)
    for site in sites:
        x, plan = layers.FeatureMixAdapt(site)(keras.layers.Conv2D(4, 3, padding="same")(x), plan)
    return keras_mma.MixModel(inputs, (keras.layers.Conv2D(CLASSES, 1, name="map")(x), plan))


def pixel_loss(labels, logits):
    logits = logits.astype("float64") - logits.max(-1, keepdims=True)
    return -(labels * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)


def step(model, images, labels, **fit):
    """The history of one training step that changes nothing."""
    compile_arguments = {name: fit.pop(name) for name in ("ignore_class", "weighted_metrics") if name in fit}
    model.compile(keras.optimizers.SGD(0.0), CROSSENTROPY, **compile_arguments)
    return model.fit(images, labels, batch_size=len(images), shuffle=False, verbose=0, **fit).history


def test_the_loss_is_that_of_the_mixed_pixels_and_weights(data, rng):
    images, labels = data
    labels = np.where(rng.random(labels.shape) < 0.3, 255, labels).astype("uint8")
    weights = rng.random(labels.shape).astype("float32")
    model = convolution(layers.MixUp(seed=3))
    history = step(model, images, labels, sample_weight=weights, ignore_class=255, weighted_metrics=["accuracy"])
    mixed, plan = to_numpy(layers.MixUp(seed=3)(images, training=True))
    predictions = model.predict(mixed, verbose=0)
    # The sum of the two losses of the pixel, each with its share and its weight, if these are equal: here they differ
    # and the mixed label is weighted by the mixed weight.
    counted = (labels != 255).astype("float32")
    one_hot = np.eye(256)[labels][..., :CLASSES]
    own = plan["mask"][..., 0]
    share = own * counted + (1 - own) * counted[plan["partner"]]
    mixed_labels = oracles.mix(one_hot * counted[..., None], plan) / np.where(share > 0, share, 1)[..., None]
    mixed_weights = oracles.mix((counted * weights)[..., None], plan)[..., 0]
    expected = (pixel_loss(mixed_labels, predictions) * mixed_weights).mean()
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-4)
    is_right = mixed_labels.argmax(-1) == predictions.argmax(-1)
    accuracy = (is_right * mixed_weights).sum() / mixed_weights.sum()
    np.testing.assert_allclose(history["accuracy"][0], accuracy, rtol=1e-3)


def test_what_is_ignored_reaches_neither_loss_nor_gradient(data, rng):
    """The prediction of an ignored pixel may be anything."""
    images, labels = data
    ignored = rng.random(labels.shape) < 0.5
    labels = np.where(ignored, -1, labels)
    model = convolution(layers.CutMix(probability=0.0))
    images[ignored] = 1e6
    loss = step(model, images, labels, ignore_class=-1)["loss"][0]
    logits = model.predict(images, verbose=0)
    expected = (pixel_loss(np.eye(CLASSES)[labels], logits) * ~ignored).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(model.evaluate(images, labels, verbose=0), expected, rtol=1e-4)


@pytest.mark.parametrize("form", ["samples", "pixels"])
def test_equal_weights_scale_the_loss(data, form):
    images, labels = data
    losses = [
        step(convolution(layers.CutMix(sites=(0, 1), seed=3), (1,)), images, labels, **fit)["loss"][0]
        for fit in (
            {},
            {"sample_weight": np.full(labels.shape if form == "pixels" else 8, 0.25, "float32")},
        )
        if keras.utils.set_random_seed(1) is None
    ]
    np.testing.assert_allclose(losses[1], losses[0] / 4, rtol=1e-5)


@pytest.mark.parametrize("sites", [(0,), (1,)])
@pytest.mark.parametrize("as_dict", [True, False])
def test_a_map_and_a_vector_follow_one_plan(sites, as_dict, rng):
    """The first channel of the images is the map, the second one is constant and holds the vector's number."""
    maps, numbers = rng.random((8, 16, 16, 1)).astype("float32"), rng.random(8).astype("float32")
    constant = np.broadcast_to(numbers[:, None, None, None], maps.shape)
    images = np.concatenate([maps, constant, blobs(rng, 8, 16, 16, 1) / 255.0], -1)
    inputs = keras.Input((16, 16, 3))
    x, plan = layers.CutMix(sites=sites, seed=3)(inputs)
    if sites == (1,):
        x, plan = layers.FeatureMixAdapt(1)(keras.layers.Identity()(x), plan)
    heads = [x[..., :1], keras.layers.GlobalAveragePooling2D()(x)[:, 1:2]]
    y = [maps, numbers]
    if as_dict:
        heads, y = dict(zip("mv", heads, strict=True)), dict(zip("mv", y, strict=True))
    model = keras_mma.MixModel(inputs, (heads, plan))
    model.compile("sgd", {"m": "mse", "v": "mse"} if as_dict else ["mse", "mse"], run_eagerly=True)
    assert model.fit(images, y, batch_size=4, verbose=0).history["loss"][0] < 1e-8
    weights = rng.random(8).astype("float32")
    assert model.fit(images, y, sample_weight=weights, batch_size=4, verbose=0).history["loss"][0] < 1e-8
    of_pixels = [rng.random((8, 16, 16)).astype("float32"), weights]
    of_pixels = dict(zip("mv", of_pixels, strict=True)) if as_dict else of_pixels
    assert model.fit(images, y, sample_weight=of_pixels, batch_size=4, verbose=0).history["loss"][0] < 1e-8
    with pytest.raises(ValueError, match="`sample_weight` must be weights of samples.* in the structure of `y`"):
        model.follow_plan(y, model(images), np.ones((8, 16, 16), "float32"))


def test_calibrated_labels_are_for_vectors(data):
    images, labels = data
    model = convolution(layers.SaliencyMix(label="saliency", seed=3))
    predictions, plan = model(images, training=True)
    mixed, _, _ = model.follow_plan(labels, (predictions, plan))
    np.testing.assert_allclose(to_numpy(mixed), oracles.mix(np.eye(CLASSES)[labels], to_numpy(plan)), atol=1e-5)
    model = convolution(layers.CutMix(label="sumix", seed=3))
    _, plan = to_numpy(model(images, training=True))
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    "mixer", [layers.ResizeMix(name="mixer"), layers.SaliencyMix(scheme="salient_to_nonsalient", name="mixer")]
)
def test_maps_refuse_mixers_that_move_the_partner(data, mixer):
    images, labels = data
    model = convolution(mixer)
    model.compile("sgd", CROSSENTROPY)
    with pytest.raises(ValueError, match="`y` must not be maps for the mixer 'mixer', which moves.* Received: y of"):
        model.fit(images, labels, verbose=0)
    # The alternative that the error names. (JAX takes the variables of a model away until `fit` ends.)
    batch = mixer.copy()({"images": images, "segmentation_masks": labels})
    assert set(batch) == {"images", "segmentation_masks"}


def test_labels_that_do_not_fit_raise_in_fit(data):
    images, labels = data
    model = convolution(layers.CutMix())
    for ignore_class in (1.5, True, 2**31):
        with pytest.raises(ValueError, match="`ignore_class` must be an integer.* Received: ignore_class="):
            model.compile("sgd", CROSSENTROPY, ignore_class=ignore_class)
    model.compile("sgd", CROSSENTROPY, ignore_class=-1)
    for invalid, match in (
        (labels[:, :8], r"`y` must be maps of the size of the predictions.* Received: y of shape \(8, 8, 16\)"),
        (labels + 1, "`y` must be class indices from 0 to 2, or the ignored class -1.* Received: y with the label 3"),
        (labels.astype("uint8"), "`ignore_class` must be a value that labels of dtype uint8 can have"),
        (labels[:, 0, 0], r"Received: y of shape \(8,\)"),
        ({"boxes": np.zeros((8, 5, 4))}, "`y` must name heads"),
    ):
        with pytest.raises(ValueError, match=match):
            model.fit(images, invalid, verbose=0)
    with pytest.raises(ValueError, match="ignore_class=255"):
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=255))


@pytest.mark.slow
def test_a_u_net_trains_and_loads_with_its_ignored_class(data, tmp_path):
    images, labels = data
    network = u_net()
    assert [tuple(point) for point in keras_mma.mixing_points(network)] == [("fine_relu", (16, 16, 4), True)]
    with pytest.raises(ValueError, match="a layer that a skip connection bypasses; `keras_mma.mixing_points` lists"):
        keras_mma.mixify(network, layers.CutMix(), at=["coarse_relu"])
    model = keras_mma.mixify(network, layers.SaliencyMix(seed=1))
    assert model.mixer.sites == (0, 1)
    labels = np.where(labels == 1, 255, labels)
    iou = keras.metrics.OneHotMeanIoU(CLASSES, sparse_y_pred=False, dtype="float32")
    model.compile(keras.optimizers.Adam(0.01), CROSSENTROPY, weighted_metrics=[iou], ignore_class=255)
    model.fit(images, labels, epochs=2, validation_data=(images, labels), verbose=0)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.ignore_class == 255
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    np.testing.assert_allclose(
        reloaded.evaluate(images, labels, verbose=0), model.evaluate(images, labels, verbose=0), rtol=1e-4
    )
    reloaded.fit(images, labels, verbose=0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "saved", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "saved"))
        served = loaded.serve(images)
        np.testing.assert_allclose(served, network.predict(images, verbose=0), atol=1e-5)


def test_points_stop_where_the_maps_are_enlarged():
    """Without skip connections, all layers are cuts; those of the decoder and the logits are no mixing points."""
    inputs = x = keras.Input((16, 16, 3))
    for name, resize in (("a", None), ("b", keras.layers.MaxPooling2D()), ("c", keras.layers.UpSampling2D())):
        x = keras.layers.Conv2D(4, 3, padding="same", name=name)(x if resize is None else resize(x))
    model = keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1, name="logits")(x))
    assert [(point.name, point.is_default) for point in keras_mma.mixing_points(model)] == [("a", True), ("b", True)]
    flat = keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(keras.layers.Conv2D(4, 3, name="only")(inputs)))
    assert [(point.name, point.is_default) for point in keras_mma.mixing_points(flat)] == [("only", True)]


def test_class_weights_of_maps_raise(data):
    model = convolution(layers.CutMix())
    model.compile("sgd", CROSSENTROPY)
    with pytest.raises(ValueError, match="`class_weight` must be `None` for predictions that are maps.* Received: cl"):
        model.fit(*data, class_weight={0: 2.0}, verbose=0)


def test_boxes_raise(data, rng):
    """Neither a batch with boxes nor the labels of a detector can be mixed."""
    images, _ = data
    boxes, classes = rng.random((8, 5, 4)).astype("float32"), rng.integers(0, 4, (8, 5))
    for batch in (
        {"images": images, "labels": np.arange(8) % 3, "boxes": boxes},
        {"images": images, "labels": np.arange(8) % 3, "bounding_boxes": boxes},
    ):
        with pytest.raises(ValueError, match="Received: .*boxes.* cannot be mixed"):
            layers.CutMix(num_classes=3)(batch)
    for labels in (boxes, {"boxes": boxes, "classes": np.arange(8) % 3}):
        with pytest.raises(ValueError, match=r"Boxes cannot be mixed.* Received: labels of shape \(8, 5, 4\)"):
            layers.CutMix(num_classes=3)({"images": images, "labels": labels})
    inputs = keras.Input((16, 16, 3))
    x, plan = layers.CutMix()(inputs)
    x = keras.layers.Reshape((64, 4))(keras.layers.Conv2D(4, 3, strides=2, padding="same")(x))
    model = keras_mma.MixModel(inputs, ({"boxes": x, "classes": keras.layers.Dense(5)(x)}, plan))
    model.compile("sgd", {"boxes": "mse", "classes": "mse"})
    for y in ({"boxes": boxes}, {"classes": classes}):
        with pytest.raises(ValueError, match="such as boxes, cannot be mixed. Received: predictions of shape"):
            model.fit(images, y, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("low_level", [pytest.param(None, marks=pytest.mark.exhaustive), "P2"])
def test_a_deeplab_of_keras_hub_trains_saves_and_exports(needs_tensorflow, low_level, rng, tmp_path):
    import keras_hub
    import tensorflow as tf

    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key=low_level,
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[2],
        projection_filters=8,
        image_shape=(32, 32, 3),
    )
    network = keras_hub.models.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=CLASSES)
    points = keras_mma.mixing_points(network)
    # The features of the finest stage go around what follows.
    assert len(points) == (4 if low_level is None else 2)
    images, labels = blobs(rng, 8, 32, 32).astype("float32"), rng.integers(0, CLASSES, (8, 32, 32))
    model = keras_mma.mixify(network, layers.SaliencyMix(seed=1))
    assert len(model.mixer.sites) > 1
    model.compile("adam", CROSSENTROPY, metrics=["accuracy"])
    model.fit(images, labels, batch_size=4, verbose=0)
    expected = model.predict(images, verbose=0)
    # A layer of KerasHub, `SpatialPyramidPooling`, cannot be loaded as a layer of another model: save the network.
    network.save(tmp_path / "network.keras")
    reloaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-4)
    again = keras_mma.mixify(reloaded, layers.SaliencyMix(seed=1))
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    again.compile("adam", CROSSENTROPY)
    again.fit(images, labels, batch_size=4, verbose=0)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.serve(images), expected, rtol=1e-3, atol=1e-4)


def test_samples_that_are_not_mixed_stay_so_at_feature_sites(rng):
    images = blobs(rng, 32, 16, 16).astype("float32")
    model = keras_mma.mixify(u_net(), layers.MixUp(sites=(1,), seed=2, probability=0.5), at=["fine_relu"])
    _, plan = to_numpy(model(images, training=True))
    is_unmixed = to_numpy(plans.find_unmixed(plan["mask"]))
    assert 4 < is_unmixed.sum() < 28 and (plan["partner"][is_unmixed] == np.arange(32)[is_unmixed]).all()
