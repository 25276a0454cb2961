"""What Keras and keras-cv test of their mixing layers, tried on those of this package.

The comment before each test names the peer and what it tests. `docs/peers.md` lists where this package does otherwise.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers, plans
from tests.layers.mixers import to_numpy
from tests.peers.batches import BOTH, labeled, plan_and_images, random_batch, twos_and_ones

both = pytest.mark.parametrize("cls", BOTH)


# Keras, run_layer_test: the output has the shape of the input, also as a symbolic tensor.
@both
def test_the_shape_stays(cls, rng):
    images = rng.random((8, 3, 4, 3)).astype("float32")
    assert plan_and_images(cls(seed=1), images)[1].shape == (8, 3, 4, 3)
    symbolic, plan = cls()(keras.Input((3, 4, 3), batch_size=8))
    assert symbolic.shape == (8, 3, 4, 3) and plans.is_plan(plan)


# Keras, run_layer_test: a layer is made again from its config, with the same config.
@both
def test_the_config_makes_the_layer_again(cls):
    layer = cls(alpha=0.3, seed=5, probability=0.5)
    assert cls.from_config(layer.get_config()).get_config() == layer.get_config()


# Keras, run_layer_test: no weights, one seed generator.
@both
def test_there_are_no_weights(cls):
    layer = cls()
    layer(np.zeros((2, 3, 4, 3), "float32"))
    assert layer.weights == [] and len(layer.non_trainable_variables) >= 1


# Keras, run_layer_test: the output has the compute dtype of the policy. Here images keep their own.
@both
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_images_keep_their_dtype_whatever_the_policy(cls, policy, rng):
    keras.config.set_dtype_policy(policy)
    plan, mixed = plan_and_images(cls(seed=1), rng.random((4, 3, 4, 3)).astype("float32"))
    assert mixed.dtype == "float32" and plan["weight"].dtype == plan["mask"].dtype == "float32"


# Keras, run_layer_test: a model with the layer is saved and loaded. Here the model is a MixModel.
@both
def test_a_model_with_the_layer_is_saved_and_loaded(cls, rng, tmp_path):
    inputs = keras.Input((3, 4, 3))
    x, plan = cls(alpha=0.3, seed=1, name="mixer")(inputs)
    model = keras_mma.MixModel(inputs, (keras.layers.Dense(2)(keras.layers.Flatten()(x)), plan))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = rng.random((2, 3, 4, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(loaded(images)), to_numpy(model(images)), atol=1e-6)
    assert loaded.get_layer("mixer").get_config() == model.get_layer("mixer").get_config()


# Keras, run_layer_test: the layer is a layer of a Sequential model. Here it is refused: labels would not be mixed.
def test_a_sequential_model_is_refused():
    with pytest.raises(ValueError, match="cannot be a layer of a `Sequential` model"):
        keras.Sequential([keras.Input((3, 4, 3)), layers.CutMix(), keras.layers.Flatten()])


# Keras, test_cut_mix_inference and test_mix_up_inference: images of integers pass unchanged outside training.
@both
def test_inference_changes_nothing(cls, rng):
    images = rng.integers(0, 255, (2, 6, 5, 3)).astype("uint8")
    unchanged, plan = to_numpy(cls()(images, training=False))
    np.testing.assert_array_equal(unchanged, images)
    assert (plan["weight"] == 1).all()


# Keras, test_cut_mix_inference: an image without a batch passes in inference. Here it is refused.
@both
@pytest.mark.parametrize("training", [False, True])
def test_an_image_without_batch_is_refused(cls, training):
    with pytest.raises(ValueError, match="rank 4|of shape"):
        cls()(np.zeros((6, 5, 3), "uint8"), training=training)


# Keras, test_cut_mix_basic: a given mask and the identity as partners leave the images as they are.
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_that_are_their_own_partners_stay(data_format):
    images = np.stack([np.ones((2, 2, 1)), np.zeros((2, 2, 1))]).astype("float32")
    images = images if data_format == "channels_last" else images.transpose(0, 3, 1, 2)
    mask = np.array([[[0, 1], [0, 0]], [[0, 0], [1, 0]]], "float32")[..., None]
    plan = {"partner": np.array([0, 1], "int32"), "mask": mask}
    mixed = to_numpy(plans.mix_images(ops.convert_to_tensor(images), plan, data_format))
    np.testing.assert_array_equal(mixed, images)


# Keras, test_mix_up_basic_functionality (and _channel_first): a weight of 1 keeps the image.
# Keras, test_mix_up_basic_functionality (and _channel_first): with a weight of 0.2, images with partners change.
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_a_given_weight_blends_given_partners(weight, data_format, rng):
    images = rng.random((4, 6, 5, 3) if data_format == "channels_last" else (4, 3, 6, 5)).astype("float32")
    partner = np.array([1, 0, 2, 3], "int32")
    plan = {"partner": ops.convert_to_tensor(partner), "mask": ops.full((4, 6, 5, 1), weight)}
    mixed = to_numpy(plans.mix_images(ops.convert_to_tensor(images), plan, data_format))
    np.testing.assert_allclose(mixed, weight * images + (1 - weight) * images[partner], atol=1e-6)
    assert (mixed[:2] != images[:2]).any() == (weight < 1)


# Keras, test_tf_data_compatibility: a data set of images alone is mapped, and mixed. Here it is mapped and not mixed.
@both
def test_a_pipeline_of_images_alone_is_not_mixed(cls, needs_tensorflow, rng):
    import tensorflow as tf

    images = rng.random((2, 8, 8, 3)).astype("float32")
    ((unmixed, plan),) = tf.data.Dataset.from_tensor_slices(images).batch(2).map(cls(seed=1))
    np.testing.assert_array_equal(unmixed, images)
    assert (plan["weight"].numpy() == 1).all()


# Keras, test_tf_data_compatibility, on labeled batches, which is what both can mix.
@both
def test_a_pipeline_of_labeled_batches_is_mixed(cls, needs_tensorflow, rng):
    import tensorflow as tf

    images, labels = rng.random((4, 8, 8, 3)).astype("float32"), np.eye(4, dtype="float32")
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    ((mixed, soft),) = dataset.map(cls(seed=1, partner="derangement"))
    assert (mixed.numpy() != images).any() and (soft.numpy().max(1) < 1).any()


# Keras, test_segmentation_mask_preserves_dtype_and_classes: CutMix of masks invents no class and keeps the dtype.
@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 8, 8)])
def test_segmentation_masks_keep_dtype_and_classes(shape, rng):
    masks = np.zeros(shape, "uint8")
    masks[0] = 4
    batch = {"images": rng.random((2, 8, 8, 3)).astype("float32"), "segmentation_masks": masks}
    mixed = to_numpy(layers.CutMix(seed=1, partner="derangement")(batch)["segmentation_masks"])
    assert mixed.dtype == "uint8" and set(np.unique(mixed)) == {0, 4}


# Keras, MixUp: class indices of masks are blended. Here that is refused, because the mean of two classes is a third.
def test_blended_class_indices_are_refused(rng):
    batch = {"images": rng.random((2, 8, 8, 3)), "segmentation_masks": np.zeros((2, 8, 8), "uint8")}
    with pytest.raises(ValueError, match="segmentation_masks"):
        layers.MixUp()(batch)


# Keras, test_mix_up_bounding_boxes and test_mix_up_tf_data_bounding_boxes; keras-cv, test_return_shapes: the boxes of
# both images are listed. Here boxes are refused.
@both
def test_bounding_boxes_are_refused(cls, rng):
    boxes = {"boxes": np.zeros((2, 3, 4), "float32"), "labels": np.zeros((2, 3))}
    batch = {"images": rng.random((2, 10, 8, 3)), "labels": np.eye(2), "bounding_boxes": boxes}
    with pytest.raises(ValueError, match="bounding_boxes"):
        cls()(batch)


# Keras: a layer with a seed draws the same again in a new layer.
@both
def test_a_seed_repeats_the_draws(cls, rng):
    images, _ = random_batch(rng)
    (plan, mixed), (same_plan, same), (_, other) = (plan_and_images(cls(seed=seed), images) for seed in (3, 3, 4))
    keras.tree.map_structure(np.testing.assert_array_equal, plan, same_plan)
    np.testing.assert_array_equal(mixed, same)
    assert (mixed != other).any()


# keras-cv, test_return_shapes: a dict of images and one-hot labels comes back with both shapes.
@pytest.mark.parametrize("cls", [*BOTH, layers.FMix])
def test_a_dict_comes_back_as_a_dict(cls):
    batch = {"images": np.ones((2, 8, 8, 3), "float32"), "labels": np.eye(10, dtype="float32")[[3, 1]]}
    mixed = to_numpy(cls(seed=1)(batch))
    assert set(mixed) == {"images", "labels"}
    assert mixed["images"].shape == (2, 8, 8, 3) and mixed["labels"].shape == (2, 10)


# keras-cv, test_cut_mix_call_results and ..._one_channel: each image has pixels of both, and the labels are soft.
@pytest.mark.parametrize("channels", [3, 1])
def test_cutmix_pastes_pixels_and_mixes_labels_by_area(channels):
    images, labels = twos_and_ones(channels, side=8)
    mixed, soft = labeled(layers.CutMix(alpha=50.0, border="inside", partner="derangement", seed=1), images, labels)
    assert all(set(np.unique(image)) == {1, 2} for image in mixed)
    # The mean of an image of twos and ones says how many there are.
    np.testing.assert_allclose(soft[:, 0], mixed.mean((1, 2, 3)) - 1, atol=1e-6)
    assert ((soft > 0) & (soft < 1)).all()


# keras-cv, test_mix_up_call_results: no pixel and no label keeps its value.
def test_mixup_changes_every_pixel_and_label():
    images, labels = twos_and_ones()
    mixed, soft = labeled(layers.MixUp(alpha=5.0, partner="derangement", seed=1), images, labels)
    assert ((mixed > 1) & (mixed < 2)).all() and ((soft > 0) & (soft < 1)).all()
    np.testing.assert_allclose(soft[:, 0], mixed.mean((1, 2, 3)) - 1, atol=1e-6)


# keras-cv, FourierMix, test_fourier_mix_call_results, and with one channel.
@pytest.mark.parametrize("channels", [3, 1])
def test_fmix_mixes_images_and_labels(channels):
    images, labels = twos_and_ones(channels, side=8)
    mixed, soft = labeled(layers.FMix(alpha=50.0, partner="derangement", seed=1), images, labels)
    assert all(set(np.unique(image)) == {1, 2} for image in mixed)
    np.testing.assert_allclose(soft[:, 0], mixed.mean((1, 2, 3)) - 1, atol=1e-6)


# keras-cv, test_in_tf_function of CutMix and MixUp.
@both
def test_it_runs_in_a_tf_function(cls, needs_tensorflow):
    import tensorflow as tf

    mixer = cls(alpha=5.0, partner="derangement", seed=1)
    images, labels = twos_and_ones(1, side=8)
    mixed, soft = tf.function(lambda x, y: mixer(x, y))(tf.constant(images), tf.constant(labels))
    assert (mixed.numpy() != images).any() and ((soft.numpy() > 0) & (soft.numpy() < 1)).all()


# keras-cv, test_single_image_input: an image without batch in a dict is an error.
@pytest.mark.parametrize("cls", [*BOTH, layers.FMix])
def test_an_image_without_batch_in_a_dict_is_refused(cls):
    with pytest.raises(ValueError, match="rank 4|of shape"):
        cls()({"images": np.ones((8, 8, 3), "float32"), "labels": np.eye(2)[1:]})


# keras-cv, test_missing_labels: a dict of images alone is an error.
def test_a_dict_without_labels_is_refused_in_training():
    with pytest.raises(ValueError, match="labels"):
        layers.CutMix()({"images": np.ones((2, 8, 8, 3), "float32")})


# keras-cv, test_int_labels: one-hot labels of integers are an error. Here they become floats.
@both
def test_one_hot_labels_of_integers_become_floats(cls):
    images, labels = twos_and_ones()
    _, soft = labeled(cls(seed=1), images, labels.astype("int32"))
    assert soft.dtype == "float32"
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)


# keras-cv, test_image_input and test_image_input_only: images without labels are an error. Here they come with a plan.
@pytest.mark.parametrize("cls", [*BOTH, layers.FMix])
def test_images_alone_come_back_with_a_plan(cls):
    images, _ = twos_and_ones()
    unmixed, plan = to_numpy(cls()(images))
    np.testing.assert_array_equal(unmixed, images)
    assert plans.is_plan(plan) and plan["site"] == -1
