"""Runners of one program for several callers at once: each has an arena to itself, all share the tables."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from sparsemark.direct.runtime.runner import Runner
from sparsemark.machine.placement import allowed_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sparsemark.direct.ir import Tensor
    from sparsemark.direct.program import Program
    from sparsemark.direct.runtime.parts import Part


class Callers:
    """Runs a program for callers from any thread.

    A caller that finds every runner busy has another one made, until there are as many as the processors can serve:
    beyond that, callers take turns, since a further arena would cost memory and save no time.
    """

    def __init__(self, program: Program, threads: int, parts: Sequence[Part] = ()) -> None:
        self._program, self._threads, self._parts = program, threads, parts
        self._most = max(1, len(allowed_cpus()) // threads)
        self._runners = [Runner(program, threads, parts)]
        self._free = list(self._runners)
        self._turns = itertools.count()

    def __call__(self, image: NDArray[np.float32], outputs: tuple[Tensor | str, ...] = ()) -> tuple[NDArray[Any], ...]:
        """Run one image; arguments and result as of `Runner`."""
        # Operations of lists are atomic. No lock: one that is held while the process forks stays held in the child.
        try:
            runner = self._free.pop()
        except IndexError:
            if len(self._runners) >= self._most:
                # Some may never come back: their callers were interrupted, or left behind by a fork.
                return self._runners[next(self._turns) % len(self._runners)](image, outputs)
            runner = Runner(self._program, self._threads, self._parts)
            self._runners.append(runner)
        try:
            return runner(image, outputs)
        finally:
            self._free.append(runner)
