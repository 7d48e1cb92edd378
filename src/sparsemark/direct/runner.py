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
        self._asleep = threading.Semaphore(0)
        self._wake = [threading.Semaphore(0) for _ in range(self._threads - 1)]
        for number, wake in enumerate(self._wake, start=1):
            # Helpers hold no reference while they sleep, or nobody could ever be rid of them.
            sleeping = (weakref.ref(self), wake, self._asleep, number)
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
            for wake in self._wake:
                wake.release()
            try:
                self.share(0)
            finally:
                # Interrupted or not: a helper still at work would take work of the next call.
                self._wait_for_helpers()
            return tuple(self._copy_of(tensor) for tensor in outputs)

    def _wait_for_helpers(self) -> None:
        interrupted = None
        for _ in self._wake:
            while True:
                try:
                    self._asleep.acquire()
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


def _help(runner: weakref.ref[Runner], wake: threading.Semaphore, asleep: threading.Semaphore, thread: int) -> None:
    while True:
        wake.acquire()
        awake = runner()
        if awake is None:
            return
        try:
            awake.share(thread)
        finally:
            del awake
            asleep.release()


def _dismiss(wakes: Sequence[threading.Semaphore]) -> None:
    for wake in wakes:
        wake.release()
