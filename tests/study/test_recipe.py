"""The recipe: its settings, and what it builds for a seed."""

import dataclasses
import doctest
import json

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma.datasets import Dataset
from keras_mma.errors import InputError
from keras_mma.study import recipe as recipes
from keras_mma.study.recipe import METHODS, MIXERS, Recipe, build

SMALL = Recipe(network="wideresnet-10-1", epochs=10)


@pytest.fixture
def train(rng):
    return Dataset.of_arrays(rng.integers(0, 256, (12, 16, 16, 3), "uint8"), np.arange(12) % 4, "noise")


def test_every_mixer_is_a_method():
    assert "resizemix+mma" not in METHODS  # which mixes at the input only
    assert len(METHODS) == 2 * len(MIXERS) - 1 + 3 and {"none", "manifold", "catchupmix", "saliencymix+mma"} < set(
        METHODS
    )
    assert Recipe(method="none").mixer_name is None and not Recipe(method="none").mixes_features
    assert Recipe(method="manifold").mixer_name == "mixup" and Recipe(method="manifold").mixes_features
    assert Recipe(method="cutmix").mixer_name == "cutmix" and not Recipe(method="cutmix").mixes_features
    assert Recipe(method="cutmix+mma").mixes_features


def test_images_with_channels_first_are_refused(train):
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        with pytest.raises(InputError, match="must be channels_last, as the images are. Received: channels_first"):
            build(SMALL, train, steps=1)
    finally:
        keras.config.set_image_data_format(before)


def test_a_recipe_is_plain_data():
    recipe = dataclasses.replace(SMALL, method="cutmix", mixer_arguments={"alpha": 0.5})
    assert Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"method": "cutout"}, "`method` must be one of none, mixup, .* Received: method='cutout'"),
        ({"optimizer": "lbfgs"}, "`optimizer` must be one of sgd, adam. Received: optimizer='lbfgs'"),
        ({"schedule": "step"}, "`schedule` must be one of cosine, constant"),
        ({"mixed_precision": "float16"}, "`mixed_precision` must be one of None, mixed_float16"),
        ({"epochs": 0}, "`epochs` must be a positive integer. Received: epochs=0"),
        ({"batch_size": 2.0}, "`batch_size` must be a positive integer. Received: batch_size=2.0"),
        ({"seed": -1}, "`seed` must be a non-negative integer. Received: seed=-1"),
        ({"learning_rate": -0.1}, "`learning_rate` must be a finite number, not negative. Received: .*=-0.1"),
        ({"weight_decay": float("nan")}, "`weight_decay` must be a finite number, not negative"),
        ({"fraction": 0}, r"`fraction` must be in \(0, 1\]. Received: fraction=0"),
        ({"method": "none", "mixer_arguments": {"alpha": 1}}, "`method` none has no argument `alpha`"),
        ({"method": "none", "adapt_arguments": {"temperature": 1}}, "`method` none has no argument `temperature`"),
        ({"augmentation": False, "flip": True}, "`flip` must not be True without `augmentation`"),
        ({"method": "guidedmixup", "mixer_arguments": {"alpha": 1}}, "`method` guidedmixup has no argument `alpha`"),
    ],
)
def test_invalid_settings_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        Recipe(**settings)


@pytest.mark.parametrize("network", ["resnet50", "wideresnet-10", "wideresnet-a-b"])
def test_unknown_networks_are_refused(train, network):
    with pytest.raises(InputError, match="`network` must be preactresnet18, resnet20 or wideresnet-DEPTH-WIDTH"):
        build(dataclasses.replace(SMALL, network=network), train, 1)


@pytest.mark.parametrize(
    ("method", "arguments", "match"),
    [
        ("cutmix", {"detector": "fine_grained"}, "`detector` has no effect without"),
        ("saliencymix", {"detector": "edges"}, "`detector` must be"),
        ("mixup", {"alpha": 0}, "`alpha` must be"),
    ],
)
def test_arguments_that_the_mixer_refuses(train, method, arguments, match):
    with pytest.raises(ValueError, match=match):
        build(dataclasses.replace(SMALL, method=method, mixer_arguments=arguments), train, 1)


def test_the_optimizer_is_that_of_the_papers(train):
    model = build(dataclasses.replace(SMALL, method="none"), train, steps=7).model
    config = model.optimizer.get_config()
    assert config["momentum"] == 0.9 and config["nesterov"] and config["weight_decay"] == pytest.approx(5e-3)
    schedule = config["learning_rate"]["config"]
    assert schedule["initial_learning_rate"] == 0.1 and schedule["decay_steps"] == 70
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    adam = dataclasses.replace(SMALL, method="none", optimizer="adam", schedule="constant", learning_rate=0.01)
    optimizer = build(adam, train, steps=7).model.optimizer
    assert isinstance(optimizer, keras.optimizers.Adam) and float(optimizer.learning_rate) == pytest.approx(0.01)
    assert optimizer.weight_decay == 5e-4


def test_the_initial_weights_follow_from_the_seed_and_not_from_the_method(train):
    def weights(method, seed):
        keras.utils.set_random_seed(99)
        keras.random.normal((3,))
        network = build(dataclasses.replace(SMALL, method=method, seed=seed), train, 1).network
        return np.concatenate([weight.ravel() for weight in network.get_weights()])

    first = weights("none", 1)
    for method in ("saliencymix+mma", "manifold", "saliencygrafting"):
        assert (weights(method, 1) == first).all()
    assert (weights("none", 2) != first).any()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_builds_its_mixer_with_the_settings_of_its_paper(train, method):
    built = build(dataclasses.replace(SMALL, method=method), train, 1)
    if method == "none":
        assert built.mixer is None and built.model is built.network
        return
    name = {"manifold": "mixup", "catchupmix": "cutmix"}.get(method, method.partition("+")[0])
    assert type(built.mixer) is MIXERS[name]
    is_half = method != "catchupmix" and name in ("cutmix", "saliencymix", "guidedmixup")
    assert built.mixer.probability == (0.5 if is_half else 1.0)
    if name == "mixup":
        assert built.mixer.alpha == (2.0 if method == "manifold" else 1.0)
    if name in ("saliencygrafting", "attentivemix"):
        assert built.mixer.detector == "activation"
    if name == "puzzlemix":
        assert built.mixer.detector == "gradient"
    features = [layer for layer in built.model.layers if isinstance(layer, keras_mma.layers.FeatureMixer)]
    assert len(features) == (2 if method in ("manifold", "catchupmix") or method.endswith("+mma") else 0)
    assert all(isinstance(layer, keras_mma.layers.CatchUpMix) == (method == "catchupmix") for layer in features)
    if method == "manifold":
        assert all(layer.attention is None and not layer.smooth for layer in features)
    assert built.mixer.sites == tuple(range(len(features) + 1))


def test_arguments_replace_those_of_the_papers(train):
    recipe = dataclasses.replace(
        SMALL,
        method="cutmix+mma",
        mixing_points=("stage3",),
        mixer_arguments={"probability": 0.25, "alpha": 0.3, "seed": 5},
        adapt_arguments={"temperature": 0.75},
    )
    built = build(recipe, train, 1)
    assert (built.mixer.probability, built.mixer.alpha, built.mixer.seed) == (0.25, 0.3, 5)
    (adapt,) = (layer for layer in built.model.layers if isinstance(layer, keras_mma.layers.FeatureMixAdapt))
    assert adapt.temperature == 0.75


def test_mixed_precision_is_of_the_model_alone(train):
    built = build(dataclasses.replace(SMALL, mixed_precision="mixed_float16"), train, 1)
    assert built.network.get_layer("stem").compute_dtype == "float16"
    assert isinstance(built.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert keras.config.dtype_policy().name == "float32"


def test_the_network_normalizes_by_the_training_images(train):
    mean, variance = recipes.pixel_statistics(train)
    pixels = train.arrays()[0].reshape(-1, 3).astype("float64")
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, pixels.var(0), rtol=1e-12)
    layer = recipes.make_network(SMALL, train).get_layer("normalization")
    normalized = keras.ops.convert_to_numpy(layer(train.arrays()[0]))
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1, atol=1e-4)


def test_xla_is_used_where_it_is_asked_for(train, needs_tensorflow):
    assert not build(dataclasses.replace(SMALL, method="none"), train, 1).model.jit_compile
    assert build(dataclasses.replace(SMALL, method="none", jit=True), train, 1).model.jit_compile


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(recipes).failed == 0


@pytest.mark.parametrize("jit", [False, True])
def test_batch_normalization_is_fused_on_tensorflow_without_xla(train, jit, monkeypatch):
    fused = []
    monkeypatch.setattr(recipes.fused_normalization, "fuse", fused.append)
    built = build(dataclasses.replace(SMALL, jit=jit), train, 1)
    assert fused == ([] if jit or keras.backend.backend() != "tensorflow" else [built.network])
