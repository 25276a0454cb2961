"""Mixing that changes during training."""

import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_mma.layers.arguments import Adjustable, fraction, positive
from keras_mma.models import MixModel

# For each mixer that a schedule controls, its values before the training and those that the schedule set last.
_INTERRUPTED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

Schedule = Sequence[float] | Callable[[int], float] | None


class MixingSchedule(keras.callbacks.Callback):
    """Sets the `probability` and the `alpha` of the mixer at the beginning of each epoch.

    Compiled training steps read both when they run: nothing is compiled again. The values depend on the number of the
    epoch alone, so that a training that `keras.callbacks.BackupAndRestore` resumes uses those of the epoch at which it
    resumes. After training, the mixer has its previous values again; a model that is saved during training has those
    of the epoch.

    Args:
        probability: A number for each epoch, or a function from the epoch (0, 1, ...) to a number. By default, that of
            the mixer.
        alpha: Likewise, for mixers that have an `alpha`.
        active: First epoch in which samples are mixed, and the one after the last, as in a slice: `(None, -20)` mixes
            in all but the last 20 epochs, `(-20, None)` only in the last 20.

    Raises:
        ValueError: If `probability` or `alpha` is neither a sequence nor a function, or holds a number that is out of
            range, or if `active` is not a pair of integers or `None` or has no epoch; when training starts, if a
            sequence is shorter than the training, the model is not a `MixModel`, or its mixer has no `alpha` or does
            not use it.

    Example:

    >>> network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 16, 3), classes=4)
    >>> model = keras_mma.mixify(network, keras_mma.layers.CutMix(), at=[])
    >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    >>> schedule = keras_mma.callbacks.MixingSchedule(active=(None, -1))
    >>> images, labels = np.random.rand(8, 16, 16, 3), np.arange(8) % 4
    >>> history = model.fit(images, labels, epochs=3, verbose=0, callbacks=[schedule])
    """

    def __init__(
        self,
        probability: Schedule = None,
        alpha: Schedule = None,
        active: tuple[int | None, int | None] = (None, None),
    ) -> None:
        super().__init__()
        self.schedules = {"probability": _check("probability", probability), "alpha": _check("alpha", alpha)}
        ends = tuple(active) if isinstance(active, (tuple, list)) else ()
        if len(ends) != 2 or not all(end is None or type(end) is int for end in ends):
            raise ValueError(
                "`active` must be two integers or None, the first epoch and the one after the last, which may be "
                f"negative. Received: active={active!r}"
            )
        start, stop = ends
        if start is not None and stop is not None and (start < 0) == (stop < 0) and start >= stop or stop == 0:
            raise ValueError(f"`active` must be an epoch and a later one. Received: active={active!r}, which has none")
        self.active = ends

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not isinstance(self.model, MixModel):
            raise ValueError(f"`MixingSchedule` needs a `MixModel`. Received: a {type(self.model).__name__}")
        mixer, epochs = self.model.mixer, self.params["epochs"]
        if self.schedules["alpha"] is not None:
            _check_alpha(mixer, self.schedules["alpha"])
        for name, schedule in self.schedules.items():
            if schedule is not None and not callable(schedule) and len(schedule) < epochs:
                raise ValueError(
                    f"`{name}` must have a number for each of the {epochs} epochs. Received: {len(schedule)} numbers"
                )
        current = _values(mixer)
        # After an interruption, which skips `on_train_end`, a value that the schedule set is not the user's.
        before, last = _INTERRUPTED.get(mixer, ({}, {}))
        self._before = {
            name: before[name] if name in before and last[name] == value else value for name, value in current.items()
        }
        _INTERRUPTED[mixer] = (self._before, current)
        if self.active != (None, None) and self.schedules["probability"] is None and self._before["probability"] == 0:
            warnings.warn(
                f"`active` has no effect, because the `probability` of {mixer.name!r} is 0, as in a model that was "
                "saved in an epoch without mixing: assign `model.mixer.probability`, or pass a `probability`. "
                f"Received: active={self.active}",
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        mixer = self.model.mixer
        for name, schedule in self.schedules.items():
            if schedule is not None:
                setattr(mixer, name, float(schedule(epoch) if callable(schedule) else schedule[epoch]))
        is_active = epoch in range(self.params["epochs"])[slice(*self.active)]
        if not is_active:
            mixer.probability = 0.0
        elif self.schedules["probability"] is None and self.active != (None, None):
            mixer.probability = self._before["probability"]
        _INTERRUPTED[mixer] = (self._before, _values(mixer))

    def on_train_end(self, logs: dict | None = None) -> None:
        for name, value in self._before.items():
            setattr(self.model.mixer, name, value)
        _INTERRUPTED.pop(self.model.mixer, None)


def _values(mixer: Any) -> dict[str, float]:
    return {name: getattr(mixer, name) for name in ("probability", "alpha") if hasattr(mixer, name)}


def _check_alpha(mixer: Any, schedule: Schedule) -> None:
    if not isinstance(getattr(type(mixer), "alpha", None), Adjustable):
        raise ValueError(
            f"`alpha` cannot be set for a {type(mixer).__name__}, which has none that may change during training "
            f"(`keras_mma.layers.arguments.Adjustable`). Received: alpha={schedule!r}"
        )
    if not getattr(mixer, "uses_alpha", True):
        raise ValueError(
            f"`alpha` must not be set for {mixer.name!r}, which does not use it with its arguments, such as a fixed "
            f"`count` of `AttentiveMix`. Received: alpha={schedule!r}"
        )


def _check(name: str, schedule: Schedule) -> Schedule:
    if schedule is None or callable(schedule):
        return schedule
    is_array = getattr(schedule, "ndim", None) == 1
    if not (is_array or isinstance(schedule, Sequence)) or isinstance(schedule, (str, bytes)):
        raise ValueError(
            f"`{name}` must be a list of numbers, one for each epoch, or a function of the epoch. "
            f"Received: {name}={schedule!r}"
        )
    check = fraction if name == "probability" else positive
    return [check(name, number) for number in schedule]
