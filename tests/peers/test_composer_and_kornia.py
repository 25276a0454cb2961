"""What Composer and kornia test of their mixing algorithms, tried on those of this package.

The comment before each test names the peer and what it tests. `docs/peers.md` lists where this package does otherwise.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers, plans
from keras_mma.differentiation import vjp
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.peers.batches import BOTH, labeled, plan_and_images, random_batch

both = pytest.mark.parametrize("cls", BOTH)


# Composer, TestMixUp.test_mixup_batch and test_mixup_algorithm: every pixel, for alpha 0.2 and 1, 11 channels.
# Composer, TestCutMix.test_cutmix and test_cutmix_algorithm: every pixel inside and outside of the box.
@both
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_every_pixel_equals_the_loop(cls, alpha, rng):
    images, _ = random_batch(rng)
    plan, mixed = plan_and_images(cls(alpha=alpha, seed=1), images)
    np.testing.assert_allclose(mixed, oracles.mix(images, plan), rtol=1e-5, atol=1e-3)


# Composer, validate_mixup_batch and validate_cutmix: the permuted labels are those of the partners.
@both
def test_the_plan_says_whose_label_is_mixed_in(cls, rng):
    images, labels = random_batch(rng)
    plan, _ = plan_and_images(cls(seed=1), images)
    _, soft = labeled(cls(num_classes=10, seed=1), images, labels)
    for row, own, partner in zip(soft, labels, labels[plan["partner"]], strict=True):
        assert set(np.flatnonzero(row)) <= {own, partner}


# Composer, uniform_sampling of CutMix: the whole box inside of the image, or its center.
@pytest.mark.parametrize("border", ["inside", "clip"])
def test_boxes_lie_inside_or_are_clipped(border):
    plan, _ = plan_and_images(layers.CutMix(border=border, seed=1), np.zeros((300, 8, 10, 1), "float32"))
    is_pasted = plan["mask"][..., 0] == 0
    assert (is_pasted.any(2)[:, :, None] & is_pasted.any(1)[:, None, :] == is_pasted).all()  # rectangles
    mean = plan["weight"].mean()
    assert abs(mean - 0.5) < 0.1 if border == "inside" else mean > 0.6


# Composer, interpolate_loss=True: the mean of two losses. For the cross-entropy it is the loss of the mixed label.
@both
def test_the_loss_of_the_mixed_label_is_the_mean_of_two_losses(cls, rng):
    images, labels = random_batch(rng)
    plan, _ = plan_and_images(cls(seed=1), images)
    _, soft = labeled(cls(num_classes=10, seed=1), images, labels)
    logits = rng.normal(size=(7, 10)).astype("float32")

    def losses(targets):
        return to_numpy(keras.losses.categorical_crossentropy(targets, logits, from_logits=True))

    own, partner = (losses(np.eye(10, dtype="float32")[y]) for y in (labels, labels[plan["partner"]]))
    expected = plan["weight"] * own + (1 - plan["weight"]) * partner
    np.testing.assert_allclose(losses(soft), expected, rtol=1e-5)


# Composer, test_cutmix_nclasses: a batch of one image of one pixel.
@both
def test_one_image_of_one_pixel(cls):
    mixed, soft = labeled(cls(num_classes=10, seed=1), np.ones((1, 1, 1, 1), "float32"), np.array([2]))
    assert mixed.item() == 1
    np.testing.assert_allclose(soft, np.eye(10)[[2]], atol=1e-6)


# Composer, test_algorithms_train: a trainer with the algorithm takes a step, and the loss is finite.
@pytest.mark.parametrize("cls", [layers.CutMix])
def test_a_model_takes_a_step(cls, rng):
    network = keras.Sequential([keras.Input((3, 5, 11)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model = keras_mma.mixify(network, cls(seed=1), at=[])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    images, labels = random_batch(rng)
    history = model.fit(images / images.max(), labels, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


# kornia, test_smoke of RandomMixUpV2 and RandomCutMixV2: the repr names the arguments. In Keras that is the config.
@both
def test_the_config_names_the_arguments(cls):
    config = cls(alpha=0.3, probability=0.7).get_config()
    assert (config["alpha"], config["probability"], config["per"]) == (0.3, 0.7, "sample")


def ones_and_zeros():
    return np.stack([np.ones((3, 4, 1)), np.zeros((3, 4, 1))]).astype("float32")


# kornia, test_random_mixup_p1: images of ones and zeros become the share of the ones, another one for each sample.
# kornia, test_random_mixup_same_on_batch: the same for all samples.
@pytest.mark.parametrize("per", ["sample", "batch"])
def test_mixup_of_ones_and_zeros_shows_the_weight(per):
    plan, mixed = plan_and_images(layers.MixUp(per=per, partner="derangement", seed=1), ones_and_zeros())
    np.testing.assert_allclose(mixed[0], plan["weight"][0], rtol=1e-5)
    np.testing.assert_allclose(mixed[1], 1 - plan["weight"][1], rtol=1e-4, atol=1e-6)
    assert (plan["weight"][0] == plan["weight"][1]) == (per == "batch")
    assert plan["partner"].tolist() == [1, 0]


# kornia, TestRandomCutMixV2.test_random_mixup_p1: images of ones and zeros show the box; its area is the label's share.
# kornia, TestRandomCutMixV2.test_random_mixup_same_on_batch: one box for all samples.
@pytest.mark.parametrize("per", ["sample", "batch"])
def test_cutmix_of_ones_and_zeros_shows_the_box(per):
    mixer = layers.CutMix(alpha=20.0, border="inside", per=per, partner="derangement", seed=1)
    plan, mixed = plan_and_images(mixer, ones_and_zeros())
    np.testing.assert_array_equal(mixed[0], plan["mask"][0])
    np.testing.assert_array_equal(mixed[1], 1 - plan["mask"][1])
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)
    assert 0 < plan["weight"][0] < 1 and ((plan["mask"][0] == plan["mask"][1]).all() or per == "sample")


# kornia, test_random_mixup_p0 of both: nothing changes, and the partner's share of the label is 0.
@both
def test_with_probability_0_the_partner_has_no_share(cls):
    plan, mixed = plan_and_images(cls(probability=0.0), ones_and_zeros())
    np.testing.assert_array_equal(mixed, ones_and_zeros())
    assert (plan["weight"] == 1).all() and (plan["mask"] == 1).all()


# kornia, test_random_mixup_lam0: a range of lam from 0 to 0 changes nothing. There is no range here: see probability.
# kornia, TestRandomCutMixV2.test_random_mixup_beta0: a tiny beta gives boxes of half the image. Here, as of any small
# alpha, boxes of all or of nothing.
@both
def test_a_tiny_alpha_takes_one_image_or_the_other(cls):
    plan, _ = plan_and_images(cls(alpha=1e-3, partner="roll", seed=1), np.zeros((200, 6, 6, 1), "float32"))
    at_the_ends = (plan["weight"] < 0.01) | (plan["weight"] > 0.99)
    # A box around a center at the border is cut off.
    assert at_the_ends.mean() > (0.95 if cls is layers.MixUp else 0.4)


# kornia, test_random_mixup_num2: num_mix=5 pastes five boxes. Here there is one: alpha must be a number, and one only.
@both
@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), "1", None])
def test_alpha_must_be_positive(cls, alpha):
    with pytest.raises(ValueError, match="`alpha` must be"):
        cls(alpha=alpha)


# kornia, RandomMixUpGen: batches of 0, 1 and 8 samples.
@both
@pytest.mark.parametrize("count", [0, 1, 8])
def test_batches_of_any_size(cls, count):
    plan, mixed = plan_and_images(cls(seed=1), np.zeros((count, 3, 4, 1), "float32"))
    assert mixed.shape == (count, 3, 4, 1) and plan["weight"].shape == plan["partner"].shape == (count,)


# kornia, test_tokenmix_shape_and_type and test_patchmix_shape_and_type: shape and dtype stay, of 3 channels and of 1.
@pytest.mark.parametrize(("shape", "grid"), [((4, 32, 32, 3), 4), ((2, 16, 16, 1), 2)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_patches_keep_shape_and_dtype(shape, grid, dtype, rng):
    _, mixed = plan_and_images(layers.GridMix(grid=grid, seed=1), rng.random(shape).astype(dtype))
    assert mixed.shape == shape and mixed.dtype == dtype


# kornia, test_tokenmix_params_keys: what was drawn is there, for each sample.
def test_the_draws_are_in_the_plan(rng):
    plan, _ = plan_and_images(layers.GridMix(seed=1), rng.random((4, 32, 32, 3)).astype("float32"))
    assert set(plan) == {"partner", "mask", "weight", "site"}
    assert plan["partner"].shape == plan["weight"].shape == (4,) and plan["mask"].shape == (4, 32, 32, 1)


# kornia, test_tokenmix_lam_controls_mixing: with no patch of the partner, the images stay.
def test_a_plan_without_the_partner_changes_nothing(rng):
    images = ops.convert_to_tensor(rng.random((2, 8, 8, 3)).astype("float32"))
    plan = plans.unmixed(2, 8, 8)
    np.testing.assert_array_equal(to_numpy(plans.mix_images(images, plan)), to_numpy(images))


# kornia, test_tokenmix_different_inputs and test_patchmix_different_inputs: other images give other results.
def test_other_images_give_other_results(rng):
    first, second = (rng.random((4, 8, 8, 3)).astype("float32") for _ in range(2))
    (plan, mixed), (same, other) = (plan_and_images(layers.GridMix(seed=1), images) for images in (first, second))
    keras.tree.map_structure(np.testing.assert_array_equal, plan, same)
    assert (mixed != other).any()


# kornia, test_tokenmix_grad and test_patchmix_grad: gradients reach the images.
@pytest.mark.parametrize("cls", [layers.GridMix, *BOTH])
def test_gradients_reach_the_images(cls, rng):
    plan, _ = plan_and_images(cls(seed=1), images := rng.random((2, 8, 8, 3)).astype("float32"))
    plan = keras.tree.map_structure(ops.convert_to_tensor, plan)
    total, pull_back = vjp(lambda x: ops.sum(plans.mix_images(x, plan)), ops.convert_to_tensor(images))
    gradient = to_numpy(pull_back(ops.ones_like(total)))
    # What an image keeps of itself, and what it gives to the other.
    partner, mask = to_numpy(plan["partner"]), to_numpy(plan["mask"])
    expected = mask.copy()
    np.add.at(expected, partner, 1 - mask)
    np.testing.assert_allclose(gradient, np.broadcast_to(expected, gradient.shape), atol=1e-6)


# kornia, test_tokenmix_invalid_size: a grid that does not divide the image is an error. Here its cells differ in size.
def test_a_grid_need_not_divide_the_image(rng):
    plan, _ = plan_and_images(layers.GridMix(grid=5, seed=1), rng.random((4, 32, 32, 3)).astype("float32"))
    assert set(np.unique(plan["mask"])) == {0, 1}
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)


# kornia, test_tokenmix_num_tokens_too_large: more cells than pixels are an error. Here cells without a pixel have none.
def test_a_grid_may_be_finer_than_the_image(rng):
    plan, _ = plan_and_images(layers.GridMix(grid=64, seed=1), rng.random((2, 16, 16, 3)).astype("float32"))
    assert set(np.unique(plan["mask"])) <= {0, 1}
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)
