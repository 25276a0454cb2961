"""The checks of the arguments of datasets, robustness and studies."""

import numpy as np
import pytest

from keras_mma import checks, robustness
from keras_mma.datasets import load
from keras_mma.errors import InputError
from keras_mma.robustness import Options
from keras_mma.study import tuning
from keras_mma.study.recipe import Recipe
from keras_mma.study.study import study


def test_integers_of_numpy_become_plain_ones():
    assert type(checks.integer("n", np.int64(3))) is int and checks.integer("n", 0, 0) == 0
    assert type(Recipe(epochs=np.int64(3)).epochs) is int and type(Options(limit=np.int32(5)).limit) is int
    for value in (0, 2.0, "2", True, None):
        with pytest.raises(InputError, match="`n` must be a positive integer. Received: n="):
            checks.integer("n", value)


def test_numbers_are_finite():
    assert [checks.is_number(value) for value in (1, 0.5, np.float32(2), True, "1", None, float("nan"))] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Recipe(augmentation="no"), "`augmentation` must be True or False. Received: augmentation='no'"),
        (lambda: Recipe(flip="no"), "`flip` must be True or False"),
        (lambda: Recipe(jit="false"), "`jit` must be True or False"),
        (lambda: Recipe(fraction="0.5"), "`fraction` must be in"),
        (lambda: Recipe(mixing_points="stage1"), "`mixing_points` must be a list. Received: mixing_points='stage1'"),
        (lambda: load("digits", validation_fraction="0.1"), "`validation_fraction` must be in"),
        (lambda: load(3), "`dataset` must be digits"),
        (lambda: study("never", "none"), "`methods` must be a list. Received: methods='none'"),
        (lambda: study("never", ["none", "cutmix"], margin="0.5"), "`margin` must be a number of points"),
        (lambda: study("never", [], budget_minutes="5"), "`budget_minutes` must be a number of minutes"),
        (lambda: robustness.compare("report.json"), "`paths` must be a list. Received: paths='report.json'"),
        (lambda: tuning.make_grid({}, [0.1], [0.1], 1.5), "`tune_seeds` must be a positive integer"),
        (lambda: tuning.make_grid({}, 0.1, [0.1]), "`tune_learning_rate` must be a list. Received"),
        (lambda: tuning.make_grid({}, ["x"], [0.1]), "`tune_learning_rate` must be finite numbers"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_received(call, message):
    with pytest.raises(InputError, match=message):
        call()
