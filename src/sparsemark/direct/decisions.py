"""Remembered decisions: how each layer of a network runs on this machine, and whether all of it runs dense."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.direct.choices import remember, schedule_of
from sparsemark.direct.fingerprint import fingerprint
from sparsemark.direct.ir import BlockConvolution, Convolution, Matrix
from sparsemark.direct.target import LANES
from sparsemark.files import key_of, read_note
from sparsemark.registry import missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sparsemark.direct.ir import Lowered, Operation
    from sparsemark.direct.schedule import Schedule


@dataclass(frozen=True)
class Decision:
    """What was found best on this machine: a schedule for each convolution, in order; seconds where both were timed.

    With `again_at`, in seconds since the epoch, some schedule was chosen in a noisy minute, and all is measured again
    at the first load from then on.
    """

    schedules: tuple[Schedule, ...]
    dense: bool
    direct_s: float | None = None
    dense_s: float | None = None
    again_at: float | None = None


def machine_key(threads: int, dense: Sequence[str]) -> str:
    """Return the key of all beside a network that decides how it runs.

    Args:
        threads: that share an image.
        dense: modules that a network is run dense with.
    """
    from sparsemark.machine.fingerprint import identity, package_versions

    versions = package_versions(name for name in ("llvmlite", "numba", *dense) if missing((name,)) is None)
    return key_of(threads, LANES, identity(), versions, fingerprint())


def network_key(lowered: Lowered, ways: Mapping[Operation, Sequence[Schedule]], machine: str) -> str:
    """Return the key of a network, as far as how it runs goes by it."""
    work = [
        (
            operation.code,
            operation.target.shape,
            len(operation.taps.weight),
            operation.taps.right,
            operation.taps.left,
            operation.pooled,
            [way.key for way in ways[operation]],
        )
        if isinstance(operation, Convolution)
        else (operation.code, operation.target.shape, _size(operation), len(ways.get(operation, ())))
        for operation in lowered.operations
    ]
    borders = [
        (before, [node.op for node in part.graph.nodes], [border.shape for border in part.sources.values()])
        for before, part in lowered.dense
    ]
    return key_of(work, borders, lowered.shape, machine)


def _size(operation: Operation) -> int:
    if isinstance(operation, BlockConvolution):
        return len(operation.blocks.out)
    return operation.values.size if isinstance(operation, Matrix) else 0


def remember_decision(path: Path, decision: Decision) -> None:
    """Write a decision."""
    remember(path, asdict(decision))


def recall_decision(path: Path, ways: Mapping[Operation, Sequence[Schedule]]) -> Decision | None:
    """Return a remembered decision; None unless it is whole and each schedule is a way of its convolution."""
    stored = read_note(path)
    if stored is None:
        return None
    try:
        decision = Decision(
            tuple(map(schedule_of, stored["schedules"])),
            bool(stored["dense"]),
            *(_seconds(stored[name]) for name in ("direct_s", "dense_s", "again_at")),
        )
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None
    fitting = len(decision.schedules) == len(ways) and all(
        schedule in found for schedule, found in zip(decision.schedules, ways.values(), strict=True)
    )
    return decision if fitting else None


def _seconds(value: Any) -> float | None:
    if value is not None and not isinstance(value, float):
        raise TypeError(f"{value!r} are no seconds")
    return value
