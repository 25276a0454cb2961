"""`MixingSchedule`: what it sets, and that compiled training steps follow it."""

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from keras_mma.callbacks import MixingSchedule

MODES = [{}, {"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}]


def largest_share(y, predictions):
    """1 for a sample that is not mixed."""
    return keras.ops.max(y, axis=-1)


class CountCalls(keras.layers.Layer):
    """Counts its calls from Python: those of a compiled step are its traces."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def build(mixer=None, **compile_arguments):
    inputs = keras.Input((8, 8, 3))
    x, plan = (mixer or layers.MixUp(partner="derangement", alpha=50.0, seed=1))(inputs)
    x = CountCalls(name="count")(x)
    outputs = keras.layers.Dense(8)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras_mma.MixModel(inputs, (outputs, plan))
    model.compile("sgd", "mse", metrics=[largest_share], **compile_arguments)
    return model


def fit(model, epochs, *callbacks):
    images, labels = np.random.default_rng(0).random((32, 8, 8, 3)), np.arange(32) % 8
    return model.fit(images, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))


class Recorder(keras.callbacks.Callback):
    """Records the settings of each epoch, and may stop the training."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.settings, self.calls, self.stop_at = {}, [], stop_at

    def on_epoch_end(self, epoch, logs=None):
        mixer = self.model.mixer
        self.settings[epoch] = (mixer.probability, mixer.alpha)
        self.calls.append(self.model.get_layer("count").calls)

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.stop_at:
            raise InterruptedError


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_training_steps_follow_the_schedule_without_another_trace(mode):
    if "steps_per_execution" in mode and keras.backend.backend() == "torch":
        pytest.skip("Keras does not support `steps_per_execution` on PyTorch")
    # alpha = 1e-3 draws shares close to 0 or 1.
    alphas = {2: 1e-3}
    schedule = MixingSchedule([1, 0, 1, 1, 1], alpha=lambda epoch: alphas.get(epoch, 50), active=(0, -1))
    model = build(**mode)
    recorder = Recorder()
    shares = fit(model, 5, schedule, recorder).history["largest_share"]
    assert shares[0] < 0.7 and shares[1] == 1 and shares[2] > 0.95 and shares[3] < 0.7 and shares[4] == 1
    is_compiled = not model.run_eagerly and keras.backend.backend() != "torch"
    assert (len(set(recorder.calls)) == 1) == is_compiled
    assert (model.mixer.probability, model.mixer.alpha) == (1.0, 50.0)
    assert fit(model, 1).history["largest_share"][0] < 0.7


@pytest.mark.parametrize(
    ("active", "expected"),
    [((None, None), "11111"), ((None, -2), "11100"), ((-2, None), "00011"), ((1, 3), "01100"), ((-9, -2), "11100")],
)
def test_active_is_a_slice_of_the_epochs(active, expected):
    recorder = Recorder()
    fit(build(run_eagerly=False), 5, MixingSchedule(active=active), recorder)
    assert "".join(str(int(recorder.settings[epoch][0])) for epoch in range(5)) == expected


def test_a_training_that_is_resumed_continues_with_the_values_of_its_epoch(tmp_path):
    def callbacks(recorder):
        schedule = MixingSchedule(probability=[0.1, 0.2, 0.3, 0.4], alpha=[1, 2, 3, 4], active=(None, -1))
        return keras.callbacks.BackupAndRestore(tmp_path / "backup"), schedule, recorder

    first, second = Recorder(stop_at=2), Recorder()
    with pytest.raises(InterruptedError):
        fit(build(), 4, *callbacks(first))
    fit(build(), 4, *callbacks(second))
    assert {**first.settings, **second.settings} == {0: (0.1, 1.0), 1: (0.2, 2.0), 2: (0.3, 3.0), 3: (0.0, 4.0)}
    assert sorted(second.settings) == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"probability": 0.5}, "`probability` must be a list of numbers, .* Received: probability=0.5"),
        ({"alpha": "x"}, "`alpha` must be a list of numbers"),
        ({"alpha": {0: 1.0, 1: 2.0}}, "`alpha` must be a list of numbers"),
        ({"alpha": np.array(0.5)}, "`alpha` must be a list of numbers"),
        ({"active": 3}, "`active` must be two integers or None.* Received: active=3"),
        ({"active": (0, 0.5)}, "`active` must be two integers or None"),
        ({"active": (5, 2)}, r"`active` must be an epoch and a later one. Received: active=\(5, 2\), which has none"),
        ({"active": (-1, -1)}, "`active` must be an epoch and a later one"),
        ({"active": (None, 0)}, "`active` must be an epoch and a later one"),
        ({"probability": [1]}, "`probability` must have a number for each of the 2 epochs. Received: 1 numbers"),
        ({"probability": [1, 2]}, r"`probability` must be a number in \[0, 1\]. Received: probability=2"),
        ({"alpha": [1, 0]}, "`alpha` must be a positive, finite number. Received: alpha=0"),
    ],
)
def test_invalid_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        fit(build(), 2, MixingSchedule(**arguments))


@pytest.mark.parametrize("probability", [range(2), np.array([0.0, 1.0]), (0, 1)])
def test_any_sequence_of_numbers_is_a_schedule(probability):
    recorder = Recorder()
    fit(build(), 2, MixingSchedule(probability), recorder)
    assert [recorder.settings[epoch][0] for epoch in range(2)] == [0.0, 1.0]


def test_models_and_mixers_that_cannot_follow_raise():
    plain = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`MixingSchedule` needs a `MixModel`. Received: a Sequential"):
        plain.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 1)), verbose=0, callbacks=[MixingSchedule(active=(1, None))])
    with pytest.raises(ValueError, match="`alpha` cannot be set for a SmoothMix, which has none"):
        fit(build(layers.SmoothMix()), 1, MixingSchedule(alpha=[1]))


def test_an_alpha_without_effect_is_refused():
    with pytest.raises(ValueError, match="`alpha` must not be set for .* such as a fixed `count`"):
        fit(build(layers.AttentiveMix(count=2)), 1, MixingSchedule(alpha=[1]))
    fit(build(layers.AttentiveMix(count=None)), 1, MixingSchedule(alpha=[1]))


class FixedAlpha(layers.MixUp):
    alpha = None  # a plain attribute, which a compiled step reads once

    def step_value(self, name):
        return self.alpha if name == "alpha" else super().step_value(name)


def test_an_alpha_that_a_compiled_step_would_not_read_is_refused():
    with pytest.raises(ValueError, match="`alpha` cannot be set for a FixedAlpha, which has none that may change"):
        fit(build(FixedAlpha()), 1, MixingSchedule(alpha=[1]))


def test_an_interrupted_training_does_not_leave_its_values_to_the_next_one():
    model = build()
    with pytest.raises(InterruptedError):
        fit(model, 3, MixingSchedule(active=(0, -1)), Recorder(stop_at=2))
    assert model.mixer.probability == 0.0
    recorder = Recorder()
    fit(model, 3, MixingSchedule(active=(0, -1)), recorder)
    assert [recorder.settings[epoch][0] for epoch in range(3)] == [1.0, 1.0, 0.0]
    assert model.mixer.probability == 1.0
    with pytest.raises(InterruptedError):
        fit(model, 3, MixingSchedule(active=(0, -1)), Recorder(stop_at=2))
    model.mixer.probability = 0.5  # set by the user after the interruption
    fit(model, 2, MixingSchedule(active=(0, -1)))
    assert model.mixer.probability == 0.5


def test_a_number_that_is_not_scheduled_is_left_alone():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.mixer.probability = 0.0

    recorder = Recorder()
    fit(build(), 3, Stop(), MixingSchedule(alpha=[1, 2, 3]), recorder)
    assert recorder.settings == {0: (1.0, 1.0), 1: (0.0, 2.0), 2: (0.0, 3.0)}


def test_a_model_that_was_saved_without_mixing_is_told(recwarn):
    with pytest.warns(UserWarning, match="`active` has no effect, because the `probability` of .* is 0"):
        fit(build(layers.MixUp(probability=0.0)), 1, MixingSchedule(active=(1, None)))
    recwarn.clear()
    fit(build(layers.MixUp(probability=0.0)), 1, MixingSchedule([1.0], active=(1, None)))
    assert not [warning for warning in recwarn if "has no effect" in str(warning.message)]


def test_numbers_are_checked_before_the_training():
    with pytest.raises(ValueError, match="Received: probability=1.5"):
        MixingSchedule(probability=[1.0] * 150 + [1.5])
