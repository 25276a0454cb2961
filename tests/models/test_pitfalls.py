"""Models that would train or predict something else than intended raise, trigger a warning, or are corrected."""

import warnings

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.pictures import blobs

CLASSES = 5


@pytest.fixture
def data(rng):
    return blobs(rng, 12).astype("float32"), rng.integers(0, CLASSES, 12)


def head(x):
    return keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x))


def conv(x, name, strides=1):
    return keras.layers.Conv2D(4, 3, strides=strides, padding="same", name=name)(x)


def mixer_of(model):
    return next(layer for layer in model.layers if isinstance(layer, layers.Mixer))


class TestAugmentationInsideTheNetwork:
    def network(self, form):
        augmentation = [keras.layers.RandomFlip(name="flip"), keras.layers.RandomCrop(12, 14, name="crop")]
        inputs = keras.Input((16, 20, 3))
        if form == "layers":
            x = inputs
            for layer in (keras.layers.Rescaling(1 / 255), *augmentation):
                x = layer(x)
            return keras.Model(inputs, head(conv(conv(x, "first"), "second", 2)))
        if form == "sequential":
            x = keras.Sequential(augmentation, name="augmentation")(keras.layers.Rescaling(1 / 255)(inputs))
            return keras.Model(inputs, head(conv(conv(x, "first"), "second", 2)))
        if form == "pipeline":
            x = keras.layers.Pipeline(augmentation)(inputs)
            return keras.Model(inputs, head(conv(conv(x, "first"), "second", 2)))
        convolutions = [keras.layers.Conv2D(4, 3, padding="same", name="first"), keras.layers.Conv2D(4, 3, strides=2)]
        inner = keras.Sequential([keras.Input((16, 20, 3)), *augmentation, *convolutions], name="inner")
        return keras.Model(inputs, head(inner(inputs)))

    @pytest.mark.parametrize("form", ["layers", "sequential", "pipeline", "nested"])
    def test_the_mixer_is_placed_after_it(self, form, data):
        if form == "pipeline" and keras.backend.backend() == "jax":
            pytest.skip("Keras cannot trace a RandomCrop in a Pipeline on JAX")
        network = self.network(form)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mixed = keras_mma.mixify(network, layers.CutMix(seed=1), at=["first"])
        # The mixer receives the cropped images.
        assert mixed.output[1]["mask"].shape == (None, 12, 14, 1)
        np.testing.assert_allclose(mixed.predict(data[0], verbose=0), network.predict(data[0], verbose=0), atol=1e-5)
        mixed.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        assert np.isfinite(mixed.fit(*data, verbose=0).history["loss"]).all()

    def test_without_augmentation_the_mixer_is_the_first_layer(self):
        inputs = keras.Input((16, 20, 3))
        model = keras.Model(inputs, head(conv(keras.layers.Rescaling(1 / 255)(inputs), "first")))
        assert isinstance(keras_mma.mixify(model, layers.CutMix()).layers[1], layers.CutMix)

    @pytest.mark.parametrize("sites", [(0,), (0, 1)])
    def test_augmentation_after_the_mixer_triggers_a_warning(self, sites):
        def build(*augmentation):
            inputs = keras.Input((16, 20, 3))
            x, plan = layers.CutMix(sites=sites)(inputs)
            for layer in augmentation:
                x = layer(x)
            x = conv(x, None)
            if 1 in sites:
                x, plan = layers.FeatureMixAdapt(1)(x, plan)
            return keras_mma.MixModel(inputs, (head(x), plan))

        with pytest.warns(UserWarning, match=r"\['turn'\] move pixels at random after 'cut_mix.*put the mixer after"):
            build(keras.layers.RandomRotation(0.1, name="turn"), keras.layers.RandomBrightness(0.1))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            build(keras.Sequential([keras.layers.RandomFlip(name="flip")]), keras.layers.GaussianNoise(0.1))
        # A flip preserves areas, but the mask does not describe the flipped features.
        assert ["'flip'" in str(warning.message) for warning in caught] == [True] * (sites != (0,))


class TestMixingLayersThatAreCalledMoreThanOnce:
    def assert_raises(self, build, match):
        inputs = keras.Input((16, 20, 3))
        with pytest.raises(ValueError, match=match):
            keras_mma.MixModel(inputs, build(inputs))

    def test_a_mixer_called_twice_in_sequence(self):
        mixer = layers.MixUp(name="mixer")

        def build(inputs):
            x, plan = mixer(mixer(inputs)[0])
            return head(x), plan

        self.assert_raises(build, "did not go through 'mixer', which is called more than once")

    def test_a_mixer_called_on_two_branches(self):
        mixer = layers.MixUp(name="mixer")

        def build(inputs):
            first, _ = mixer(inputs)
            second, plan = mixer(keras.layers.Rescaling(2.0)(inputs))
            return head(keras.layers.Add()([first, second])), plan

        self.assert_raises(build, "did not go through 'mixer', which is called more than once")

    def test_a_mixer_called_on_two_inputs(self):
        mixer, inputs = layers.MixUp(name="mixer"), [keras.Input((16, 20, 3)), keras.Input((16, 20, 3))]
        (first, _), (second, plan) = map(mixer, inputs)
        with pytest.raises(ValueError, match="did not go through 'mixer', which is called more than once"):
            keras_mma.MixModel(inputs, (head(keras.layers.Add()([first, second])), plan))

    def test_a_feature_mixer_called_twice_with_the_plan_of_the_mixer(self):
        adapt = layers.FeatureMixAdapt(1, name="adapt")

        def build(inputs):
            x, plan = layers.MixUp(sites=(1,))(inputs)
            y, _ = adapt(x, plan)
            x, plan = adapt(y, plan)
            return head(x), plan

        self.assert_raises(build, "did not go through 'adapt', which is called more than once")

    def test_a_mixer_inside_a_custom_layer(self):
        class Holder(keras.layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.blocks = [keras.layers.ReLU(), {"mixer": layers.MixUp(name="inside")}]

            def call(self, x, training=None):
                return self.blocks[1]["mixer"](x, training=training)[0]

            def compute_output_shape(self, shape):
                return shape

        def build(inputs):
            x, plan = layers.MixUp()(inputs)
            return head(Holder(name="holder")(x)), plan

        self.assert_raises(
            build, r"must be layers of the model itself.* Received: \['inside'\] inside the layer 'holder'"
        )


class TestPlansThatNothingFollows:
    def model(self, **kwargs):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.SaliencyMix(name="mixer", **kwargs)(inputs)
        outputs = head(x)
        return keras.Model(inputs, outputs), keras_mma.MixModel(inputs, (outputs, plan))

    def test_a_plain_model_around_a_mixer_does_not_train(self, data):
        if keras.backend.backend() == "jax":
            pytest.skip("Keras' trainer on JAX calls the layers of a model without the model: it is not noticed there")
        images, labels = data
        plain, mixed = self.model()
        for model in (plain, mixed):
            model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        with pytest.raises(ValueError, match="'mixer' would mix images, and nothing would mix their labels.*MixModel"):
            plain.fit(images, np.eye(CLASSES)[labels], verbose=0)
        assert plain.predict(images, verbose=0).shape == (12, CLASSES)
        assert np.isfinite(mixed.fit(images, labels, verbose=0).history["loss"]).all()

    def test_a_subclassed_model_around_a_mixer_does_not_train(self, data):
        class Subclassed(keras.Model):
            def __init__(self, **kwargs):
                super().__init__()
                self.mixer = layers.CutMix(name="mixer", **kwargs)
                self.dense = keras.layers.Dense(CLASSES)

            def call(self, images, training=None):
                return self.dense(keras.ops.mean(self.mixer(images, training=training)[0], axis=(1, 2)))

        images = data[0]
        with pytest.raises(ValueError, match="'mixer' would mix images"):
            Subclassed()(images, training=True)
        assert Subclassed()(images, training=False).shape == (12, CLASSES)
        assert Subclassed(requires_mix_model=False)(images, training=True).shape == (12, CLASSES)

    def test_who_follows_the_plan_can_say_so(self, data):
        plain, _ = self.model(requires_mix_model=False)
        plain.compile("sgd", "mse")
        plain.fit(data[0], np.eye(CLASSES)[data[1]], verbose=0)
        assert mixer_of(keras.models.clone_model(plain)).requires_mix_model is False
        layers.SaliencyMix()(data[0], training=True)  # outside a model

    def test_a_sequential_model_says_what_to_do(self, data):
        match = "cannot be a layer of a `Sequential` model.*mixify.* Received: 'mixer' in 'pipeline'"
        mixer = layers.SaliencyMix(name="mixer", num_classes=CLASSES)
        with pytest.raises(ValueError, match=match):
            keras.Sequential([keras.Input((16, 20, 3)), mixer, keras.layers.Conv2D(4, 3)], name="pipeline")

        def pipeline():
            return keras.Sequential([keras.layers.RandomFlip(), mixer], name="pipeline")

        with pytest.raises(ValueError, match=match):
            pipeline()(data[0], training=True)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with pytest.raises(ValueError, match=match):
                tf.data.Dataset.from_tensor_slices(data[0]).batch(4).map(pipeline())
        labelled = keras.Sequential([mixer])({"images": data[0], "labels": data[1]})
        assert labelled["labels"].shape == (12, CLASSES)
