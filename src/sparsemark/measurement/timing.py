"""Time one engine against another, in alternating blocks, one call at a time.

Two consecutive timings of one model differ by 1.4 % on a shared machine; in interleaved pairs by 0.3 %. So candidate
and reference run in blocks in the order reference, candidate, candidate, reference (ABBA), and what is reported is the
ratio of paired blocks. Single calls are not alternated: each would evict the other's caches.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.machine.host_lock import only_measurement
from sparsemark.machine.noise import stolen_fraction, waiting_fraction
from sparsemark.machine.placement import library_threads, pinned
from sparsemark.measurement.yardstick import inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.measurement.parity import Verified
    from sparsemark.specs import Protocol

_YARDSTICK_CALLS = 16
"""Timed calls of the yardstick at each end: some 20 ms."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

Rounds = Callable[[Callable[..., Any], Callable[[], Arguments], int], "Sequence[float]"]
"""Call setup, then time the function on what setup returned, so many times.

Seconds of each. `time_rounds`, or pytest-benchmark.
"""


@dataclass(frozen=True)
class Timing:
    """Raw seconds, each in the order of the calls, in blocks of `block`.

    Block i of the one is paired with block i of the other. `steal` and `waited` are shares of the time that other
    guests and other processes took; `lock_wait_s` are seconds until no other measurement ran on this host;
    `yardstick_s` are those of a fixed workload, half of them before the blocks and half after. The host was held for
    this timing from and until the seconds `held_s` of the system's clock.
    """

    samples_s: tuple[float, ...]
    reference_s: tuple[float, ...]
    block: int
    steal: float | None
    waited: float | None = None
    lock_wait_s: float = 0.0
    yardstick_s: tuple[float, ...] = ()
    held_s: tuple[float, float] | None = None


def time_rounds(function: Callable[..., Any], setup: Callable[[], Arguments], rounds: int) -> list[float]:
    """Return the seconds of `rounds` calls, each timed separately."""
    samples = []
    for _ in range(rounds):
        args, kwargs = setup()
        start = time.perf_counter()
        function(*args, **kwargs)
        samples.append(time.perf_counter() - start)
    return samples


def measure(
    candidate: Verified,
    reference: Verified,
    batches: Sequence[Sequence[NDArray[Any]]],
    protocol: Protocol,
    rounds: Rounds = time_rounds,
    *,
    yardstick: Verified | None = None,
    locked: bool = False,
) -> Timing:
    """Time a verified engine against a verified reference.

    Args:
        candidate: what is timed.
        reference: what each of its blocks is paired with.
        batches: a batch of each input, which rotate through the calls.
        protocol: blocks, threads, warm-up.
        rounds: does the candidate's timed calls.
        yardstick: fixed workload, timed at both ends: what no change of the networks can touch.
        locked: whether whoever started this process holds the host's lock for it.

    Raises:
        UserError: another measurement held this host for too long.
    """
    with ExitStack() as stack:
        lock_wait = stack.enter_context(nullcontext(0.0) if locked else only_measurement())
        began = time.time()
        stack.enter_context(settled(protocol.threads))
        stolen = stack.enter_context(stolen_fraction())
        pairing = _Pairing(candidate.predict, reference.predict, batches, protocol)
        pairing.warm_up()
        waited = stack.enter_context(waiting_fraction())
        before = _time_yardstick(yardstick)
        samples = rounds(candidate.predict, pairing.next_call, protocol.rounds)
        pairing.finish()
        after = _time_yardstick(yardstick)
        ended = time.time()
    return Timing(
        tuple(samples),
        tuple(pairing.reference_s),
        protocol.block,
        stolen(),
        waited(),
        lock_wait,
        (*before, *after),
        (began, ended),
    )


def _time_yardstick(yardstick: Verified | None) -> list[float]:
    if yardstick is None:
        return []
    (batch,) = inputs()[:1]
    for _ in range(_YARDSTICK_CALLS // 2):
        yardstick.predict(*batch)
    return time_rounds(yardstick.predict, lambda: (batch, {}), _YARDSTICK_CALLS)


class _Pairing:
    """Puts the reference's blocks between the candidate's: R C C R R C C R."""

    def __init__(
        self, candidate: Predict, reference: Predict, batches: Sequence[Sequence[NDArray[Any]]], protocol: Protocol
    ) -> None:
        self.candidate = candidate
        self.reference = reference
        self.batches = batches
        self.protocol = protocol
        self.reference_s: list[float] = []
        self.calls = 0
        self.turn = 0

    def warm_up(self) -> None:
        """Call both until caches, allocators and clocks have settled."""
        for predict in (self.reference, self.candidate):
            start, calls = time.perf_counter(), 0
            while calls < self.protocol.warmup_calls or time.perf_counter() - start < self.protocol.warmup_seconds:
                predict(*self._batch())
                calls += 1

    def next_call(self) -> Arguments:
        """Run whatever reference blocks are due before the candidate's next call, and return that call's arguments."""
        block, within = divmod(self.calls, self.protocol.block)
        if within == 0:
            # Before an even block its own reference block is due, and before that the one that follows the odd block
            # just done.
            due = block + 1 if block % 2 == 0 else block
            self._run_reference(until=due)
            for _ in range(self.protocol.rewarm):
                self.candidate(*self._batch())
        self.calls += 1
        return self._batch(), {}

    def finish(self) -> None:
        """Run the reference block that the last candidate block is still owed."""
        self._run_reference(until=self.protocol.pairs)

    def _run_reference(self, until: int) -> None:
        while len(self.reference_s) < until * self.protocol.block:
            for _ in range(self.protocol.rewarm):
                self.reference(*self._batch())
            self.reference_s += time_rounds(self.reference, lambda: (self._batch(), {}), self.protocol.block)

    def _batch(self) -> tuple[NDArray[Any], ...]:
        self.turn += 1
        return tuple(self.batches[self.turn % len(self.batches)])


@contextmanager
def settled(threads: int) -> Iterator[None]:
    """Pin this process and its thread pools to so many processors, and collect no garbage, for the block."""
    with pinned(threads), library_threads(threads), _no_garbage_collection():
        yield


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
