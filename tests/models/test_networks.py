"""`mixify` and `mixing_points` on networks of `keras.applications`, KerasHub and keras-cv."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.pictures import blobs

SIZE, CLASSES = 64, 4


def application(name):
    network = getattr(keras.applications, name)
    return network(weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES, classifier_activation=None)


def hub_resnet():
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 128],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(SIZE, SIZE, 3),
    )
    return hub.models.ImageClassifier(backbone=backbone, num_classes=CLASSES)


def hub_vit():
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    return hub.models.ViTImageClassifier(backbone=backbone, num_classes=CLASSES, pooling="token")


def keras_cv_resnet():
    keras_cv = pytest.importorskip("keras_cv")
    inputs = keras.Input((SIZE, SIZE, 3))
    backbone = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[8, 16, 32],
        stackwise_blocks=[2, 2, 2],  # in stacks of one block it gives two layers the same name
        stackwise_strides=[1, 2, 2],
        include_rescaling=True,
        input_shape=(SIZE, SIZE, 3),
    )
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(pooled))


# How to build each network, the names of all its mixing points, and those of the default ones.
NETWORKS = {
    "ResNet50": (
        lambda: application("ResNet50"),
        ["conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"],
        ["conv2_block3_out", "conv3_block4_out"],
    ),
    "MobileNetV2": (
        lambda: application("MobileNetV2"),
        ["block_1_expand_relu", "block_2_add", "block_5_add", "block_12_add", "block_15_add"],
        ["block_2_add", "block_5_add"],
    ),
    "EfficientNetB0": (
        lambda: application("EfficientNetB0"),
        ["block2a_expand_activation", "block2b_add", "block3b_add", "block5c_add", "block6d_add"],
        ["block2b_add", "block3b_add"],
    ),
    "DenseNet121": (
        lambda: application("DenseNet121"),
        ["conv1_relu", *(f"conv{stage}_block{last}_concat" for stage, last in ((2, 6), (3, 12), (4, 24), (5, 16)))],
        ["conv2_block6_concat", "conv3_block12_concat"],
    ),
    # Its additions are unnamed operations, which Keras numbers differently in each network.
    "ConvNeXtTiny": (lambda: application("ConvNeXtTiny"), None, None),
    "KerasHub ResNet": (
        hub_resnet,
        ["conv1_relu", "stack0_block0_out", "stack1_block0_out", "stack2_block0_out"],
        ["stack0_block0_out", "stack1_block0_out"],
    ),
    "KerasHub ViT": (
        hub_vit,
        ["vit_patching_and_embedding", "transformer_block_1", "transformer_block_2"],
        ["vit_patching_and_embedding"],
    ),
    "keras-cv ResNetV2": (
        keras_cv_resnet,
        ["conv1_conv", "v2_stack_1_block1_out", "v2_stack_2_block1_out", "v2_stack_2_block2_out"],
        ["v2_stack_1_block1_out", "v2_stack_2_block1_out"],
    ),
}


#: Each takes more than five seconds to build and to train for a step.
LARGE = ("ResNet50", "EfficientNetB0", "DenseNet121", "ConvNeXtTiny", "keras-cv ResNetV2")


def last_part(name):
    return name.rpartition("/")[2]


@pytest.fixture
def batch(rng):
    return blobs(rng, 4, SIZE, SIZE).astype("float32"), rng.integers(0, CLASSES, 4)


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in NETWORKS]
)
def test_networks_train_through_mixify(network, batch):
    if keras.backend.backend() != "tensorflow" and not network.startswith("KerasHub"):
        pytest.skip("takes minutes, and runs the same code on all backends")
    build, names, default = NETWORKS[network]
    images, labels = batch
    model = build()
    points = keras_mma.mixing_points(model)
    if names is not None:
        assert [last_part(point.name) for point in points] == names
        assert [last_part(point.name) for point in points if point.is_default] == default
    else:
        assert [point.shape for point in points] == [(16, 16, 96), (8, 8, 192), (4, 4, 384), (2, 2, 768)]
        assert [point.is_default for point in points] == [True, True, False, False]
    expected = model.predict(images, verbose=0)
    mixed = keras_mma.mixify(model, layers.SaliencyMix(seed=1))
    sites = [layer.site for layer in mixed.layers if isinstance(layer, layers.FeatureMixAdapt)]
    assert sites == list(range(1, 1 + sum(point.is_default for point in points)))
    np.testing.assert_array_equal(mixed.predict(images, verbose=0), expected)
    assert {id(weight) for weight in mixed.weights} == {id(weight) for weight in model.weights}

    # Eagerly on TensorFlow, where tracing such a step takes longer than running it.
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    mixed.compile(keras.optimizers.SGD(1e-2), loss, run_eagerly=keras.backend.backend() == "tensorflow")
    mixed.fit(images, labels, epochs=1, verbose=0)
    trained = model.predict(images, verbose=0)
    assert np.isfinite(trained).all() and not np.allclose(trained, expected, atol=1e-6)
    # Call the models, because `predict` of `mixed` runs eagerly now and that of `model` does not.
    outputs = [keras.ops.convert_to_numpy(network(images, training=False)) for network in (mixed, model)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(hub_resnet, id="KerasHub"),
        pytest.param(lambda: application("ResNet50"), id="ResNet50", marks=pytest.mark.exhaustive),
    ],
)
def test_a_network_is_fine_tuned_through_mixify_and_then_exported(needs_tensorflow, build, batch, tmp_path):
    import tensorflow as tf

    images, labels = batch
    model = build()
    mixed = keras_mma.mixify(model, layers.SaliencyMix(seed=1))
    mixed.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    history = mixed.fit(images, labels, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    expected = mixed.predict(images, verbose=0)
    np.testing.assert_allclose(served.serve(tf.constant(images)), expected, rtol=1e-4, atol=1e-4)
