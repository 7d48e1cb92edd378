"""Optimisation level of ONNX Runtime for a file: ALL unless EXTENDED is clearly faster here, chosen once and kept.

ALL can be slower, where reordering activations for its NCHWc kernels costs more than these gain (onnxruntime #12959,
#26992). Whoever deploys the dense network would take the faster one, so that is what others are compared with.
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import content_hash, key_of, note_of, read_note, write_privately

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ALL, EXTENDED = "all", "extended"
"""Names of `onnxruntime.GraphOptimizationLevel`, the first its default."""

_PAIRS, _FEWEST = 15, 5
"""Pairs of calls, and those after which a clear case ends."""

_PATIENCE = 3.0
"""Seconds after which no further pair is begun."""

_CLEARLY = 1.02
"""How much faster EXTENDED must be in the median: below that a choice would be noise."""

_SHARE = 0.8
"""Share of the pairs in which it must be faster: 12 of 15, which chance gives in 2 of 100 files."""

Run = Callable[[], Any]


@dataclass(frozen=True)
class Level:
    """A level, and how much faster it was than the default: 1 for the default itself."""

    name: str = ALL
    speedup: float = 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the row, empty at the default level."""
        if self.name == ALL:
            return ()
        return (f"ONNX Runtime at level EXTENDED, {self.speedup:.2f} times as fast as ALL here",)


DEFAULT = Level()


def level_for(model: Path | bytes, threads: int, open_at: Callable[[str], Any]) -> Level:
    """Return the level for a file, or its content: remembered, or timed in pairs now.

    It is the default where inputs have open sizes, and where the choice could not be remembered: every process must
    take the same.

    Args:
        model: the ONNX file.
        threads: that share a call.
        open_at: opens an `onnxruntime.InferenceSession` at a level.
    """
    try:
        known = paths.levels(_key(model, threads))
        found = _recall(known)
        if found is None:
            found = _measured(open_at)
            write_privately(known, note_of({"name": found.name, "speedup": found.speedup}), paths.user_cache())
    except (OSError, UserError):
        return DEFAULT
    return found


def arguments(session: Any) -> dict[str, NDArray[Any]] | None:
    """Return made-up inputs of a session; None where a size other than the batch is open, or a type is no number."""
    made = {}
    generator = np.random.default_rng(0)
    for value in session.get_inputs():
        sizes = [1 if not isinstance(size, int) and axis == 0 else size for axis, size in enumerate(value.shape)]
        dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}.get(value.type)
        if dtype is None or not all(isinstance(size, int) and size > 0 for size in sizes):
            return None
        # Made-up integers are 0, which any table of indices has.
        made[value.name] = (
            generator.standard_normal(sizes).astype(dtype) if dtype is np.float32 else np.zeros(sizes, dtype)
        )
    return made


def _measured(open_at: Callable[[str], Any]) -> Level:
    sessions = open_at(ALL), open_at(EXTENDED)
    given = arguments(sessions[0])
    if given is None:
        return DEFAULT
    try:
        ratio = _paired(*(lambda session=session: session.run(None, given) for session in sessions))
    except Exception:  # made-up inputs may be none that the network takes; its own can still be
        return DEFAULT
    return DEFAULT if ratio is None else Level(EXTENDED, ratio)


def _paired(default: Run, other: Run) -> float | None:
    """Return how many times as fast as the default the other one is; None where it is not clearly faster."""
    for run in (default, other) * 2:
        run()
    ratios: list[float] = []
    begun = time.perf_counter()
    while len(ratios) < _PAIRS and (not ratios or time.perf_counter() - begun < _PATIENCE):
        runs = (default, other) if len(ratios) % 2 else (other, default)
        seconds = {run: _seconds(run) for run in runs}
        ratios.append(seconds[default] / seconds[other])
        if len(ratios) >= _FEWEST and max(ratios) < 1:
            return None
    faster = sum(ratio > 1 for ratio in ratios) >= _SHARE * len(ratios)
    median = statistics.median(ratios)
    return median if len(ratios) >= _FEWEST and faster and median > _CLEARLY else None


def _seconds(run: Run) -> float:
    run()  # the other one's call took the caches
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _recall(path: Path) -> Level | None:
    stored = read_note(path)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if stored is not None and stored["name"] in (ALL, EXTENDED):
            return Level(stored["name"], float(stored["speedup"]))
    return None


def _key(model: Path | bytes, threads: int) -> str:
    from sparsemark.machine.fingerprint import identity, package_versions

    content = hashlib.sha256(model).hexdigest() if isinstance(model, bytes) else content_hash(model)
    return key_of(content, threads, identity(), package_versions(("onnxruntime",)), _CLEARLY, _SHARE)
