"""RandomChoice: each mixer is chosen with its probability, and mixes as it does alone."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

import keras_mma
from keras_mma import layers
from keras_mma.layers import masks
from tests.layers.mixers import repeatedly, training_plan
from tests.pictures import blobs, one_hot

MIXERS = [layers.MixUp(), layers.CutMix()]


def is_uniform(plan):
    """Whether the mask of each sample is uniform, as MixUp's is and CutMix's is not."""
    return np.ptp(plan["mask"], axis=(1, 2, 3)) < 1e-6


def test_one_mixer_is_chosen_for_each_step(rng):
    images = blobs(rng, 16)
    step = repeatedly(layers.RandomChoice(MIXERS, probabilities=[0.25, 0.75], seed=1), images)
    chosen = []
    for _ in range(120):
        _, plan = step()
        uniform = is_uniform(plan)[plan["mask"].min((1, 2, 3)) < 1]
        if plan["weight"].min() > 0:  # no box covers a whole image
            assert uniform.all() or not uniform.any()
        chosen.append(uniform.mean() > 0.5)
    assert stats.binomtest(sum(chosen), 120, 0.25).pvalue > 1e-3


def test_a_mixer_is_chosen_for_each_sample(rng):
    _, plan = training_plan(
        layers.RandomChoice(MIXERS, probabilities=[0.25, 0.75], per="sample", seed=1), blobs(rng, 600)
    )
    is_mixed = (plan["mask"].min((1, 2, 3)) < 1) & (plan["weight"] > 0)
    uniform = is_uniform(plan)[is_mixed]
    # An empty box counts as unmixed: of all samples, about 0.75 are drawn by CutMix and a few of them are unmixed.
    assert stats.binomtest(int(uniform.sum()), 600, 0.25).pvalue > 1e-3


@pytest.mark.parametrize("per", ["step", "sample"])
def test_a_mixer_with_probability_1_mixes_as_it_does_alone(rng, per):
    """The weights have the distribution of the mixer, including its own probability."""
    images = blobs(rng, 500)
    mixer = layers.CutMix(probability=0.5, seed=1)
    _, alone = training_plan(mixer, images)
    _, plan = training_plan(layers.RandomChoice([mixer, layers.MixUp()], probabilities=[1, 0], per=per, seed=2), images)
    assert stats.ks_2samp(alone["weight"], plan["weight"]).pvalue > 1e-3
    assert 0.4 < (plan["weight"] == 1).mean() < 0.65
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)


def test_only_the_saliency_of_the_chosen_mixer_is_computed(needs_tensorflow, rng):
    import tensorflow as tf

    calls = tf.Variable(0)

    def counted(images):
        calls.assign_add(1)
        return ops.cast(images[..., :1], "float32")

    mixers = [layers.MixUp(), layers.SaliencyMix(detector=counted)]
    mixer = layers.RandomChoice(mixers, probabilities=[0.5, 0.5], seed=1)
    step = tf.function(lambda images: mixer(images, training=True))
    images = tf.constant(blobs(rng, 8))
    kinds = [bool(is_uniform({"mask": step(images)[1]["mask"].numpy()}).all()) for _ in range(20)]
    assert 0 < sum(kinds) < 20
    assert int(calls) == 20 - sum(kinds)


@pytest.mark.slow
def test_a_model_trains_is_saved_and_resumes_training(rng, tmp_path):
    mixers = [layers.MixUp(alpha=0.2), layers.SaliencyMix(detector="activation")]
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=5)
    model = keras_mma.mixify(network, layers.RandomChoice(mixers, seed=1), at=["stage1"])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    images, labels = blobs(rng, 8, 16, 16).astype("float32"), one_hot(rng)
    assert np.isfinite(model.fit(images, labels, epochs=2, batch_size=4, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    assert np.isfinite(loaded.fit(images, labels, batch_size=4, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"mixers": []}, "`mixers` must be a list of at least one `Mixer`"),
        ({"mixers": [keras.layers.ReLU()]}, "`mixers` must be a list of at least one `Mixer`"),
        ({"mixers": MIXERS, "probabilities": [1.0]}, "`probabilities` must be 2 numbers with a sum of 1"),
        ({"mixers": MIXERS, "probabilities": [0.5, 0.6]}, "`probabilities` must be 2 numbers with a sum of 1"),
        ({"mixers": MIXERS, "probabilities": [1.5, -0.5]}, r"`probabilities` must be a number in \[0, 1\]"),
        ({"mixers": MIXERS, "per": "batch"}, "`per` must be one of"),
        ({"mixers": [layers.RandomChoice(), layers.CutMix()]}, "`mixers` must not contain another RandomChoice"),
        (
            {"mixers": [layers.CutMix(), layers.ResizeMix()]},
            "`mixers` must not move or resize.* Received: 'resize_mix",
        ),
        ({"mixers": [layers.PuzzleMix(transport=True)]}, "`mixers` must not move or resize.* Received: 'puzzle_mix"),
        (
            {"mixers": [layers.CutMix(label="sumix")]},
            "`label='sumix'` and `ignore_zero_weight` must be passed to a Ran",
        ),
        ({"mixers": [layers.CutMix(ignore_zero_weight=True)]}, "must be passed to a RandomChoice, not to its mixers"),
        ({"partner": "roll"}, "must be passed to the mixers.* Received: partner='roll'"),
        ({"label": "saliency", "detector": "fine_grained"}, "must be passed to the mixers.* Received: .*fine_grained"),
    ],
)
def test_invalid_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        layers.RandomChoice(**arguments)


@pytest.mark.parametrize("other", [layers.GridMix, layers.MixUp])
def test_masks_are_binary_if_those_of_all_mixers_are(other):
    assert layers.RandomChoice([layers.CutMix(), other()]).has_binary_mask == (other is layers.GridMix)


def test_changed_probabilities_are_used(rng):
    """On JAX, a call is compiled with the arguments that the layer has."""
    images, labels = rng.random((8, 8, 8, 3)).astype("float32"), np.eye(4)[np.arange(8) % 4]
    choice = layers.RandomChoice([layers.MixUp(partner="roll"), layers.CutMix(partner="roll")], probabilities=[1, 0])
    for probabilities, is_binary in (((1.0, 0.0), False), ((0.0, 1.0), True)):
        choice.probabilities = probabilities
        mixed = ops.convert_to_numpy(choice((images, labels))[0])
        kept = np.isclose(mixed, images) | np.isclose(mixed, np.roll(images, 1, axis=0))
        assert (kept.mean() > 0.99) == is_binary


class Counting(layers.RandomChoice):
    """A choice of a user, with a side effect."""

    calls = 0

    def sample(self, images):
        type(self).calls += 1
        return super().sample(images)


def test_a_choice_of_a_user_is_called_each_time(rng):
    choice, before = Counting(), Counting.calls
    for _ in range(3):
        choice((rng.random((4, 8, 8, 3)).astype("float32"), np.eye(4)))
    assert Counting.calls == before + 3


def test_a_mixer_of_a_user_that_moves_the_image_raises(rng):
    class Moving(layers.SaliencyMix):
        is_input_only = property(lambda self: False, lambda self, value: None)

    with pytest.raises(
        ValueError, match="`is_input_only` of Moving must be True, because .* Received: is_input_only=F"
    ):
        Moving(scheme="salient_to_salient")(blobs(rng, 4), training=True)
    mixer = layers.RandomChoice([Moving(scheme="salient_to_salient")])
    with pytest.raises(ValueError, match="`mixers` must not move or resize the image"):
        mixer(blobs(rng, 4), training=True)


def test_a_mixer_of_a_user_that_moves_its_own_image_raises(rng):
    class Moving(layers.MixUp):
        def sample_mask(self, images, partner, maps):
            upside_down = np.arange(16 * 20, dtype="int32").reshape(16, 20)[::-1]
            half = ops.full((4, 16, 20, 1), 0.5)
            return masks.Dense(half, own_source=ops.convert_to_tensor(np.stack([upside_down] * 4)))

    with pytest.raises(ValueError, match="`is_input_only` of Moving must be True"):
        Moving()(blobs(rng, 4), training=True)
    with pytest.raises(ValueError, match="`mixers` must not move or resize the image"):
        layers.RandomChoice([Moving()])(blobs(rng, 4), training=True)
