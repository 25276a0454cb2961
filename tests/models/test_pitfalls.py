"""Models that would train or predict something else than intended raise, trigger a warning, or are corrected."""

import contextlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.pictures import blobs
from tests.tracing import UNTRACED

CLASSES = 5
ROOT = Path(__file__).parents[2]


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
        mode = {} if form == "layers" else UNTRACED
        mixed.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), **mode)
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


class TestFixedCropsInsideTheNetwork:
    """Labels keep the share of the whole image that the mixer received."""

    SIZE = (16, 20)
    FORMS = ("CenterCrop", "Cropping2D", "Resizing", "Sequential", "Pipeline", "Functional")
    FORMS += ("slice", "strides", "slice with strides", "slice of strides")

    def mixed(self, *preprocessing):
        """A mixer in front of layers, and predictions that are the mean of the image that leaves them."""
        inputs = keras.Input((*self.SIZE, CLASSES))
        x, plan = layers.CutMix(seed=1, partner="roll")(inputs)
        for layer in preprocessing:
            x = layer(x)
        return keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x), plan))

    def error(self, model):
        """The mean squared difference of labels and predictions, for images that are maps of their one-hot labels."""
        labels = np.eye(CLASSES, dtype="float32")[np.arange(32) % CLASSES]
        images = np.broadcast_to(labels[:, None, None], (32, *self.SIZE, CLASSES))
        labels, predictions, _ = model.follow_plan(labels, model(images, training=True))
        return np.square(keras.ops.convert_to_numpy(labels - predictions)).mean()

    def crops(self):
        crop = keras.layers.CenterCrop(8, 8, name="crop")
        inputs = keras.Input((*self.SIZE, CLASSES))
        return {
            "CenterCrop": (crop, "crop"),
            "Cropping2D": (keras.layers.Cropping2D(3, name="crop"), "crop"),
            "Resizing": (keras.layers.Resizing(8, 8, crop_to_aspect_ratio=True, name="crop"), "crop"),
            "Sequential": (keras.Sequential([keras.layers.Rescaling(1.0), crop]), "crop"),
            "Pipeline": (keras.layers.Pipeline([keras.layers.Rescaling(1.0), crop]), "crop"),
            "Functional": (keras.Model(inputs, crop(inputs)), "crop"),
            "slice": (lambda x: x[:, 4:-4, :8], "get_item"),
            "strides": (lambda x: x[:, ::2][..., 2:-6, :], "get_item"),
            "slice with strides": (lambda x: x[:, 2:-6, ::2], "get_item"),
            "slice of strides": (lambda x: x[:, 8::2], "get_item"),
        }

    @pytest.mark.parametrize("form", FORMS)
    def test_they_trigger_a_warning(self, form):
        layer, name = self.crops()[form]
        with pytest.warns(UserWarning, match=rf"\['{name}.*'\] cut off a part of what 'cut_mix.*put the mixer after"):
            model = self.mixed(layer)
        assert self.error(model) > 1e-4

    def test_layers_that_keep_the_shares_do_not(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            models = [
                self.mixed(keras.layers.Resizing(8, 10)),
                self.mixed(keras.layers.Resizing(8, 10, crop_to_aspect_ratio=True)),
                self.mixed(keras.layers.CenterCrop(*self.SIZE)),
                self.mixed(lambda x: x[:, ::2, ::2]),
            ]
            self.mixed(lambda x: x[..., :3])
            self.mixed(keras.layers.ZeroPadding2D(((0, 1), (0, 1))), lambda x: x[:, 1::2, ::-2])
            x = inputs = keras.Input((*self.SIZE, 3))
            x = keras.layers.ZeroPadding2D(1)(x)
            branch = keras.layers.Cropping2D(1)(conv(x, "branch"))
            x = keras.layers.Add()([branch, keras.layers.Conv2D(4, 3)(x)])
            keras_mma.mixify(keras.Model(inputs, head(x)), layers.CutMix(), at=[])
        errors = list(map(self.error, models))
        assert max(errors[:3]) < 1e-12
        assert errors[3] < 1e-3  # every second row and column: the share is rounded

    def test_images_that_look_like_channels_first_warn(self):
        inputs = keras.Input((3, 16, 16))
        x, plan = layers.CutMix()(inputs)
        model = keras_mma.MixModel(inputs, (keras.layers.Dense(2)(keras.layers.Flatten()(x)), plan))
        model.compile("sgd", "mse")
        with pytest.warns(UserWarning, match="these look like channels_first"):
            model.fit(np.zeros((4, 3, 16, 16)), np.eye(2)[[0, 1, 0, 1]], verbose=0)

    def test_slices_of_channels_first_images(self):
        inputs = keras.Input((CLASSES, *self.SIZE))
        x, plan = layers.CutMix(data_format="channels_first")(inputs)

        def build(x):
            return keras_mma.MixModel(inputs, (keras.ops.mean(x, axis=(2, 3)), plan))

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(x[:, :3])
            build(x[:, :, ::2])
        with pytest.warns(UserWarning, match="cut off a part"):
            build(x[..., 4:])

    @pytest.mark.parametrize("form", FORMS)
    def test_mixify_puts_the_mixer_after_them(self, form):
        layer, _ = self.crops()[form]
        inputs = keras.Input((*self.SIZE, CLASSES))
        x = layer(keras.layers.Rescaling(1.0)(inputs))
        network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = keras_mma.mixify(network, layers.CutMix(seed=1, partner="roll"), at=[])
        assert self.error(model) < 1e-12


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

    @pytest.mark.parametrize("key", ["partner", "mask"])
    def test_a_plan_that_was_changed(self, key):
        def build(inputs):
            x, plan = layers.MixUp()(inputs)
            _, other = layers.MixUp()(inputs)
            return head(x), {**plan, key: other[key]}

        self.assert_raises(build, rf"Received: a plan whose \['{key}'\] come from another call")

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

    @pytest.mark.parametrize("requires_mix_model", [True, False])
    def test_a_mixer_in_a_function_that_a_layer_calls(self, data, requires_mix_model):
        """No graph shows it: the mixer itself finds that the labels follow another one."""
        hidden = layers.MixUp(name="hidden", requires_mix_model=requires_mix_model)
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix(name="mixer")(inputs)
        x = keras.layers.Lambda(lambda x: hidden(x)[0], output_shape=(16, 20, 3))(x)
        model = keras_mma.MixModel(inputs, (head(x), plan))
        assert model(data[0]).shape == (12, CLASSES)
        match = "'hidden' would mix images, .* which follow 'mixer'"
        with pytest.raises(ValueError, match=match) if requires_mix_model else contextlib.nullcontext():
            model(data[0], training=True)


class TestPlansThatNothingFollows:
    def model(self, **kwargs):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.SaliencyMix(name="mixer", **kwargs)(inputs)
        outputs = head(x)
        return keras.Model(inputs, outputs), keras_mma.MixModel(inputs, (outputs, plan))

    def test_a_plain_model_around_a_mixer_does_not_train(self, data):
        images, labels = data
        plain, mixed = self.model()
        for model in (plain, mixed):
            model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        assert plain.predict(images, verbose=0).shape == (12, CLASSES)
        assert np.isfinite(mixed.fit(images, labels, verbose=0).history["loss"]).all()
        # Last, because Keras' trainer on JAX holds the weights during `fit` and loses them when a step raises.
        with pytest.raises(ValueError, match="'mixer' would mix images, and nothing would mix their labels.*MixModel"):
            plain.fit(images, np.eye(CLASSES)[labels], verbose=0)

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
        model = Subclassed()
        model(images)
        model.compile("sgd", "mse")
        with pytest.raises(ValueError, match="'mixer' would mix images"):
            model.fit(images, np.eye(CLASSES)[data[1]], verbose=0)

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
        labeled = keras.Sequential([mixer])({"images": data[0], "labels": data[1]})
        assert labeled["labels"].shape == (12, CLASSES)


class Logs(keras.callbacks.Callback):
    """Collects the mean peak of the epoch after each batch."""

    def __init__(self, means):
        super().__init__()
        self.means = means

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["peak"])


class TestNumbersThatChangeDuringTraining:
    def model(self, mixer):
        inputs = keras.Input((16, 20, 3))
        model = keras_mma.mixify(keras.Model(inputs, head(inputs)), mixer, at=[])

        def peak(y_true, y_pred):
            """1 where labels are not mixed."""
            return keras.ops.max(y_true, -1)

        model.compile("sgd", "mse", metrics=[peak])
        return model

    def peaks(self, model, data, settings):
        """The mean highest label of each epoch, after assigning a setting before it."""

        def assign(epoch, logs):
            for name, value in settings[epoch].items():
                setattr(model.mixer, name, value)

        callback = keras.callbacks.LambdaCallback(on_epoch_begin=assign)
        history = model.fit(*data, epochs=len(settings), callbacks=[callback], batch_size=4, verbose=0)
        return history.history["peak"]

    def test_probability_takes_effect_in_the_next_step(self, data):
        model = self.model(layers.MixUp(seed=1, partner="roll"))
        mixed, unmixed, again = self.peaks(model, data, [{}, {"probability": 0.0}, {"probability": 1}])
        assert mixed < 0.9 and unmixed == 1.0 and again < 0.9
        model.mixer.probability = 0.0  # between two calls of `fit`
        assert model.fit(*data, verbose=0).history["peak"][0] == 1.0

    def test_alpha_takes_effect_in_the_next_step(self, data):
        model = self.model(layers.MixUp(seed=1, partner="roll"))
        apart, equal = self.peaks(model, data, [{"alpha": 1e-3}, {"alpha": 1e3}])
        assert apart > 0.9 and equal < 0.8

    @pytest.mark.parametrize("form", ["generator", "dataset"])
    def test_it_can_be_assigned_while_a_batch_is_fetched(self, data, form):
        model = self.model(layers.MixUp(alpha=50.0, partner="roll"))
        means = []

        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, number):
                model.mixer.probability = float(number != 2)
                return data[0][:4], data[1][:4]

        def generate():
            for number in range(3):
                yield Batches()[number]

        batches = Batches() if form == "dataset" else generate()
        model.fit(batches, shuffle=False, verbose=0, callbacks=[Logs(means)])
        assert len(means) == 3 and means[0] < 0.95 and model.mixer.probability == 0.0
        assert (keras.ops.convert_to_numpy(model.mixer(data[0], training=True)[1]["weight"]) == 1).all()
        model.fit(*data, batch_size=4, verbose=0, callbacks=[Logs(means)])
        assert means[-1] == 1.0

    def test_an_assignment_leaves_the_weights_as_they_are(self, data):
        model = self.model(layers.MixUp())
        model.train_on_batch(*data)
        with pytest.raises(ValueError):
            model.predict_on_batch(np.zeros((2, 3)))
        weights = [np.zeros(weight.shape) for weight in model.get_weights()]
        model.set_weights(weights)
        model.mixer.probability = 0.5
        assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), weights, strict=True))

    @pytest.mark.parametrize("is_in_choice", [False, True])
    def test_a_mixer_that_was_kept_can_be_assigned_in_the_middle_of_an_epoch(self, data, is_in_choice):
        mixer = layers.MixUp(alpha=50.0, partner="roll")
        model = self.model(layers.RandomChoice([mixer]) if is_in_choice else mixer)
        kept = model.mixer.mixers[0] if is_in_choice else model.mixer
        means = []

        def assign(batch, logs):
            means.append(logs["peak"])  # the mean of the batches so far
            if batch == 1:
                kept.alpha = 1e-6  # lam is 0 or 1

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=assign)
        model.fit(*data, batch_size=4, verbose=0, callbacks=[callback])
        assert means[1] < 0.95 and means[2] == pytest.approx((2 * means[1] + 1) / 3, abs=1e-3)
        assert kept.alpha == 1e-6

    @pytest.mark.parametrize("probability", [1.0, 0.5])
    def test_the_state_of_the_seed_advances_as_it_always_did(self, data, probability):
        mixer = layers.MixUp(seed=1, probability=probability)
        for step in (1, 2):
            mixer(data[0], training=True)
            # One draw each for partners, lam, and, below a probability of 1, who is mixed.
            assert keras.ops.convert_to_numpy(mixer.seed_generator.state)[1] == step * (2 if probability == 1 else 3)

    def test_they_are_no_weights(self, data, tmp_path):
        import h5py

        model = self.model(layers.MixUp(probability=0.5, name="mixer"))
        assert {id(weight) for weight in model.weights} == {id(w) for w in model.inference_model().weights}
        model.save_weights(tmp_path / "model.weights.h5")
        with h5py.File(tmp_path / "model.weights.h5") as file:
            assert list(file["layers/mix_up/vars"]) == ["seed_state"]
        model.mixer.probability = 0.25
        config = model.mixer.get_config()
        assert type(config["probability"]) is float and config["probability"] == 0.25
        assert layers.MixUp.from_config(config).probability == 0.25

    def test_they_are_checked(self):
        mixer = layers.MixUp()
        with pytest.raises(ValueError, match=r"`probability` must be a number in \[0, 1\]. Received: probability=2"):
            mixer.probability = 2
        with pytest.raises(ValueError, match="`alpha` must be .* Received: alpha=0"):
            mixer.alpha = 0
        assert (mixer.probability, mixer.alpha) == (1.0, 1.0)

    def test_the_mixer_that_was_copied_says_so(self, data):
        mixer = layers.MixUp()
        model = self.model(mixer)
        assert model.mixer is not mixer and model.mixer is mixer_of(model)
        with pytest.warns(UserWarning, match="`probability` of .* does not change the model that `mixify` built"):
            mixer.probability = 0.0
        assert model.mixer.probability == 1.0

    def test_the_mixer_of_another_model_does_not(self, data):
        model = self.model(layers.MixUp())
        keras_mma.mixify(model.inference_model(), model.mixer, at=[])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.mixer.probability = 0.0

    def test_the_mixers_that_a_choice_has_copied_say_so(self):
        mixer = layers.MixUp()
        choice = layers.RandomChoice([mixer, layers.CutMix()], name="choice")
        choice.copy()
        with pytest.warns(UserWarning, match="`alpha` of .* does not change the copy of it in 'choice'"):
            mixer.alpha = 0.3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            choice.mixers[0].alpha = 0.4
        assert choice.mixers[0].alpha == 0.4

    def test_the_mixers_of_a_choice_that_was_copied_say_so(self, data):
        choice = layers.RandomChoice()
        model = self.model(choice)
        with pytest.warns(UserWarning, match="`alpha` of .* does not change the model that `mixify` built"):
            choice.mixers[0].alpha = 0.3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.mixer.mixers[0].alpha = 0.4

    def test_a_loop_that_carries_the_state_says_so(self, data):
        if keras.backend.backend() == "torch":
            pytest.skip("a loop on PyTorch carries no state")
        model = self.model(layers.RandomChoice())
        model.fit(*data, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.mixer.probability = 0.5
        values = [variable.value for variable in model.non_trainable_variables]
        trainable = [variable.value for variable in model.trainable_variables]
        model.stateless_call(trainable, values, data[0], training=False)
        model.mixer.probability = 0.25
        model.stateless_call(trainable, values, data[0], training=True)
        with pytest.warns(UserWarning, match="`probability` of .* the state that a loop .*already carries"):
            model.mixer.probability = 0.0
        with pytest.warns(UserWarning, match="`alpha` of .* the state that a loop .*already carries"):
            model.mixer.mixers[0].alpha = 0.5
        values = [variable.value for variable in model.non_trainable_variables]
        (_, plan), _ = model.stateless_call(trainable, values, data[0], training=True)
        assert (keras.ops.convert_to_numpy(plan["weight"]) == 1).all()

    @pytest.mark.skipif(keras.backend.backend() != "jax", reason="a step of one's own calls `stateless_call` on JAX")
    def test_a_step_of_ones_own_inside_fit_does_not_say_so(self, data):
        class Mine(keras_mma.MixModel):
            def train_step(self, state, batch):
                x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
                (predictions, plan), non_trainable = self.stateless_call(*state[:2], x, training=True)
                return {"own": keras.ops.mean(plan["weight"])}, (state[0], non_trainable, *state[2:])

        inputs = keras.Input((16, 20, 3))
        x, plan = layers.MixUp()(inputs)
        model = Mine(inputs, (head(x), plan))
        model.compile("sgd", "mse")

        def assign(batch, logs):
            model.mixer.probability = 0.0

        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            callback = keras.callbacks.LambdaCallback(on_train_batch_end=assign)
            history = model.fit(*data, batch_size=4, verbose=0, callbacks=[callback]).history
        assert history["own"] == [1.0]

    def test_a_pipeline_reads_them_too(self, needs_tensorflow, data):
        import tensorflow as tf

        mixer = layers.MixUp(num_classes=CLASSES)
        dataset = tf.data.Dataset.from_tensor_slices(data).batch(12).map(mixer)
        assert any(labels.numpy().max(1).min() < 1 for _, labels in dataset)
        mixer.probability = 0.0
        assert all((labels.numpy().max(1) == 1).all() for _, labels in dataset)


class TestModelsThatOverrideTheStepsOfTraining:
    @pytest.mark.parametrize(
        "name", ["train_step", "test_step", "make_train_function", "compute_loss", "compute_metrics"]
    )
    @pytest.mark.parametrize("base", [keras.Model, keras.Sequential])
    def test_they_are_refused(self, name, base):
        cls = type("Mine", (base,), {name: lambda self, *args, **kwargs: None})
        if base is keras.Sequential:
            model = cls([keras.Input((16, 20, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
        else:
            inputs = keras.Input((16, 20, 3))
            model = cls(inputs, head(conv(inputs, "first")))
        with pytest.raises(ValueError, match=rf"`MixModel`.* Received: a Mine, which overrides \['{name}'\]"):
            keras_mma.mixify(model, layers.CutMix())

    @pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX has this step")
    def test_the_step_of_jax_is_refused(self):
        self.test_they_are_refused("compute_loss_and_updates", keras.Model)

    def test_steps_of_an_instance_are_refused(self):
        inputs = keras.Input((16, 20, 3))
        model = keras.Model(inputs, head(conv(inputs, "first")))
        model.train_step = lambda data: {}
        with pytest.raises(ValueError, match=r"which overrides \['train_step'\]"):
            keras_mma.mixify(model, layers.CutMix())

    def test_the_way_round_works(self, data):
        class Mine(keras_mma.MixModel):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                y, predictions, _ = self.follow_plan(y, y_pred, sample_weight)
                # 1 where labels are not mixed.
                return keras.ops.mean(keras.ops.max(y, -1)) + 0.0 * keras.ops.sum(predictions)

        inputs = keras.Input((16, 20, 3))
        network = keras.Model(inputs, head(conv(inputs, "first")))
        mixed = keras_mma.mixify(network, layers.MixUp(seed=1, partner="roll"), at=["first"])
        model = Mine(mixed.input, mixed.output)
        model.compile("sgd")
        assert model.fit(*data, verbose=0).history["loss"][0] < 0.95
        assert model.evaluate(*data, verbose=0) == 1.0
        assert {id(weight) for weight in model.weights} == {id(weight) for weight in network.weights}


@pytest.mark.parametrize("cls", [keras.layers.MixUp, keras.layers.CutMix])
def test_the_layers_of_keras_are_told_apart_from_ours(cls):
    inputs = keras.Input((16, 20, 3))
    network = keras.Model(inputs, head(conv(inputs, "first")))
    with pytest.raises(ValueError, match=f"Keras' own layer has the same name as `keras_mma.layers.{cls.__name__}`"):
        keras_mma.mixify(network, cls())


class TestLabelsOutOfRange:
    @pytest.fixture
    def model(self):
        inputs = keras.Input((16, 20, 3))
        model = keras_mma.mixify(keras.Model(inputs, head(conv(inputs, "first"))), layers.CutMix(), at=["first"])
        model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        return model

    @pytest.mark.parametrize("convert", [np.asarray, keras.ops.convert_to_tensor], ids=["numpy", "tensor"])
    def test_they_raise_before_a_step(self, model, data, convert):
        images, labels = data[0], convert(np.where(np.arange(12) == 7, 5, data[1]))
        before = model.get_weights()
        for call in (
            lambda: model.fit(images, labels, verbose=0),
            lambda: model.fit(images, labels, 4, 1, 0),
            lambda: model.train_on_batch(images, labels),
            lambda: model.test_on_batch(images, labels),
            lambda: model.evaluate(images, labels, verbose=0),
        ):
            with pytest.raises(ValueError, match="`y` must be class indices from 0 to 4.* y with the label 5"):
                call()
        with pytest.raises(ValueError, match=r"`validation_data\[1\]` must be class indices from 0 to 4"):
            model.fit(*data, validation_data=(images, labels), verbose=0)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert np.isfinite(model.fit(*data, validation_data=data, verbose=0).history["loss"]).all()

    def test_a_width_that_is_no_number_of_classes_raises_whatever_came_before(self, model, data):
        """Once it has seen two widths, TensorFlow traces labels of any width."""
        images, labels = data
        before = model.get_weights()
        model.fit(images, labels[:, None].astype("float32"), verbose=0)
        model.set_weights(before)
        for width in (CLASSES - 1, CLASSES + 1):
            with pytest.raises(ValueError, match=rf"of shape \(batch, 5\), or .* Received: y of shape \(12, {width}\)"):
                model.fit(images, np.eye(width, dtype="float32")[labels % 3], verbose=0)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert np.isfinite(model.fit(images, np.eye(CLASSES, dtype="float32")[labels], verbose=0).history["loss"]).all()

    @pytest.mark.parametrize(
        "convert", [np.array, lambda names: np.array(names, object), list, lambda names: [np.array(names)]]
    )
    def test_names_of_classes_are_refused(self, model, data, convert):
        names = convert(list("abcdabcdabcd"))
        with pytest.raises(ValueError, match="`y` must be numbers.*StringLookup.* Received: y of "):
            model.fit(data[0], names, verbose=0)
        for batch in ((data[0], names), ((data[0], names),), ({"image": data[0], "label": names},)):
            with pytest.raises(ValueError, match="`labels` must be numbers.*StringLookup.* Received: labels of "):
                layers.CutMix(num_classes=4)(*batch)

    def test_names_of_classes_in_a_pipeline_are_refused(self, needs_tensorflow, data):
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensor_slices((data[0], list("abcdabcdabcd"))).batch(4)
        with pytest.raises(ValueError, match="`labels` must be numbers.* Received: labels of dtype"):
            dataset.map(layers.CutMix(num_classes=4))

    def test_every_head_is_checked(self, data):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix()(inputs)
        other = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
        model = keras_mma.MixModel(inputs, ({"a": head(x), "b": other}, plan))
        model.compile("sgd", {"a": "mse", "b": "mse"})
        with pytest.raises(ValueError, match=r"`y\['b'\]` must be class indices from 0 to 1"):
            model.fit(data[0], {"a": data[1], "b": data[1]}, verbose=0)

    def test_a_layer_that_is_called_on_a_batch_checks_them_too(self, data):
        with pytest.raises(ValueError, match="`labels` must be class indices from 0 to 3.* the label 4"):
            layers.CutMix(num_classes=4)(data[0], np.full(12, 4))


class TestLossesAndMetricsOfTwoLabels:
    def compiled(self, units=CLASSES, **kwargs):
        inputs = keras.Input((16, 20, 3))
        outputs = keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(inputs))
        keras_mma.mixify(keras.Model(inputs, outputs), layers.CutMix(), at=[]).compile("sgd", **kwargs)

    @pytest.mark.parametrize(
        "loss", ["hinge", keras.losses.SquaredHinge(), [keras.losses.categorical_hinge]], ids=["name", "class", "list"]
    )
    def test_hinge_losses_trigger_a_warning(self, loss):
        with pytest.warns(UserWarning, match="The loss .*[hH]inge'] is not linear in the label"):
            self.compiled(loss=loss)

    @pytest.mark.parametrize(
        ("units", "metric"),
        [(5, "precision"), (5, keras.metrics.Recall()), (1, "accuracy"), (1, [keras.metrics.AUC(), "mse"])],
        ids=["precision", "recall", "accuracy", "area"],
    )
    def test_metrics_trigger_a_warning(self, units, metric):
        with pytest.warns(UserWarning, match="The metrics .*'] take labels of 0 and 1.*validation data"):
            self.compiled(units, loss="mse", weighted_metrics=keras.tree.flatten(metric))

    def test_others_do_not(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.compiled(loss="categorical_crossentropy", metrics=["accuracy", keras_mma.metrics.DominantAccuracy()])
            self.compiled(1, loss="binary_crossentropy", metrics=[keras_mma.metrics.WeightedAccuracy()])

    @pytest.mark.parametrize(
        ("metrics", "warns"),
        [
            ({"classes": ["accuracy"]}, False),
            ([["accuracy"], ["mse"]], False),
            ({"number": ["accuracy"]}, True),
            ([[], ["accuracy"]], True),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
    def test_accuracy_of_one_head_does_not_depend_on_another(self, argument, metrics, warns):
        inputs = keras.Input((16, 20, 3))
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        outputs = [keras.layers.Dense(CLASSES, name="classes")(x), keras.layers.Dense(1, name="number")(x)]
        mixed = keras_mma.mixify(keras.Model(inputs, outputs), layers.CutMix(), at=[])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mixed.compile("sgd", "mse", **{argument: metrics})
        assert ["['accuracy'] take labels of 0 and 1" in str(warning.message) for warning in caught] == [True] * warns

    def test_why(self):
        """A tenth of a positive sample counts as a whole one, and as never right."""
        labels, predictions = np.array([[0.0], [1.0], [0.1]]), np.array([[0.0], [1.0], [0.9]])
        assert float(keras.metrics.Precision()(labels, predictions)) == 1.0
        assert float(keras.metrics.BinaryAccuracy()(labels, predictions)) == pytest.approx(2 / 3)


class TestStructuresOfLabels:
    def models(self, structure):
        """A plain model and a mixed one that mixes nothing, with the same weights."""
        inputs = keras.Input((16, 20, 3))
        heads = [keras.layers.Dense(CLASSES, name=f"head{index}") for index in range(3)]
        x, plan = layers.CutMix(probability=0.0)(inputs)

        def outputs(x):
            return structure(*(layer(keras.layers.GlobalAveragePooling2D()(x)) for layer in heads))

        return keras.Model(inputs, outputs(inputs)), keras_mma.MixModel(inputs, (outputs(x), plan))

    @pytest.mark.parametrize("form", ["none", "nested lists", "nested dicts", "nested with none"])
    def test_they_train_as_in_plain_keras(self, data, form):
        images, labels = data
        one, two, three = np.eye(CLASSES)[labels], np.eye(CLASSES)[labels - 1], np.eye(CLASSES)[labels - 2]

        def as_list(a, b, c):
            return [a, b, c]

        def as_lists(a, b, c):
            return [[a, b], c]

        def as_dicts(a, b, c):
            return {"p": {"q": a, "r": b}, "s": c}

        structure, y, loss = {
            "none": (as_list, as_list(one, None, three), as_list("mse", None, "mse")),
            "nested lists": (as_lists, as_lists(one, two, three), "mse"),
            "nested dicts": (as_dicts, as_dicts(one, two, three), "mse"),
            "nested with none": (as_lists, as_lists(one, None, three), as_lists("mse", None, "mse")),
        }[form]
        losses = []
        for model in self.models(structure):
            model.compile(keras.optimizers.SGD(0.0), loss, **({} if form == "nested with none" else UNTRACED))
            losses.append(model.fit(images, y, verbose=0).history["loss"])
        np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"detector": "activation", "label": "sumix"}], ids=str)
def test_a_network_with_a_dict_as_input_keeps_it(data, settings):
    inputs = {"image": keras.Input((16, 20, 3), name="image")}
    x = keras.layers.RandomFlip()(inputs["image"]) if settings else inputs["image"]
    network = keras.Model(inputs, head(conv(x, "first")))
    images = {"image": data[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mixed = keras_mma.mixify(network, layers.SaliencyMix(**settings), at=["first"])
        mixed.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        assert np.isfinite(mixed.fit(images, data[1], verbose=0).history["loss"]).all()
        predictions = [model.predict(images, verbose=0) for model in (network, mixed, mixed.inference_model())]
    np.testing.assert_allclose(predictions, predictions[:1] * 3, atol=1e-5)


def test_a_sequential_model_that_is_not_built_says_so():
    model = keras.Sequential([keras.layers.Conv2D(4, 3)], name="network")
    for call in (lambda: keras_mma.mixify(model, layers.CutMix()), lambda: keras_mma.mixing_points(model)):
        with pytest.raises(ValueError, match="must be built first.*`keras.Input.* Received: 'network', which is not"):
            call()


class TestExportedAugmentation:
    def test_an_exported_network_is_not_random(self, needs_tensorflow, data, tmp_path):
        import tensorflow as tf

        inputs = keras.Input((16, 20, 3))
        x = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2)])(inputs)
        x = keras.layers.RandomContrast(0.5)(x)
        network = keras.Model(inputs, keras.layers.Flatten()(conv(x, "first")))
        mixed = keras_mma.mixify(network, layers.CutMix(), at=["first"])
        mixed.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(str(tmp_path / "saved"))
        expected = network.predict(data[0], verbose=0)
        for _ in range(2):
            np.testing.assert_allclose(served.serve(data[0]), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_other_files_of_a_network_with_augmentation_are_not_random(needs_tensorflow, data, tmp_path, format):
    images = data[0]
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.RandomContrast(0.5)(keras.layers.RandomFlip()(inputs))
    network = keras.Model(inputs, keras.layers.Flatten()(conv(x, "first")))
    mixed = keras_mma.mixify(network, layers.SaliencyMix(), at=["first"])
    path = str(tmp_path / ("model.tflite" if format == "litert" else "model.onnx"))
    mixed.export(path, format=format, verbose=False)
    if format == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        name = session.get_inputs()[0].name

        def run():
            return session.run(None, {name: images})[0]
    else:
        import tensorflow as tf

        interpreter = tf.lite.Interpreter(path)
        (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(entry["index"], images.shape)
        interpreter.allocate_tensors()

        def run():
            interpreter.set_tensor(entry["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(result["index"])

    first, second = run(), run()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, mixed.predict(images, verbose=0), atol=1e-3)


class TestWeightsFiles:
    def plain(self):
        inputs = keras.Input((16, 20, 3))
        return keras.Model(inputs, head(conv(conv(inputs, "first"), "second", 2)))

    def nested(self):
        """Transfer learning: a base that `mixify` takes apart, and layers of the same classes before and after it."""
        inputs = keras.Input((16, 20, 3))
        x = keras.layers.BatchNormalization()(conv(inputs, "before"))
        image = keras.Input((16, 20, 4))
        inner = keras.Sequential([keras.Input((16, 20, 4)), keras.layers.Conv2D(5, 3, padding="same")], name="inner")
        y = keras.layers.BatchNormalization()(conv(inner(image), "first"))
        base = keras.Model(image, conv(keras.layers.ReLU(name="end")(y), "second", 2), name="base")
        x = keras.layers.BatchNormalization()(conv(base(x), "after"))
        return keras.Model(inputs, head(x))

    @pytest.mark.sampled
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize(("make", "at"), [("plain", "first"), ("nested", "base/end")])
    def test_the_network_and_the_mixed_model_read_each_other(self, make, at, compiled, data, tmp_path):
        images, labels = data[0], np.eye(CLASSES)[data[1]]

        def models(seed):
            keras.utils.set_random_seed(seed)
            network = getattr(self, make)()
            mixed = keras_mma.mixify(network, layers.SaliencyMix(seed=seed), at=[at])
            if compiled:
                network.compile("adam", "mse", **UNTRACED)
                mixed.compile("adam", "mse", **UNTRACED)
                mixed.train_on_batch(images, labels)
            return network, mixed

        path = tmp_path / "saved.weights.h5"
        source, target = models(1), models(2)
        expected, before = source[0].predict(images, verbose=0), target[0].get_weights()
        for saves, loads in ((0, 1), (1, 0), (1, 1)):
            target[0].set_weights(before)
            assert not np.allclose(target[0].predict(images, verbose=0), expected)
            source[saves].save_weights(path)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                # Optimizers have no state before the first step, in plain Keras too.
                warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
                target[loads].load_weights(path)
            for model in target:
                np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)
            if saves == loads:
                states = [keras.ops.convert_to_numpy(each[1].mixer.seed_generator.state) for each in (source, target)]
                np.testing.assert_array_equal(*states)

    @pytest.mark.slow
    def test_what_has_to_be_imported_to_load_a_model(self, tmp_path):
        """The guide says it."""
        network = self.plain()
        mixed = keras_mma.mixify(network, layers.SaliencyMix(), at=["first"])
        for name, model in (("mixed", mixed), ("network", network), ("inference", mixed.inference_model())):
            model.save(tmp_path / f"{name}.keras")
        code = (
            "import keras, sys\n"
            "for name in ('network', 'inference'): keras.models.load_model(f'{name}.keras')\n"
            "assert 'keras_mma' not in sys.modules\n"
            "try: keras.models.load_model('mixed.keras')\n"
            "except TypeError: import keras_mma\n"
            "else: raise AssertionError\n"
            "keras.models.load_model('mixed.keras')"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr

    def test_saving_leaves_other_files_alone(self, tmp_path, monkeypatch):
        path, other = tmp_path / "saved.weights.h5", tmp_path / "saved.weights.h5.tmp"
        other.write_text("mine")
        mixed = keras_mma.mixify(self.nested(), layers.CutMix(), at=["base/end"])
        mixed.save_weights(path)
        before = path.read_bytes()
        monkeypatch.setattr("builtins.input", lambda prompt: "n")
        mixed.save_weights(path, overwrite=False)
        assert path.read_bytes() == before and other.read_text() == "mine"
        assert sorted(tmp_path.iterdir()) == [path, other]

    def test_a_mixed_model_that_was_loaded_reads_them(self, data, tmp_path):
        import h5py

        mixed = keras_mma.mixify(self.nested(), layers.CutMix(), at=["base/end"])
        mixed.save(tmp_path / "mixed.keras")
        expected = mixed.predict(data[0], verbose=0)
        mixed.save_weights(tmp_path / "saved.weights.h5")
        with h5py.File(tmp_path / "saved.weights.h5") as file:
            assert "vars" in file  # as in each file that Keras writes
        loaded = keras.models.load_model(tmp_path / "mixed.keras")
        loaded.set_weights([0 * weight for weight in loaded.get_weights()])
        loaded.load_weights(tmp_path / "saved.weights.h5")
        np.testing.assert_allclose(loaded.predict(data[0], verbose=0), expected, atol=1e-5)

    @pytest.mark.parametrize(("make", "at"), [("plain", "first"), ("nested", "base/end")])
    def test_a_mixed_model_that_was_loaded_and_the_network_read_each_other(self, make, at, data, tmp_path):
        path, network = tmp_path / "saved.weights.h5", getattr(self, make)()
        keras_mma.mixify(network, layers.CutMix(), at=[at]).save(tmp_path / "mixed.keras")
        loaded = keras.models.load_model(tmp_path / "mixed.keras")
        loaded.save(tmp_path / "again.keras")
        again = keras.models.load_model(tmp_path / "again.keras")
        for source, target in ((network, again), (again, network)):
            expected = source.predict(data[0], verbose=0)
            source.save_weights(path)
            target.set_weights([0 * weight for weight in target.get_weights()])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                target.load_weights(path)
            np.testing.assert_allclose(target.predict(data[0], verbose=0), expected, atol=1e-5)


#: Mixers that look at images.
LOOKING = [cls for cls in layers.MIXERS.values() if "detector" in cls().get_config() and cls().detector is not None]


@pytest.mark.slow
@pytest.mark.parametrize("cls", LOOKING)
def test_a_last_batch_that_is_smaller_than_the_replicas(needs_tensorflow, rng, cls):
    import tensorflow as tf

    images, labels = blobs(rng, 17).astype("float32"), np.eye(CLASSES)[rng.integers(0, CLASSES, 17)]
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        # Without a convolution: on a CPU, that of TensorFlow fails for an empty batch.
        inputs = keras.Input((16, 20, 3))
        network = keras.Model(inputs, head(keras.layers.Rescaling(1.0, name="first")(inputs)))
        mixed = keras_mma.mixify(network, cls(), at=["first"])
        mixed.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    assert np.isfinite(mixed.fit(data, epochs=2, verbose=0).history["loss"]).all()
    assert np.isfinite(network.predict(images, verbose=0)).all()
