"""What torchvision and timm test and promise of their mixing transforms, tried on those of this package.

The comment before each test names the peer and what it tests. timm has no tests of `Mixup`: its checks and docstrings
are taken instead. `docs/peers.md` lists where this package does otherwise.
"""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_mma import layers
from tests import oracles
from tests.peers.batches import BOTH, labeled, plan_and_images, random_batch, twos_and_ones

both = pytest.mark.parametrize("cls", BOTH)


def check_output(mixed, soft, count, classes):
    assert mixed.shape[0] == count and soft.shape == (count, classes)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert ((soft != 0).sum(1) == 2).all()


# torchvision, test_supported_input_structure: images and class indices as two arguments; two classes in each label.
# torchvision, test_supported_input_structure: both in one argument, a tuple or, as a DataLoader makes it, a list.
@both
@pytest.mark.parametrize("form", ["two arguments", tuple, list])
def test_images_and_class_indices(cls, form, rng):
    images, labels = rng.random((32, 6, 6, 3)).astype("float32"), np.arange(32)
    # Small boxes would be empty, which leaves one class.
    mixer = cls(alpha=20.0, num_classes=100, partner="roll", seed=1)
    batch = mixer(images, labels) if form == "two arguments" else mixer(form([images, labels]))
    assert form == "two arguments" or isinstance(batch, tuple | list)
    check_output(*map(ops.convert_to_numpy, batch), 32, 100)


# torchvision, CutMix and MixUp: the partner is the sample before. Here that is an option.
@both
def test_the_partner_can_be_the_sample_before(cls, rng):
    mixer = cls(alpha=20.0, num_classes=9, partner="roll", seed=1)
    _, soft = labeled(mixer, rng.random((9, 6, 6, 3)).astype("float32"), np.arange(9))
    for sample, row in enumerate(soft):
        assert set(np.flatnonzero(row)) == {sample, (sample - 1) % 9}


# torchvision: no sample is its own partner. Here one may be by default, unless `partner` says otherwise.
def test_no_sample_is_its_own_partner_on_demand(rng):
    images = rng.random((6, 4, 4, 1)).astype("float32")
    own = {
        policy: sum(
            (plan_and_images(layers.MixUp(partner=policy, seed=seed), images)[0]["partner"] == np.arange(6)).sum()
            for seed in range(8)
        )
        for policy in ("shuffle", "derangement", "roll")
    }
    assert own["shuffle"] > 0 == own["derangement"] == own["roll"]


# torchvision, test_error: images that are no batch, such as a single picture or a mask.
@both
@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 3), (1, 1, 9, 12, 12)])
def test_images_of_another_rank_are_refused(cls, shape):
    with pytest.raises(ValueError, match="rank 4|of shape"):
        cls(num_classes=10)(np.zeros(shape, "float32"), np.zeros(shape[0], "int32"))


# torchvision, test_error: a dict in which the labels cannot be found.
@both
def test_a_dict_with_unknown_keys_is_refused(cls):
    with pytest.raises(ValueError, match="images"):
        cls(num_classes=10)({"img": np.zeros((9, 12, 12, 3), "float32"), "nothing_else": np.zeros(9)})


# torchvision, test_error: labels that are no numbers.
@both
def test_labels_that_are_strings_are_refused(cls):
    with pytest.raises(ValueError, match="labels.*must be numbers"):
        cls(num_classes=10)(np.zeros((2, 12, 12, 3), "float32"), np.array(["cat", "dog"]))


# torchvision, test_error: labels of a shape that fits nothing.
# torchvision, test_error: as many labels as there are images, plus one.
@both
@pytest.mark.parametrize("labels", [np.zeros((2, 3), "int32"), np.zeros(10, "int32"), np.zeros((9, 3), "float32")])
def test_labels_that_do_not_fit_are_refused(cls, labels):
    with pytest.raises(ValueError, match="labels|batch"):
        cls(num_classes=10)(np.zeros((9, 12, 12, 3), "float32"), labels)


# torchvision, constructor: class indices need the number of classes.
@both
def test_class_indices_without_the_number_of_classes_are_refused(cls):
    with pytest.raises(ValueError, match="num_classes"):
        cls()(np.zeros((4, 6, 6, 3), "float32"), np.arange(4))


# torchvision, one_hot of labels: a class index that is too large.
@both
def test_a_class_index_out_of_range_is_refused(cls):
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        cls(num_classes=3)(np.zeros((4, 6, 6, 3), "float32"), np.arange(4))


# torchvision, test_error, Compose: mixing twice is an error. Here soft labels are mixed again.
@both
def test_a_batch_can_be_mixed_twice(cls, rng):
    mixer = cls(num_classes=9, seed=1)
    _, soft = labeled(mixer, *mixer(rng.random((9, 6, 6, 3)).astype("float32"), np.arange(9)))
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)


# torchvision, CutMix: lam is the area that is left after the box was cut off at the border.
# timm, correct_lam=True: the same.
def test_the_label_follows_the_area_of_the_clipped_box():
    images, labels = twos_and_ones(side=8)
    mixer, clipped = layers.CutMix(partner="derangement", seed=1), 0
    for _ in range(10):
        mixed, soft = labeled(mixer, images, labels)
        np.testing.assert_allclose(soft[:, 0], mixed.mean((1, 2, 3)) - 1, atol=1e-6)
        clipped += len(np.unique(soft))
    assert clipped > 4


# torchvision, test_cpu_vs_gpu: another device, the same results. On one device: another way to run, a graph.
@both
def test_a_graph_and_eager_mixing_have_the_same_results(cls, needs_tensorflow, rng):
    import tensorflow as tf

    images, labels = rng.random((3, 12, 12, 3)).astype("float32"), np.eye(3, dtype="float32")
    eager = labeled(cls(alpha=0.5, seed=1), images, labels)
    mixer = cls(alpha=0.5, seed=1)
    of_graph = tf.function(lambda x, y: mixer(x, y))(tf.constant(images), tf.constant(labels))
    keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tuple(of_graph), tuple(eager))


# timm, constructor: the number of classes is positive.
@both
def test_the_number_of_classes_is_positive(cls):
    with pytest.raises(ValueError, match="`num_classes` must be .* Received: num_classes=0"):
        cls(num_classes=0)


# timm, prob=0 and mixup_enabled=False: nothing is mixed, and class indices become one-hot.
@both
def test_nothing_is_mixed_with_probability_0(cls, rng):
    images, labels = random_batch(rng)
    mixed, hot = labeled(cls(probability=0.0, num_classes=10), images, labels)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(hot, np.eye(10)[labels])


# timm, mixup_enabled: a training loop turns mixing off for its last epochs.
def test_mixing_can_be_turned_off_later(rng):
    images, labels = random_batch(rng)
    mixer = layers.MixUp(num_classes=10, seed=1)
    assert (labeled(mixer, images, labels)[0] != images).any()
    mixer.probability = 0.0
    np.testing.assert_array_equal(labeled(mixer, images, labels)[0], images)


# timm, mode="elem", prob=0.5: each sample is mixed or not. In mode="batch" the whole batch is.
def test_probability_holds_for_each_sample():
    images = np.zeros((400, 2, 2, 1), "float32")
    plan, _ = plan_and_images(layers.MixUp(probability=0.5, partner="roll", seed=2), images)
    assert stats.binomtest(int((plan["weight"] < 1).sum()), 400, 0.5).pvalue > 1e-3


# timm, mode="batch": one lam, or one box, for the whole batch. mode="elem": each sample has its own.
@both
@pytest.mark.parametrize("per", ["sample", "batch"])
def test_lam_belongs_to_the_sample_or_to_the_batch(cls, per, rng):
    plan, _ = plan_and_images(cls(per=per, partner="roll", seed=1), rng.random((12, 9, 9, 1)).astype("float32"))
    masks = {mask.tobytes() for mask in plan["mask"]}
    assert len(masks) == 1 if per == "batch" else len(masks) > 6


# timm, an assertion: batches of an odd size are an error. Here they are mixed.
@both
@pytest.mark.parametrize("count", [1, 7])
def test_odd_batches_are_mixed(cls, count, rng):
    images, labels = random_batch(rng, count)
    mixed, soft = labeled(cls(num_classes=10, seed=1), images, labels)
    assert mixed.shape == images.shape
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)


# timm, switch_prob: MixUp or CutMix for each batch; 0 and 1 choose one of them always.
@pytest.mark.parametrize("switch", [0.0, 0.5, 1.0])
def test_mixup_and_cutmix_are_switched(switch, rng):
    mixer = layers.RandomChoice(
        [layers.MixUp(alpha=5.0, partner="roll"), layers.CutMix(alpha=5.0, partner="roll")],
        probabilities=[1 - switch, switch],
        seed=1,
    )
    images = rng.random((4, 6, 6, 1)).astype("float32")
    binary = [set(np.unique(plan_and_images(mixer, images)[0]["mask"])) <= {0, 1} for _ in range(12)]
    assert {0.0: not any(binary), 0.5: 0 < sum(binary) < 12, 1.0: all(binary)}[switch]


# timm, mixup_target: lam times the one-hot label plus (1 - lam) times that of the partner.
@both
def test_labels_equal_the_loop(cls, rng):
    images, labels = random_batch(rng)
    batch = cls(num_classes=10, seed=1)({"images": images, "labels": labels})
    _, plan = cls(seed=1)(images, training=True)
    plan = {key: ops.convert_to_numpy(value) for key, value in plan.items()}
    expected = oracles.mix_labels(np.eye(10)[labels], plan)
    np.testing.assert_allclose(ops.convert_to_numpy(batch["labels"]), expected, atol=1e-6)


# timm, blend: uint8 images are blended as floats and rounded.
def test_bytes_are_rounded(rng):
    images = rng.integers(0, 256, (6, 4, 4, 3)).astype("uint8")
    plan, mixed = plan_and_images(layers.MixUp(seed=1, partner="roll"), images)
    assert mixed.dtype == "uint8"
    assert np.abs(mixed - oracles.mix(images, plan)).max() <= 0.5 + 1e-4


# timm, test_patchmix: batches of 4 and 7 with probabilities 1, 0.5 and 0. Its nearest mixer here is GridMix.
@pytest.mark.parametrize("count", [4, 7])
@pytest.mark.parametrize("probability", [1.0, 0.5, 0.0])
def test_patches_are_mixed_with_every_probability(count, probability, rng):
    images, labels = random_batch(rng, count, 8, 8, 3)
    mixer = layers.GridMix(probability=probability, num_classes=10, partner="roll", seed=3)
    mixed, soft = labeled(mixer, images, labels)
    assert mixed.shape == images.shape and soft.shape == (count, 10)
    if probability in (0, 1):  # in between, none of a few samples may be mixed
        assert (mixed != images).any() == (probability > 0)
