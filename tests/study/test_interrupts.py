"""SIGTERM and SIGHUP are interrupts; none is lost in a library; handlers are put back."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from sparsemark.study.interrupts import Terminated, raised_again

ENDING = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_a_signal_that_a_library_swallows_is_raised_again(number, interruptible):
    with raised_again() as raise_if_interrupted:
        raise_if_interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt) as caught:
            raise_if_interrupted()
    assert isinstance(caught.value, Terminated) == (number != signal.SIGINT)
    assert raise_if_interrupted.came == number


def test_handlers_are_put_back(interruptible):
    before = [signal.getsignal(number) for number in (signal.SIGINT, *ENDING)]
    with raised_again():
        assert all(signal.getsignal(number) not in before for number in (signal.SIGINT, *ENDING))
    assert [signal.getsignal(number) for number in (signal.SIGINT, *ENDING)] == before


def test_a_block_within_a_block_shares_what_came(interruptible):
    with raised_again() as outer:
        with raised_again() as inner, pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert inner is outer
        with pytest.raises(Terminated):
            outer()


def test_a_signal_that_the_process_ignores_stays_ignored(interruptible):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raised_again() as raise_if_interrupted:
            signal.raise_signal(signal.SIGHUP)
            raise_if_interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_ends_already_is_not_interrupted_again(interruptible):
    with raised_again() as interrupts:
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        interrupts.ignore()
        signal.raise_signal(signal.SIGTERM)


def test_other_threads_change_nothing():
    seen = []

    def work():
        with raised_again() as raise_if_interrupted:
            seen.append(signal.getsignal(signal.SIGTERM))
            raise_if_interrupted()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
