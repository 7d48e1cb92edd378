"""A program in memory, with the threads that share it."""

from __future__ import annotations

import math
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct.layout import LINE
from sparsemark.direct.memory import placed
from sparsemark.direct.runtime.machine_code import load
from sparsemark.direct.runtime.pages import floats
from sparsemark.machine.forks import renewed_after_fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.ir import Tensor
    from sparsemark.direct.program import Program
    from sparsemark.direct.runtime.parts import Part, RunPart


_PATIENCE = 0.5
"""Seconds after which a caller looks again whether its helpers are done."""


class Runner:
    """Runs one program, one image at a time; callers from several threads wait for each other.

    The threads beside the caller's own sleep between calls: a thread that spins burns the core that others work on.

    Args:
        program: to run.
        threads: that share its operations.
        parts: that the dense engine runs between them, in order.
    """

    def __init__(self, program: Program, threads: int, parts: Sequence[Part] = ()) -> None:
        self._program = program
        self._arena = program.arena(threads)
        # Of each operation a line of the cache for each thread's share, and one for what is done of it.
        shape = len(program.table), threads + 1, LINE // 8
        self._counters = floats(2 * math.prod(shape)).view(np.int64).reshape(shape)
        self._execute = load()
        self._stages = tuple(self._planned(parts))
        self._operands: tuple[int, ...] = ()
        self._image: NDArray[np.float32] = np.zeros(0, np.float32)
        self._threads = threads
        self.renew()
        self._start_helpers()
        renewed_after_fork(self)

    def renew(self) -> None:
        """Replace the lock of calls, which a thread that a fork left behind may hold."""
        self._one_call = threading.Lock()

    def _start_helpers(self) -> None:
        self._process = os.getpid()
        self._gate, self._idle = threading.Lock(), _taken()
        self._open, self._busy = False, 0
        # Plain locks: Ctrl-C within a semaphore, which is Python code, can leave it broken.
        self._wakes = [_taken() for _ in range(self._threads - 1)]
        for number, wake in enumerate(self._wakes, start=1):
            # Helpers hold no reference while they sleep, or nobody could ever be rid of them.
            threading.Thread(target=_help, args=(weakref.ref(self), wake, number), daemon=True).start()
        # Not at exit: the runner is still there then, and its helpers would take themselves for called.
        weakref.finalize(self, _wake, self._wakes).atexit = False

    def _planned(self, parts: Sequence[Part]) -> Iterator[tuple[int, ...] | RunPart]:
        """Operands of the native calls, and what runs the parts between them, in order."""
        done, first_rows = 0, self._program.first_rows
        for part in parts:
            if part.before > done:
                yield self._operands_of(first_rows[done], first_rows[part.before])
            yield part.bind(self._arena)
            done = part.before
        if done < len(first_rows) - 1 or not parts:
            yield self._operands_of(first_rows[done], first_rows[-1])

    def _operands_of(self, first: int, last: int) -> tuple[int, ...]:
        """Operands of a native call of some rows of the table."""
        program, counters = self._program, self._counters
        return (
            _address(program.table[first:last], np.int64), last - first,
            _address(self._arena, np.float32), len(self._arena),
            _address(program.records, np.int32), _address(program.pointers, np.int32),
            _address(program.tiles, np.int64), len(program.tiles), _address(program.rows, np.int32), len(program.rows),
            _address(program.columns, np.int32), len(program.columns),
            _address(program.values, np.float32), len(program.values),
            _address(counters[first:], np.int64),
        )  # fmt: skip

    def __call__(self, image: NDArray[np.float32], outputs: tuple[Tensor | str, ...] = ()) -> tuple[NDArray[Any], ...]:
        """Run one image, contiguous float32.

        Args:
            image: in the shape that the parts, if there are any, take.
            outputs: a tensor each, or the name of what a part leaves outside of the arena.

        Returns:
            Copies of these tensors, channels first, and the arrays of those names.

        Raises:
            UnsupportedError: a part cannot be run.
            ArithmeticError: a part gave native operations what is infinite or NaN.
        """
        with self._one_call:
            if self._process != os.getpid():
                self._start_helpers()  # a fork takes none of the threads along
            self._close()  # an interrupt between any two lines below may have left a call open
            self._counters.fill(0)
            image = np.ascontiguousarray(image, np.float32)
            self._image = image.reshape(-1)
            outside: dict[str, NDArray[Any]] = {}
            for stage in self._stages:
                if isinstance(stage, tuple):
                    self._run(stage)
                else:
                    outside |= stage(image, outside)
            return tuple(outside[one] if isinstance(one, str) else self._copy_of(one) for one in outputs)

    def _run(self, operands: tuple[int, ...]) -> None:
        self._operands = operands
        self._open = True
        try:
            _wake(self._wakes)
            self.share(0)
        finally:
            self._close()

    def _close(self) -> None:
        """Let no helper in, and wait for those that are: they would take work, and memory, of the next call."""
        interrupted = None
        while self._open or self._busy:
            try:
                with self._gate:
                    self._open = False
                while self._busy:
                    self._idle.acquire(timeout=_PATIENCE)
            except KeyboardInterrupt as error:
                interrupted = error  # said once they are out
        if interrupted is not None:
            raise interrupted

    def help(self, thread: int) -> None:
        """Take part in the call that is open, if one is."""
        with self._gate:
            if not self._open:
                return
            self._busy += 1
        try:
            self.share(thread)
        finally:
            with self._gate:
                self._busy -= 1
                if not self._busy and self._idle.locked():
                    self._idle.release()

    def share(self, thread: int) -> None:
        """Do a thread's share of the call in progress."""
        image = self._image
        own = self._program.scratch_at(thread), thread, self._threads
        self._execute(*self._operands, image.ctypes.data, len(image), *own)

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


def _help(runner: weakref.ref[Runner], wake: threading.Lock, thread: int) -> None:
    while True:
        wake.acquire()
        awake = runner()
        if awake is None:
            return
        awake.help(thread)
        del awake


def _wake(wakes: Sequence[threading.Lock]) -> None:
    for wake in wakes:
        if wake.locked():  # else the helper has not yet come since it was last called
            wake.release()
