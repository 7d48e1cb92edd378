"""Two processes that take turns, so that their blocks are neighbours in time.

A shared machine is 10 to 40 % slower for seconds on end, and its other guests disturb one engine more than another. Two
processes that run one after the other each meet moments of their own; in turns, of some 15 ms each, both meet the same.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from sparsemark.measurement.timing import time_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict

_BLOCK_S = 0.015
"""Seconds of a block: what disturbs a machine lasts longer, and a change of processes costs some 10 us."""

_SIDE_S = 1.0
"""Seconds of all blocks of one process.

On a quiet machine the median of such a launch is within 0.1 to 0.2 % of one of 2.5 s, while launches of direct-csr
differ by 0.5 to 2 % from each other: time is better spent on launches.
"""

_BLOCKS = 12, 200
"""Fewest and most blocks of one process."""

_MESSAGE = struct.Struct("=II")
"""Blocks of each process, and calls in a block: the first process decides."""


class PartnerError(Exception):
    """The other process ended before its last turn."""


@dataclass(frozen=True)
class Turn:
    """Place of a process in a pair that takes turns.

    Args:
        channel: descriptor of a stream socket to the other process, inherited.
        second: whether the other process has the first turn.
    """

    channel: int
    second: bool


@dataclass(frozen=True)
class InTurn:
    """Seconds of each call, in blocks of `block`; block i ran beside block i of the other process."""

    samples_s: tuple[float, ...]
    block: int


class Turns:
    """A token that goes back and forth between two processes; the one without it sleeps.

    Args:
        turn: place of this process.
    """

    def __init__(self, turn: Turn) -> None:
        self._second = turn.second
        self._channel = socket.socket(fileno=turn.channel)

    def begin(self) -> None:
        """Wait until both are loaded; the first also until the second has done what it does by itself.

        Raises:
            PartnerError: the other process has ended.
        """
        if not self._second:
            self._hand_over(0, 0)
        self._take()

    def time(self, predict: Predict, batches: Sequence[Sequence[NDArray[Any]]], call_s: float, rewarm: int) -> InTurn:
        """Time blocks of calls in the order first, second, second, first (ABBA): a drift falls on both alike.

        Args:
            predict: engine of this process.
            batches: a batch of each input, which rotate through the calls.
            call_s: seconds that a call takes, roughly.
            rewarm: untimed calls before each block.

        Raises:
            PartnerError: the other process has ended.
        """
        inputs = cycle(batches)
        blocks, calls = _plan(call_s, rewarm)
        samples: list[float] = []
        done = 0
        if self._second:
            self._hand_over(blocks, calls)
            blocks, calls = self._take()
        while done < blocks:
            for _ in range(rewarm):
                predict(*next(inputs))
            samples += time_rounds(predict, lambda: (tuple(next(inputs)), {}), calls)
            done += 1
            if (done + self._second) % 2:
                self._hand_over(blocks, calls)
                if done < blocks:
                    self._take()
        return InTurn(tuple(samples), calls)

    def _hand_over(self, blocks: int, calls: int) -> None:
        try:
            self._channel.sendall(_MESSAGE.pack(blocks, calls))
        except OSError as error:
            raise PartnerError(f"the process that it takes turns with has ended: {error}") from error

    def _take(self) -> tuple[int, int]:
        try:
            message = self._channel.recv(_MESSAGE.size, socket.MSG_WAITALL)
        except OSError as error:
            raise PartnerError(f"the process that it takes turns with has ended: {error}") from error
        if len(message) < _MESSAGE.size:
            raise PartnerError("the process that it takes turns with has ended")
        blocks, calls = _MESSAGE.unpack(message)
        return blocks, calls


def _plan(call_s: float, rewarm: int) -> tuple[int, int]:
    """Return blocks of each process, and calls in a block."""
    calls = max(1, round(_BLOCK_S / call_s))
    fewest, most = _BLOCKS
    return min(most, max(fewest, round(_SIDE_S / ((calls + rewarm) * call_s)))), calls
