"""A thread that computes items: the same items, a bounded number ahead, errors in the caller, no thread left."""

import threading
import traceback

import numpy as np
import pytest

from keras_mma.robustness.prefetching import DEPTH, prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_are_those_of_the_iterable_in_order():
    names = set()

    def items():
        for number in range(20):
            names.add(threading.current_thread().name)
            yield number, number**2

    with prefetch(items()) as computed:
        assert list(computed) == [(number, number**2) for number in range(20)]
        assert list(computed) == []
    assert names == {"prefetch"} and not threads()


def test_few_items_are_computed_ahead():
    started, waits = [], threading.Event()

    def items():
        for number in range(100):
            started.append(number)
            if number == DEPTH + 1:  # one was taken, and this one does not fit
                waits.set()
            yield number

    with prefetch(items()) as computed:
        assert next(computed) == 0 and waits.wait(5)
        threads()[0].join(0.05)
        assert threads()[0].is_alive() and len(started) == DEPTH + 2
    assert len(started) <= DEPTH + 3 and not threads()


def test_an_error_is_raised_in_the_caller_with_its_traceback():
    def broken_perturbation():
        yield 1
        raise ZeroDivisionError("no such image")

    taken = []
    with pytest.raises(ZeroDivisionError, match="no such image") as raised, prefetch(broken_perturbation()) as computed:
        taken.extend(computed)
    assert "broken_perturbation" in "".join(traceback.format_exception(raised.value))
    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_no_thread_is_left_where_the_caller_stops(error, taken):
    def endless():
        while True:
            yield np.zeros(3)

    with pytest.raises(error), prefetch(endless()) as computed:
        for _ in range(taken):
            next(computed)
        raise error
    assert not threads()


def test_the_settings_of_the_caller_hold_in_the_thread():
    items = (np.ones(1) / np.zeros(1) for _ in range(1))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError), prefetch(items) as computed:
        list(computed)
