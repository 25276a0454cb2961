"""Label rules: SUMix and saliency for every mixer, with a detector and with attributions of the network."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers
from keras_mma.layers.label_rules import sumix_weight
from tests.layers.mixers import to_numpy, training_plan
from tests.pictures import blobs
from tests.tracing import UNTRACED

MIXERS = [mixer for name, mixer in layers.MIXERS.items() if name != "randomchoice"]


def expected_sumix(weight, clean, mixed, partner):
    """The rule sample by sample and class by class, for probabilities."""
    result = np.empty(len(weight))
    for sample, other in enumerate(partner):
        distances = []
        for first, second in ((sample, other), (other, sample)):
            left_out = int(np.argmax(clean[second]))
            terms = [
                (mixed[sample, k] - (0.0 if k == left_out else clean[first, k])) ** 2 for k in range(clean.shape[1])
            ]
            distances.append(sum(terms) ** 0.5)
        kept, pasted = weight[sample] * np.exp(-distances[0]), (1 - weight[sample]) * np.exp(-distances[1])
        result[sample] = kept / (kept + pasted)
    return result


@pytest.mark.parametrize("are_logits", [True, False])
def test_the_sumix_rule_equals_the_loop(are_logits, rng):
    logits = rng.normal(size=(2, 7, 5)).astype("float32") * 2
    clean, mixed = probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    weight = np.array([0.2, 0.9, 1.0, 0.0, 0.5, 0.7, 0.33], "float32")
    partner = np.array([1, 2, 2, 4, 5, 6, 0], "int32")
    given = [ops.convert_to_tensor(value) for value in (weight, *(logits if are_logits else probabilities), partner)]
    result = to_numpy(sumix_weight(*given))
    np.testing.assert_allclose(result, expected_sumix(weight, clean, mixed, partner), atol=1e-5)
    assert result[2] == 1 and result[3] == 0 and np.abs(result - weight).max() > 0.05


def test_a_mixed_sample_that_looks_like_the_partner_gets_more_of_its_label():
    clean = ops.convert_to_tensor([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    mixed = ops.convert_to_tensor([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    weight = to_numpy(sumix_weight(ops.convert_to_tensor([0.5, 0.5]), clean, mixed, ops.convert_to_tensor([1, 0])))
    assert weight[0] < 0.4 and weight[1] > 0.6


def test_nan_in_a_sample_does_not_change_the_sumix_of_others():
    clean = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]], "float32")
    mixed, weight, partner = clean[[0, 2, 1]], ops.full((3,), 0.4), ops.convert_to_tensor(np.array([1, 0, 2], "int32"))
    expected = to_numpy(sumix_weight(weight, ops.convert_to_tensor(clean), ops.convert_to_tensor(mixed), partner))
    clean[2] = np.nan
    actual = to_numpy(sumix_weight(weight, ops.convert_to_tensor(clean), ops.convert_to_tensor(mixed), partner))
    np.testing.assert_array_equal(actual[:2], expected[:2])


def test_sumix_requires_two_classes():
    inputs = keras.Input((8, 8, 3))
    x, plan = layers.CutMix(label="sumix")(inputs)
    model = keras_mma.MixModel(inputs, (keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)), plan))
    match = r"`label='sumix'` must have predictions of at least two classes.* Received: predictions of shape \(4, 1\)"
    with pytest.raises(ValueError, match=match):
        model(np.zeros((4, 8, 8, 3)), training=True)


def averaging(mixer, at=()):
    """A network that predicts the mean of each channel, as logits."""
    inputs = x = keras.Input((16, 16, 4))
    x, plan = mixer(inputs)
    for site in at:
        x, plan = layers.FeatureMixAdapt(site)(keras.layers.Identity()(x), plan)
    return keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x), plan))


@pytest.mark.parametrize("sites", [(0,), (0, 1), (1,)])
def test_a_model_applies_sumix_to_the_share_of_the_area(sites, rng):
    images = (rng.random((8, 16, 16, 4)) * rng.uniform(0, 6, (8, 1, 1, 4))).astype("float32")
    plain, compared = (averaging(layers.CutMix(sites=sites, seed=3, label=label), [1] if 1 in sites else [])
                       for label in ("area", "sumix"))  # fmt: skip
    (_, by_area), (mixed, plan) = (to_numpy(model(images, training=True)) for model in (plain, compared))
    np.testing.assert_array_equal(plan["partner"], by_area["partner"])
    clean, mixed = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (images.mean((1, 2)), mixed))
    expected = expected_sumix(by_area["weight"], clean, mixed, plan["partner"])
    np.testing.assert_allclose(plan["weight"], expected, atol=1e-5)
    assert np.abs(plan["weight"] - by_area["weight"]).max() > 0.01


def test_sumix_refuses_labeled_batches_also_from_the_mixer_of_a_model(rng):
    images, labels = rng.random((8, 16, 16, 4)).astype("float32"), np.eye(4)[np.arange(8) % 4]
    model = averaging(layers.CutMix(label="sumix"))
    for mixer in (layers.CutMix(label="sumix"), model.mixer):
        with pytest.raises(ValueError, match="`label='sumix'` needs a network"):
            mixer((images, labels))


@keras.saving.register_keras_serializable("tests")
class Threefold(keras.layers.Layer):
    """Stands for random augmentation: it changes images in training only."""

    def call(self, images, training=None):
        return images * 3.0 if training else images


def test_sumix_compares_with_the_images_that_the_mixer_received(rng):
    images = (rng.random((8, 16, 16, 4)) * rng.uniform(0, 2, (8, 1, 1, 4))).astype("float32")
    inputs = keras.Input((16, 16, 4))
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Threefold(name="augmentation")(inputs)))
    inputs = network.input
    x, plan = layers.CutMix(label="sumix", seed=3)(network.get_layer("augmentation").output)
    model = keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x), plan))
    mixed, plan = to_numpy(model(images, training=True))
    clean, mixed = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (3.0 * images.mean((1, 2)), mixed))
    expected = expected_sumix(plan["mask"].mean((1, 2, 3)), clean, mixed, plan["partner"])
    np.testing.assert_allclose(plan["weight"], expected, atol=1e-5)


def test_sumix_in_a_network_with_several_inputs(rng):
    images, facts = rng.random((8, 16, 16, 4)).astype("float32") * 2, rng.normal(size=(8, 4)).astype("float32")
    inputs = {"image": keras.Input((16, 16, 4), name="image"), "facts": keras.Input((4,), name="facts")}
    x = keras.layers.GlobalAveragePooling2D()(Threefold()(inputs["image"]))
    network = keras.Model(inputs, keras.layers.Add()([x, inputs["facts"]]))
    mixers = [layers.CutMix(label=label, seed=3) for label in ("area", "sumix")]
    plain, compared = (keras_mma.mixify(network, mixer, at=[], image="image") for mixer in mixers)
    given = {"image": images, "facts": facts}
    (_, by_area), (mixed, plan) = (to_numpy(model(given, training=True)) for model in (plain, compared))
    # The mixer is in front of the layer here, which does nothing in inference.
    logits = images.mean((1, 2)) + facts
    clean, mixed = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, mixed))
    expected = expected_sumix(by_area["weight"], clean, mixed, plan["partner"])
    np.testing.assert_allclose(plan["weight"], expected, atol=1e-5)


def test_sumix_finds_the_inputs_of_a_list_in_a_dict(rng):
    """A dict is sorted by its keys, which here are not in the order of the list; and it may have keys to spare."""
    images, facts = rng.random((8, 16, 16, 4)).astype("float32"), rng.normal(size=(8, 4)).astype("float32")
    inputs = [keras.Input((16, 16, 4), name="image"), keras.Input((4,), name="facts")]
    x = keras.layers.Add()([keras.layers.GlobalAveragePooling2D()(inputs[0]), inputs[1]])
    network, weights = keras.Model(inputs, x), []
    for given in (
        [images, facts],
        {"image": images, "facts": facts},
        {"image": images, "facts": facts, "other": facts},
    ):
        model = keras_mma.mixify(network, layers.CutMix(label="sumix", seed=3), at=[], image="image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of the other structure
            weights.append(to_numpy(model(given, training=True))[1]["weight"])
    np.testing.assert_allclose(weights[1:], [weights[0]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    "mode", [{}, {"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)], ids=str
)
def test_networks_train_with_sumix_and_are_saved(mode, rng, tmp_path):
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=4)
    mixer = layers.RandomChoice(label="sumix") if mode else layers.GMix(label="sumix", probability=0.5)
    model = keras_mma.mixify(network, mixer, at=["stage1"])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), **mode)
    images, labels = blobs(rng, 8, 16, 16).astype("float32"), np.arange(8) % 4
    assert np.isfinite(model.fit(images, labels, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.mixer.label == "sumix" and reloaded.mixer.is_compared_by_model
    np.testing.assert_allclose(reloaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    assert len(reloaded.weights) == len(model.weights)


def test_the_second_forward_pass_does_not_update_the_network(rng):
    images, labels = blobs(rng, 8, 16, 16).astype("float32"), np.arange(8) % 4
    statistics = []
    for label in ("area", "sumix"):
        keras.utils.set_random_seed(5)
        network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=4)
        model = keras_mma.mixify(network, layers.CutMix(label=label, seed=1), at=[])
        model.compile(keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True), **UNTRACED)
        model.fit(images, labels, verbose=0)
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        statistics.append([to_numpy(layer.moving_mean) for layer in norms])
    assert np.abs(statistics[0][0]).max() > 0
    keras.tree.map_structure(lambda *x: np.testing.assert_allclose(*x, rtol=1e-4, atol=1e-5), *statistics)


def test_the_second_forward_pass_leaves_the_losses_of_layers_alone(rng):
    images, labels = blobs(rng, 8, 16, 16).astype("float32"), np.arange(8) % 4
    losses = []
    for label in ("area", "sumix"):
        inputs = keras.Input((16, 16, 3))
        x, plan = layers.MixUp(label=label, alpha=50.0, partner="roll", seed=1)(inputs)
        x = keras.layers.Conv2D(4, 3, kernel_initializer="ones", activity_regularizer=keras.regularizers.L2(1e-6))(x)
        outputs = keras.layers.Dense(4, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
        model = keras_mma.MixModel(inputs, (outputs, plan))
        model.compile(keras.optimizers.SGD(0.0), lambda y, p: 0.0 * keras.ops.sum(p, axis=-1))
        losses += model.fit(images, labels, shuffle=False, verbose=0).history["loss"]
    assert losses[0] > 0 and losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_sumix_without_a_network_raises(rng):
    images, labels = blobs(rng, 4), np.eye(4)
    for call in (
        lambda: layers.CutMix(label="sumix")(images, labels),
        lambda: layers.CutMix(label="sumix")(images, training=True),
        lambda: layers.RandomChoice(label="sumix")(images, labels),
    ):
        with pytest.raises(ValueError, match="`label='sumix'` needs a network, .* Received: no network"):
            call()


def expected_saliency_share(mixer, maps, plan):
    """The share of saliency pixel by pixel, for masks that do not move."""
    expected = np.empty(len(maps))
    for sample, partner in enumerate(plan["partner"]):
        own, other = maps[sample].astype("float64"), maps[partner].astype("float64")
        kept, pasted = own * plan["mask"][sample], other * (1 - plan["mask"][sample])
        power = mixer.norm
        shares = [(part**power).sum() / (whole**power).sum() for part, whole in ((kept, own), (pasted, other))]
        kept, pasted = (share ** (1 / power) for share in shares)
        expected[sample] = kept / (kept + pasted)
    return expected


@pytest.mark.parametrize("cls", [mixer for mixer in MIXERS if not mixer.is_input_only], ids=lambda cls: cls.__name__)
def test_labels_follow_the_saliency_of_a_detector(cls, rng):
    images = blobs(rng, 8)
    mixer = cls(label="saliency", detector="fine_grained", seed=3)
    _, plan = training_plan(mixer, images)
    maps = to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images)))
    np.testing.assert_allclose(plan["weight"], expected_saliency_share(mixer, maps, plan), atol=1e-4)
    if cls is not layers.MixUp:  # whose share is the same everywhere
        assert np.abs(plan["weight"] - plan["mask"].mean((1, 2, 3))).max() > 0.005


def test_resized_partners_give_the_whole_of_their_saliency(rng):
    """ResizeMix pastes the whole partner, so all of its saliency is given, wherever it is and however small the box."""
    images = blobs(rng, 8, 24, 24)
    mixer = layers.ResizeMix(label="saliency", detector="fine_grained", scale=(0.5, 0.5), partner="roll", seed=3)
    _, plan = training_plan(mixer, images)
    maps = to_numpy(mixer.saliency_maps(ops.convert_to_tensor(images)))[..., 0]
    for sample in range(8):
        is_pasted = plan["mask"][sample, ..., 0] == 0
        kept = maps[sample][~is_pasted].sum() / maps[sample].sum()
        np.testing.assert_allclose(plan["weight"][sample], kept / (kept + 1.0), atol=1e-4)


@pytest.mark.parametrize("detector", ["activation", "gradient"])
@pytest.mark.parametrize("cls", MIXERS, ids=lambda cls: cls.__name__)
def test_labels_follow_the_attribution_of_the_network(cls, detector, rng):
    inputs = keras.Input((16, 16, 3))
    x, plan = cls(label="saliency", detector=detector, seed=3)(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    outputs = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras_mma.MixModel(inputs, (outputs, plan))
    images = blobs(rng, 8, 16, 16).astype("float32")
    _, plan = to_numpy(model(images, training=True))
    maps = to_numpy(model.mixer.saliency_maps(ops.convert_to_tensor(images)))
    assert (maps.std((1, 2, 3)) > 0).all()
    if not cls.is_input_only:
        expected = expected_saliency_share(model.mixer, maps, plan)
        np.testing.assert_allclose(plan["weight"], expected, atol=1e-4)
    assert (plan["weight"] >= 0).all() and (plan["weight"] <= 1).all()
