"""A program in memory, with the threads that share it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct.interpreter import execute
from sparsemark.direct.memory import placed

if TYPE_CHECKING:
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
        self._image: NDArray[np.float32] = np.zeros(0, np.float32)
        self._one_call = threading.Lock()
        self._wake = [threading.Semaphore(0) for _ in range(threads - 1)]
        self._asleep = threading.Semaphore(0)
        for thread in range(1, threads):
            threading.Thread(target=self._help, args=(thread,), daemon=True).start()

    def __call__(self, image: NDArray[np.float32], outputs: tuple[Tensor, ...] = ()) -> tuple[NDArray[np.float32], ...]:
        """Run one image, contiguous float32; copies of these tensors, channels first."""
        with self._one_call:
            self._counters.fill(0)
            self._image = image.reshape(-1)
            for wake in self._wake:
                wake.release()
            self._execute(0)
            for _ in self._wake:
                self._asleep.acquire()
            return tuple(self._copy_of(tensor) for tensor in outputs)

    def _help(self, thread: int) -> None:
        while True:
            self._wake[thread - 1].acquire()
            self._execute(thread)
            self._asleep.release()

    def _execute(self, thread: int) -> None:
        program = self._program
        execute(
            program.table,
            self._arena,
            self._arena.ctypes.data,
            self._image,
            program.records.ctypes.data,
            program.pointers.ctypes.data,
            program.tiles,
            program.rows,
            program.columns,
            program.values,
            self._counters.ctypes.data,
            program.scratch_at(thread),
        )

    def _copy_of(self, tensor: Tensor) -> NDArray[Any]:
        where = placed(tensor)
        view = np.lib.stride_tricks.as_strided(
            self._arena[where.position :],
            (where.channels, where.height, where.width),
            (4 * where.step, 4 * where.row, 4),
            writeable=False,
        )
        return view.copy()
