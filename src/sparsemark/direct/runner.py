"""A program in memory, with the threads that share it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct.machine_code import load
from sparsemark.direct.memory import placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.program import Program
    from sparsemark.direct.steps import Tensor


_PATIENCE = 0.5
"""Seconds after which a caller looks again whether its helpers are done."""


class Runner:
    """Runs one program, one image at a time; callers from several threads wait for each other.

    The threads beside the caller's own sleep between calls: a thread that spins burns the core that others work on.
    """

    def __init__(self, program: Program, threads: int) -> None:
        self._program = program
        self._arena = program.arena(threads)
        self._counters = np.zeros((max(len(program.table), 1), 2), np.int64)
        self._execute = load()
        self._operands = (
            _address(program.table, np.int64), len(program.table), _address(self._arena, np.float32), len(self._arena),
            _address(program.records, np.int32), _address(program.pointers, np.int32),
            _address(program.tiles, np.int64), len(program.tiles), _address(program.rows, np.int32), len(program.rows),
            _address(program.columns, np.int32), _address(program.values, np.float32), len(program.values),
            _address(self._counters, np.int64),
        )  # fmt: skip
        self._image: NDArray[np.float32] = np.zeros(0, np.float32)
        self._threads = threads
        self._start_helpers()

    def _start_helpers(self) -> None:
        self._process = os.getpid()
        self._one_call = threading.Lock()
        # Plain locks: Ctrl-C within a semaphore, which is Python code, can leave it broken.
        self._asleep, self._wake = ([_taken() for _ in range(self._threads - 1)] for _ in range(2))
        self._done = [True] * (self._threads - 1)
        for number, (wake, asleep) in enumerate(zip(self._wake, self._asleep, strict=True), start=1):
            # Helpers hold no reference while they sleep, or nobody could ever be rid of them.
            sleeping = (weakref.ref(self), wake, asleep, self._done, number)
            threading.Thread(target=_help, args=sleeping, daemon=True).start()
        # Not at exit: the runner is still there then, and its helpers would take themselves for called.
        weakref.finalize(self, _dismiss, self._wake).atexit = False

    def __call__(self, image: NDArray[np.float32], outputs: tuple[Tensor, ...] = ()) -> tuple[NDArray[np.float32], ...]:
        """Run one image, contiguous float32; copies of these tensors, channels first."""
        if self._process != os.getpid():
            self._start_helpers()  # a fork takes none of the threads along
        with self._one_call:
            self._counters.fill(0)
            self._image = np.ascontiguousarray(image, np.float32).reshape(-1)
            woken = 0
            try:
                for wake, asleep in zip(self._wake, self._asleep, strict=True):
                    asleep.acquire(blocking=False)  # left open by an interrupted call
                    self._done[woken] = False
                    wake.release()
                    woken += 1
                self.share(0)
            finally:
                # Interrupted or not: a helper still at work would take work of the next call.
                self._wait_for_helpers(woken)
            return tuple(self._copy_of(tensor) for tensor in outputs)

    def _wait_for_helpers(self, count: int) -> None:
        interrupted = None
        while True:
            try:
                for asleep, number in zip(self._asleep[:count], range(count), strict=True):
                    while not self._done[number]:
                        # An interrupt may come right after the lock was had: then it will not be had again.
                        asleep.acquire(timeout=_PATIENCE)
                break
            except KeyboardInterrupt as error:
                interrupted = error  # said once they sleep
        if interrupted is not None:
            raise interrupted

    def share(self, thread: int) -> None:
        """Do a thread's share of the call in progress."""
        image = self._image
        self._execute(*self._operands, image.ctypes.data, len(image), self._program.scratch_at(thread))

    def _copy_of(self, tensor: Tensor) -> NDArray[Any]:
        where = placed(tensor)
        view = np.lib.stride_tricks.as_strided(
            self._arena[where.position :],
            (where.channels, where.height, where.width),
            (4 * where.step, 4 * where.row, 4),
            writeable=False,
        )
        return view.copy()


def _address(array: NDArray[Any], kind: type) -> int:
    """Where an array lies that compiled code takes to be whole and of this type; ValueError where it is not."""
    if array.dtype != kind or not array.flags.c_contiguous:
        raise ValueError(f"an array of {array.dtype}, expected {np.dtype(kind)}, row by row")
    return array.ctypes.data


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _help(
    runner: weakref.ref[Runner], wake: threading.Lock, asleep: threading.Lock, done: list[bool], thread: int
) -> None:
    while True:
        wake.acquire()
        awake = runner()
        if awake is None:
            return
        try:
            awake.share(thread)
        finally:
            del awake
            done[thread - 1] = True
            if asleep.locked():
                asleep.release()


def _dismiss(wakes: Sequence[threading.Lock]) -> None:
    for wake in wakes:
        wake.release()
