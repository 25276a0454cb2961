"""Batches that a user has: empty ones, extreme values, samples without weight, and the dicts of other libraries."""

import warnings

import keras
import numpy as np
import pytest

from keras_mma import layers
from tests.layers.mixers import CASES, MOVING_CASES, repeatedly, to_numpy, training_plan
from tests.pictures import blobs, one_hot

every_mixer = pytest.mark.parametrize("case", CASES + MOVING_CASES, ids=str)


class TestEmptyBatches:
    @every_mixer
    def test_they_pass_through(self, case):
        images, labels = np.zeros((0, 16, 20, 3), "uint8"), np.zeros((0, 5), "float32")
        mixed, mixed_labels = to_numpy(case.cls(**case.settings)(images, labels))
        assert mixed.shape == images.shape and mixed_labels.shape == labels.shape

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            pytest.param({"detector": "frequency_tuned", "partner": "distance"}, marks=pytest.mark.slow),
            {"partner": "roll"},
        ],
        ids=str,
    )
    def test_they_pass_through_a_graph_with_open_batch_size(self, needs_tensorflow, settings):
        import tensorflow as tf

        mixer = layers.SaliencyMix(**settings)
        signature = [tf.TensorSpec((None, 16, 16, 3), tf.uint8), tf.TensorSpec((None, 5), tf.float32)]
        # XLA compiles the mixing of labeled batches, and not that of small images in a model.
        labeled = tf.function(lambda images, labels: mixer(images, labels), input_signature=signature)
        unlabeled = tf.function(lambda images: mixer(images, training=True), input_signature=signature[:1])
        for count in (0, 3):
            images = tf.zeros((count, 16, 16, 3), tf.uint8)
            assert labeled(images, tf.zeros((count, 5)))[0].shape == images.shape
            assert unlabeled(images)[0].shape == images.shape


class TestUnmixedSamples:
    @every_mixer
    def test_infinity_stays_infinity(self, case, rng):
        images = blobs(rng, 16).astype("float32")
        images[:, 3, 4, 0] = np.inf
        mixed, plan = training_plan(case.cls(probability=0.0, **case.settings), images)
        np.testing.assert_array_equal(mixed, images)

    @every_mixer
    def test_integers_above_24_bits_stay(self, case, rng):
        images = blobs(rng, 16).astype("int32") + 2**24
        mixed, plan = training_plan(case.cls(probability=0.0, **case.settings), images)
        np.testing.assert_array_equal(mixed, images)

    @pytest.mark.parametrize("case", CASES, ids=str)
    @pytest.mark.parametrize("value", [np.float32(np.inf), np.int32(2**24 + 1)], ids=["infinity", "large integers"])
    def test_a_sample_that_is_its_own_partner_stays(self, case, value, rng):
        images = blobs(rng, 1).astype(value.dtype)
        images[:, 3, 4, 0] = value
        mixed, plan = training_plan(case.cls(seed=1, **case.settings), images)
        np.testing.assert_array_equal(mixed, images)

    def test_features_stay(self, rng):
        features = rng.normal(size=(4, 4, 4, 2)).astype("float32")
        features[:, 1, 1, 1] = np.inf
        _, plan = layers.MixUp(probability=0.0, sites=(1,))(blobs(rng, 4), training=True)
        mixed, _ = layers.FeatureMixAdapt(1)(features, plan, training=True)
        np.testing.assert_array_equal(to_numpy(mixed), features)


class TestSamplesOfWeightZero:
    @every_mixer
    def test_they_are_ignored_on_demand(self, case, rng):
        images, labels, weights = blobs(rng, 32).astype("float32"), one_hot(rng, 32), np.ones(32, "float32")
        weights[::3] = 0
        images[::3] = np.nan  # a partner without weight would show
        labels[::3] = np.nan
        mixer = case.cls(ignore_zero_weight=True, seed=1, **case.settings)
        mixed, mixed_labels, mixed_weights = to_numpy(mixer(images, labels, weights))
        np.testing.assert_array_equal(mixed_weights, weights)
        np.testing.assert_array_equal(mixed[::3], images[::3])
        kept = weights > 0
        assert np.isfinite(mixed[kept]).all() and np.isfinite(mixed_labels[kept]).all()
        assert not np.array_equal(mixed[kept], images[kept])

    def test_samples_whose_pixels_all_weigh_0_are_ignored(self, rng):
        images, labels, weights = blobs(rng, 8, 8, 8).astype("float32"), one_hot(rng, 8), np.ones((8, 8, 8), "float32")
        weights[4:] = 0
        weights[2, 1:] = 0  # still counted
        images[4:] = np.nan
        mixer = layers.MixUp(alpha=50.0, partner="roll", ignore_zero_weight=True, seed=1)
        mixed = to_numpy(mixer(images, labels, weights)[0])
        np.testing.assert_array_equal(mixed[4:], images[4:])
        assert np.isfinite(mixed[:4]).all() and (mixed[2] != images[2]).any()

    def test_they_require_weights(self, rng):
        mixer = layers.CutMix(ignore_zero_weight=True)
        for call in (lambda: mixer(blobs(rng), one_hot(rng)), lambda: mixer(blobs(rng), training=True)):
            with pytest.raises(ValueError, match="`ignore_zero_weight` requires labeled batches with sample weights"):
                call()


class TestDicts:
    def test_those_of_tensorflow_datasets(self, needs_tensorflow, rng):
        import tensorflow as tf

        batch = {"id": [f"train_{index}" for index in range(8)], "image": blobs(rng), "label": rng.integers(0, 5, 8)}
        dataset = tf.data.Dataset.from_tensor_slices(batch).batch(8)
        (mixed,) = dataset.map(layers.CutMix(num_classes=5, seed=1))
        assert list(mixed) == list(next(iter(dataset)))
        assert mixed["id"].numpy().tolist() == [name.encode() for name in batch["id"]]
        images, labels = layers.CutMix(num_classes=5, seed=1)(batch["image"], batch["label"])
        np.testing.assert_array_equal(mixed["image"], images)
        np.testing.assert_array_equal(mixed["label"], labels)

    def test_numbers_pass_through_too(self, rng):
        keys = ["index", "image_id", "image/height"]
        if keras.backend.backend() != "torch":  # where Keras sorts keys, which must then be of one type
            keys.append(3)
        batch = {"images": blobs(rng), "labels": one_hot(rng), **dict.fromkeys(keys, np.arange(8))}
        mixed = to_numpy(layers.CutMix()(batch))
        assert list(mixed) == list(batch)
        assert all(mixed[key].tolist() == list(range(8)) for key in keys)

    def test_an_integer_image_id_in_a_pipeline(self, needs_tensorflow, rng):
        import tensorflow as tf

        batch = {"image": blobs(rng), "label": rng.integers(0, 5, 8), "image_id": np.arange(8)}
        (mixed,) = tf.data.Dataset.from_tensor_slices(batch).batch(8).map(layers.SaliencyMix(num_classes=5))
        assert mixed["image_id"].dtype == tf.int64 and mixed["image_id"].numpy().tolist() == list(range(8))

    @pytest.mark.parametrize("key", ["label_id", "coarse_label"])
    def test_class_indices_do_not_pass_through(self, rng, key):
        batch = {"images": blobs(rng), "labels": one_hot(rng), key: np.arange(8)}
        with pytest.raises(ValueError, match=rf"of which \['{key}'\] cannot be mixed"):
            layers.CutMix()(batch)

    def test_segmentation_masks_without_labels(self, rng):
        masks = rng.integers(0, 9, (8, 16, 20)).astype("int32")
        images = np.repeat(masks[..., None], 3, -1).astype("uint8")
        out = to_numpy(layers.CutMix(seed=1)({"images": images, "segmentation_masks": masks}))
        assert list(out) == ["images", "segmentation_masks"] and not np.array_equal(out["images"], images)
        np.testing.assert_array_equal(out["images"][..., 0], out["segmentation_masks"])

    @pytest.mark.parametrize("key", ["boxes", "bounding_boxes", "coarse_label", "keypoints", "image_right"])
    def test_what_describes_the_image_is_refused(self, rng, key):
        batch = {"images": blobs(rng), "labels": one_hot(rng), key: np.zeros(8)}
        with pytest.raises(ValueError, match=rf"unless they describe the image.*of which \['{key}'\] cannot be mixed"):
            layers.CutMix()(batch)
        with pytest.raises(ValueError, match="'images' and 'labels' or 'segmentation_masks'"):
            layers.CutMix()({"image": blobs(rng), **batch})


class TestLayersOfKerasInAPipeline:
    def test_integer_labels_that_they_made_floats(self, needs_tensorflow, rng):
        import tensorflow as tf

        batch = {"images": blobs(rng).astype("float32"), "labels": rng.integers(0, 4, 8)}
        pipeline = keras.layers.Pipeline([keras.layers.RandomFlip(), layers.SaliencyMix(num_classes=4)])
        (mixed,) = tf.data.Dataset.from_tensor_slices(batch).batch(8).map(pipeline)
        assert mixed["labels"].shape == (8, 4)
        np.testing.assert_allclose(tf.reduce_sum(mixed["labels"], 1), 1.0, atol=1e-5)

    @pytest.mark.parametrize(
        "last", [keras.layers.RandomContrast(0.1), layers.SaliencyMix(num_classes=4)], ids=["keras", "mixer"]
    )
    def test_tuples_fail_as_in_keras(self, needs_tensorflow, rng, last):
        """The page shows the way round."""
        import tensorflow as tf

        pipeline = keras.layers.Pipeline([keras.layers.RandomFlip(), last])
        dataset = tf.data.Dataset.from_tensor_slices((blobs(rng).astype("float32"), rng.integers(0, 4, 8))).batch(8)
        with pytest.raises(TypeError, match="multiple values for argument 'training'"):
            dataset.map(pipeline)


class TestPairing:
    @pytest.mark.parametrize("size", [2, 3, 8])
    def test_nobody_is_alone_in_a_derangement(self, rng, size):
        mixer = layers.MixUp(partner="derangement", seed=1)
        partners = [training_plan(mixer, blobs(rng, size))[1]["partner"] for _ in range(20)]
        for partner in partners:
            assert sorted(partner) == list(range(size)) and (partner != np.arange(size)).all()
        if size > 2:
            assert len(np.unique(partners, axis=0)) > 1
        _, plan = training_plan(mixer, blobs(rng, 1))
        assert plan["partner"].tolist() == [0]

    def test_every_pair_is_as_likely(self, rng):
        mixer, images = layers.MixUp(partner="derangement", seed=1), blobs(rng, 4, 4, 4)
        counts, step = np.zeros((4, 4)), repeatedly(mixer, images)
        for _ in range(300):
            counts[np.arange(4), step()[1]["partner"]] += 1
        off_diagonal = counts[~np.eye(4, dtype=bool)]
        assert (np.diag(counts) == 0).all() and abs(off_diagonal - 100).max() < 5 * np.sqrt(300 * 2 / 9)


class TestOneDrawForTheBatch:
    @pytest.mark.parametrize("cls", [layers.MixUp, layers.CutMix])
    def test_lam_the_box_and_the_probability_are_shared(self, rng, cls):
        mixer, is_mixed = cls(per="batch", partner="derangement", probability=0.5, seed=1), []
        for _ in range(20):
            _, plan = training_plan(mixer, blobs(rng, 8, 32, 32))
            assert len(np.unique(plan["weight"])) == 1 and len(np.unique(plan["mask"], axis=0)) == 1
            is_mixed.append(plan["weight"][0] < 1)
        assert 3 < sum(is_mixed) < 17
        assert cls.from_config(mixer.get_config()).per == "batch"
        with pytest.raises(ValueError, match="`per` must be one of .* Received: per='step'"):
            cls(per="step")


class TestBoxesInsideTheImage:
    def test_no_box_is_cut(self, rng):
        mixer = layers.CutMix(border="inside", partner="derangement", seed=1)
        starts = []
        for _ in range(20):
            _, plan = training_plan(mixer, np.zeros((64, 9, 15, 1), "uint8"))
            for mask in plan["mask"][..., 0]:
                rows, columns = np.flatnonzero(mask.min(1) == 0), np.flatnonzero(mask.min(0) == 0)
                # The sides of a box have one ratio to those of the image, up to rounding.
                assert abs(len(rows) / 9 - len(columns) / 15) < 1 / 9
                starts += [rows[0]] if len(rows) == 5 else []
        assert set(starts) == set(range(5))

    @pytest.mark.parametrize(("border", "share"), [("clip", 0.70), ("inside", 0.51)])
    def test_the_share_that_a_sample_keeps(self, border, share):
        mixer = layers.CutMix(border=border, partner="derangement", seed=1)
        _, plan = training_plan(mixer, np.zeros((4000, 64, 64, 1), "uint8"))
        assert abs(plan["weight"].mean() - share) < 0.02


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the other backends do not compile single operations")
class TestEagerCallsOnJax:
    def test_they_are_compiled_once_for_each_shape(self, rng, monkeypatch):
        traced, sample_mask = [], layers.CutMix.sample_mask

        def spy(self, *args):
            traced.append(args)
            return sample_mask(self, *args)

        monkeypatch.setattr(layers.CutMix, "sample_mask", spy)
        mixer = layers.CutMix(partner="roll", seed=1)
        draws = [training_plan(mixer, blobs(rng))[1]["mask"] for _ in range(3)]
        assert len(traced) == 1 and len(np.unique(draws, axis=0)) == 3
        training_plan(mixer, blobs(rng, 5))
        assert len(traced) == 2
        mixer.probability = 0.0
        assert (training_plan(mixer, blobs(rng))[1]["weight"] == 1).all() and len(traced) == 2
        mixer.probability, mixer.border = 1.0, "inside"  # another argument is another computation
        training_plan(mixer, blobs(rng))
        assert len(traced) == 3

    def test_a_detector_of_numpy_runs_as_it_is(self, rng):
        mixer = layers.SaliencyMix(detector=lambda images: np.asarray(images)[..., :1])
        assert training_plan(mixer, blobs(rng))[0].shape == (8, 16, 20, 3)


class TestImagesOfTheOtherDataFormat:
    @pytest.mark.parametrize("shape", [(4, 3, 16, 20), (4, 1, 16, 16)])
    def test_they_trigger_a_warning(self, shape):
        images, labels = np.zeros(shape, "float32"), np.arange(4) % 2
        with pytest.warns(UserWarning, match=r"pass `data_format='channels_first'`. Received: images of shape \(4, "):
            layers.CutMix(num_classes=2, data_format="channels_last")(images, labels)
        with pytest.warns(UserWarning, match="pass `data_format='channels_last'`"):
            layers.CutMix(num_classes=2, data_format="channels_first")(np.moveaxis(images, 1, 3), labels)

    @pytest.mark.parametrize("shape", [(4, 16, 20, 3), (4, 16, 16, 1), (4, 1, 20, 8), (4, 3, 20, 3), (4, 16, 16, 12)])
    def test_others_do_not(self, shape):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            layers.CutMix(num_classes=2, data_format="channels_last")(np.zeros(shape, "float32"), np.arange(4) % 2)
