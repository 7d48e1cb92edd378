"""Two processes in turns: the order of their blocks, and what one learns of the other's end. Threads stand in."""

from __future__ import annotations

import itertools
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.measurement import turns as module
from sparsemark.measurement.turns import PartnerError, Turn, Turns

BATCHES = [(np.full((1, 1), value, np.float32),) for value in range(3)]


def channels():
    return [end.detach() for end in socket.socketpair()]


def take_turns(call_s, rewarm, own=lambda name: None):
    """Run both; return what was called in which order, and what each found."""
    called, found = [], {}

    def side(name, channel):
        turns = Turns(Turn(channel, second=name == "B"))

        def predict(image):
            called.append((name, int(image[0, 0])))
            return (image,)

        turns.begin()
        own(name)
        called.append((f"{name} alone", 0))
        found[name] = turns.time(predict, BATCHES, call_s, rewarm)

    threads = [
        threading.Thread(target=side, args=(name, channel)) for name, channel in zip("AB", channels(), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "one waits for ever"
    return called, found


@given(st.integers(1, 9), st.floats(0.001, 0.1), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_blocks_come_in_abba_order_and_equal_number(most, call_s, rewarm):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCKS", (most, most))
        called, found = take_turns(call_s, rewarm)
    length = found["A"].block + rewarm
    assert found["A"].block == found["B"].block == max(1, round(0.015 / call_s))
    assert len(found["A"].samples_s) == len(found["B"].samples_s) == most * found["A"].block
    order = [name for name, _ in called if len(name) == 1]
    blocks = [order[i] for i in range(0, len(order), length)]
    assert order == [name for name in blocks for _ in range(length)], "no block is broken"
    expected = ["A", *itertools.islice(itertools.cycle("BBAA"), 2 * most)]
    assert blocks == expected[: 2 * most]


def test_what_a_process_does_by_itself_is_over_before_the_other_does_its_own():
    inside = []

    def own(name):
        inside.append(name)
        time.sleep(0.05)
        inside.append(f"{name} done")

    called, _ = take_turns(0.1, 0, own)
    assert inside == ["B", "B done", "A", "A done"], "the second first, as the first has the first turn"
    assert [name for name, _ in called][:3] == ["B alone", "A alone", "A"]


def test_inputs_rotate():
    called, _ = take_turns(0.01, 1)
    shown = [image for name, image in called if name == "A"]
    assert all(later == (earlier + 1) % len(BATCHES) for earlier, later in itertools.pairwise(shown))


@pytest.mark.parametrize(
    ("call_s", "expected"), [(0.0001, (66, 150)), (0.004, (50, 4)), (0.1, (12, 1)), (3.0, (12, 1))]
)
def test_a_side_takes_a_second_or_a_dozen_blocks(call_s, expected):
    assert module._plan(call_s, 1) == expected


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_the_end_of_the_other_process_is_an_error_and_not_a_wait(second, begun):
    own, other = channels()
    turns, partner = Turns(Turn(own, second=second)), Turns(Turn(other, second=not second))
    if begun:
        partner._hand_over(0, 0)
        turns.begin()
    partner._channel.close()
    with pytest.raises(PartnerError, match="has ended"):
        turns.time(lambda image: (image,), BATCHES, 0.1, 0) if begun else turns.begin()
