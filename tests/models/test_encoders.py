"""Mixing between the blocks of transformers: of KerasHub, and of layers of Keras."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from keras_mma.models import encoders, graph
from tests.pictures import blobs
from tests.tracing import UNTRACED, predictions

CLASSES, DEPTH = 4, 3


def hub(name):
    keras_hub = pytest.importorskip("keras_hub")
    common = {"image_shape": (16, 16, 3), "patch_size": 4, "num_layers": DEPTH, "num_heads": 2, "hidden_dim": 8}
    if name == "ViT":
        # Without the bias, which KerasHub's config of the embeddings does not name.
        backbone = keras_hub.models.ViTBackbone(mlp_dim=16, dropout_rate=0.1, use_patch_bias=False, **common)
        return keras_hub.models.ViTImageClassifier(backbone=backbone, num_classes=CLASSES, pooling="token")
    backbone = keras_hub.models.DeiTBackbone(intermediate_dim=16, dropout_rate=0.1, **common)
    return keras_hub.models.DeiTImageClassifier(backbone=backbone, num_classes=CLASSES)


def of_keras_layers():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Reshape((16, 8), name="patches")(keras.layers.Conv2D(8, 4, strides=4)(inputs))
    for index in range(DEPTH):
        y = keras.layers.LayerNormalization()(x)
        x = keras.layers.Add(name=f"attended{index}")([x, keras.layers.MultiHeadAttention(2, 4)(y, y)])
        y = keras.layers.Dense(16, activation="gelu")(keras.layers.LayerNormalization()(x))
        x = keras.layers.Add(name=f"block{index}")([x, keras.layers.Dense(8)(y)])
    x = keras.layers.LayerNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling1D()(x)))


NETWORKS = {
    "ViT": (lambda: hub("ViT"), [f"transformer_block_{index}" for index in (1, 2, 3)]),
    "DeiT": (lambda: hub("DeiT"), [f"transformer_block_{index}" for index in (1, 2, 3)]),
    "Keras": (of_keras_layers, ["block0", "block1", "block2"]),
}
every_network = pytest.mark.parametrize("network", NETWORKS)


@every_network
def test_the_blocks_are_mixing_points(network):
    build, blocks = NETWORKS[network]
    points = keras_mma.mixing_points(build())
    assert [point.name.rpartition("/")[2] for point in points][1:] == blocks
    assert [point.is_default for point in points] == [True, False, False, False]


@pytest.mark.sampled
@pytest.mark.parametrize("network", [pytest.param("ViT", marks=pytest.mark.slow), "DeiT", "Keras"])
@pytest.mark.parametrize("adapter", [layers.FeatureMixAdapt, layers.CatchUpMix])
def test_networks_are_mixed_between_blocks(network, adapter, rng, tmp_path):
    build, blocks = NETWORKS[network]
    plain = build()
    images, labels = blobs(rng, 8, 16, 16).astype("float32"), np.arange(8) % CLASSES
    before = predictions(plain, images)
    model = keras_mma.mixify(plain, layers.CutMix(sites=(1, 2), seed=1), at=blocks[:2], adapter=adapter)
    np.testing.assert_array_equal(predictions(model, images), before)
    assert {id(weight) for weight in model.trainable_weights} == {id(weight) for weight in plain.trainable_weights}
    mode = {} if network == "ViT" else UNTRACED
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True), **mode)
    assert np.isfinite(model.fit(images, labels, epochs=2, verbose=0).history["loss"]).all()
    after = predictions(plain, images)
    assert np.abs(after - before).max() > 1e-3  # training one trains the other
    np.testing.assert_array_equal(predictions(model, images), after)
    plain.save(tmp_path / "plain.keras")
    reloaded = keras.models.load_model(tmp_path / "plain.keras")
    assert type(reloaded) is type(plain)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(reloaded(images)), after, atol=1e-5)
    model.save(tmp_path / "mixed.keras")
    reloaded = keras.models.load_model(tmp_path / "mixed.keras")
    reloaded.run_eagerly = keras.backend.backend() == "tensorflow"  # which takes longer to trace the graph again
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), after, atol=1e-5)
    assert len(reloaded.trainable_weights) == len(plain.trainable_weights)
    assert np.isfinite(reloaded.fit(images, labels, verbose=0).history["loss"]).all()
    assert np.abs(reloaded.predict(images, verbose=0) - after).max() > 1e-4


@every_network
def test_features_after_a_block_are_those_of_the_partner_where_the_mask_is_0(network, rng):
    """With masks of 0, all that follows a block sees the partner: the predictions are the partner's."""
    build, blocks = NETWORKS[network]
    plain = build()
    images = blobs(rng, 8, 16, 16).astype("float32")
    mixer = layers.GridMix(sites=(1,), partner="roll", grid=1, alpha=1e-3)  # all of it or nothing
    model = keras_mma.mixify(plain, mixer, at=[blocks[1]], attention=None, smooth=False)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    mixed, plan = keras.tree.map_structure(keras.ops.convert_to_numpy, model(images, training=True))
    assert set(np.unique(plan["weight"])) == {0.0, 1.0}
    clean = predictions(plain, images)
    expected = np.where(plan["weight"][:, None] == 1, clean, clean[plan["partner"]])
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def encoder_of(network):
    return next(layer for layer in network._flatten_layers() if encoders.is_encoder(layer))


@pytest.mark.parametrize("name", ["ViT", "DeiT"])
def test_an_encoder_of_another_structure_is_one_layer(name):
    plain = hub(name)
    encoder = encoder_of(plain)
    encoder._tracker.unlock()
    encoder.further = keras.layers.Dropout(0.1, name="further")
    match = (
        rf"'{encoder.name}' must have the layers of a {name}Encoder .* Received: a version with others: \['further'\]"
    )
    with pytest.raises(ValueError, match=match):
        encoders.layers_of(encoder)
    paths = list(graph.layers_by_path(plain.output))
    (path,) = [path for path in paths if path.endswith(encoder.name)]
    assert not [path for path in paths if "transformer_block" in path]
    assert all("transformer_block" not in point.name for point in keras_mma.mixing_points(plain))
    assert keras_mma.mixify(plain, layers.CutMix(), at=[]).mixer.sites == (0,)
    with pytest.raises(ValueError, match=match):
        keras_mma.mixify(plain, layers.CutMix(), at=[f"{path}/transformer_block_1"])


@pytest.mark.parametrize("name", ["ViT", "DeiT"])
def test_an_encoder_without_a_layer_raises(name):
    encoder = encoder_of(hub(name))
    del encoder.layer_norm
    assert not encoders.is_known(encoder)
    with pytest.raises(ValueError, match=f"must have the layers of a {name}Encoder .* Received: a version without"):
        encoders.layers_of(encoder)


def test_an_encoder_that_is_called_on_more_than_features_raises():
    with pytest.raises(ValueError, match="must be called on features alone.* Received: a call with 1 more"):
        encoders.rerun(encoder_of(hub("ViT")), (1, "mask"), {}, None)


@pytest.mark.parametrize("name", ["ViT", "DeiT"])
@pytest.mark.parametrize("at", [None, ["transformer_block_1"]])
def test_files_of_models_with_layers_of_keras_hub(name, at, rng, tmp_path):
    images = blobs(rng, 2, 16, 16).astype("float32")
    network, other = hub(name), hub(name)
    mixed, other_mixed = (keras_mma.mixify(each, layers.CutMix(), at=at) for each in (network, other))
    expected = predictions(network, images)

    def check(model, loads):
        other_mixed.set_weights([0 * weight for weight in other_mixed.get_weights()])
        loads(tmp_path / "saved.weights.h5")
        np.testing.assert_allclose(predictions(model, images), expected, atol=1e-5)

    mixed.save_weights(tmp_path / "saved.weights.h5")
    check(other, other.load_weights)
    check(other, other_mixed.load_weights)
    network.save_weights(tmp_path / "saved.weights.h5")
    check(other, other_mixed.load_weights)
    mixed.save(tmp_path / "mixed.keras")
    loaded = keras.models.load_model(tmp_path / "mixed.keras")
    loaded.set_weights([0 * weight for weight in loaded.get_weights()])
    check(loaded, loaded.load_weights)

    inference = mixed.inference_model()
    assert inference.count_params() == network.count_params()
    assert not any(type(layer).__module__.startswith("keras_mma") for layer in inference._flatten_layers())
    inference.save(tmp_path / "inference.keras")
    loaded = keras.models.load_model(tmp_path / "inference.keras")
    np.testing.assert_allclose(predictions(loaded, images), expected, atol=1e-5)
