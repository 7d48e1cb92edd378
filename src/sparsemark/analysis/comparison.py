"""Two runs side by side, cell by cell: how the latency changed, and what else changed between them.

Only ratios are compared. Each block of a cell is divided by its own block of the reference, so that a slower clock, a
busy neighbour or another machine cancels; milliseconds of one run are never set against milliseconds of the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.cells import is_reference
from sparsemark.analysis.contamination import DRIFT_LIMIT, Cause, Contamination, contamination, contamination_of
from sparsemark.analysis.launches import ratio_drift_of, reference_drift_of
from sparsemark.analysis.statistics import (
    BLOCKS_NEEDED,
    Interval,
    log_time_ratios,
    percentile_interval,
    quotient,
    resampled_medians,
)
from sparsemark.errors import UserError
from sparsemark.records.measurement import MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_MOST_WAITED = 0.9
"""Cap on the waiting share, so that its logarithm stays finite."""

_APART = math.log(1.25)
"""Logarithm of how far the reference may differ between two runs: processors change their clock by about as much."""

ONE_PROCESS = math.log(1.1)
"""Logarithm of what one process a side may differ by for no other reason than where its memory lies."""

_JOB_FIELDS = ("speedup_reference", "threads", "batch")
"""Fields that must be alike before two latencies can be compared at all."""

_MACHINE_KEYS = (
    "cpu_model",
    "cpu_family",
    "cpu_model_number",
    "cpu_flags",
    "cpu_count",
    "machine",
    "system",
    "cpu.brand_raw",
    "cpu.count",
)
"""Identity of a machine: host names change with every container, clock readings with every call."""

_UNKNOWN = ("None", "")
"""Values of a field that nobody could read."""

_VOLATILE = ("cpu.hz_", "commit.time", "commit.author_time", "readings.")
"""Readings that differ between any two runs of one machine (pytest-benchmark #255)."""


@dataclass(frozen=True)
class LatencyChange:
    """Change of one cell's time, relative to its reference; logarithms are of candidate / baseline.

    Args:
        log_change: median and 95 % interval; above 0 the candidate is slower.
        slower_ms: the change in milliseconds of the candidate's machine.
        log_halves: the change in the first and in the second half of the blocks, two batches that share no sample; None
            where the raw samples are missing.
        baseline_blocks: ln(cell / reference) of each pair of blocks; empty where the raw samples are missing.
        candidate_blocks: the same.
        paired: both were timed beside the very same calls of the reference, so that block i of the one belongs to block
            i of the other.
        contaminated: reasons not to trust the latency of one or both, the baseline's first.
        doubt: largest effect that the contamination could imitate, as a logarithm; 0 where paired, since both felt it.
    """

    log_change: Interval
    slower_ms: float | None
    log_halves: tuple[float, float] | None = None
    baseline_blocks: tuple[float, ...] = field(default=(), repr=False)
    candidate_blocks: tuple[float, ...] = field(default=(), repr=False)
    paired: bool = False
    contaminated: tuple[Contamination, ...] = ()
    doubt: float = 0.0

    @property
    def change(self) -> Interval:
        """Fraction by which the time grew: 0.2 is 20 % slower."""
        ratio = self.log_change.exp()
        return Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1)


@dataclass(frozen=True)
class OwnTime:
    """Change of a cell's own time beside a fixed workload.

    Args:
        log_change: logarithm of candidate / baseline, each over the workload beside it; above 0 the candidate is
            slower.
        slower_ms: the change in milliseconds of the candidate's machine.
        spread: how far the workload itself moved in either run, as a fraction.
    """

    log_change: float
    slower_ms: float
    spread: float


@dataclass(frozen=True)
class Comparison:
    """One cell in two runs.

    Args:
        cell: its name.
        baseline: None where that run lacks it.
        candidate: the same.
        latency: None where it cannot be compared.
        too_few: it cannot, for want of blocks.
        why_not: the reason.
        same_reference: both were timed beside the same file of the reference in the same version of its engine, so
            that the ratio to it is the cell's own time; else it is the speedup alone.
        own: change of own time beside a fixed workload; None where none was timed in both.
    """

    cell: str
    baseline: Measurement | None
    candidate: Measurement | None
    latency: LatencyChange | None = None
    too_few: bool = False
    why_not: str | None = None
    same_reference: bool = True
    own: OwnTime | None = None

    @property
    def was_timed(self) -> bool:
        """Whether either run has a latency: cells can be verified without being timed."""
        return any(m is not None and (m.p50_ms is not None or m.samples_s) for m in (self.baseline, self.candidate))

    @property
    def same(self) -> bool:
        """Whether the two are one and the same measurement."""
        before, after = self.baseline, self.candidate
        if before is None or after is None or before == after:
            return before == after
        return bool(before.samples_s) and (before.samples_s, before.reference_s) == (after.samples_s, after.reference_s)


@dataclass(frozen=True)
class Difference:
    """A condition that is not the same in both runs."""

    field: str
    baseline: str
    candidate: str


def compare(baseline: Run, candidate: Run) -> list[Comparison]:
    """Join two runs by the names of their cells, in the order of the baseline, new cells last.

    Raises:
        UserError: a run names one cell twice.
    """
    before, after = _by_name(baseline, "baseline"), _by_name(candidate, "candidate")
    versions = [run.machine_info.get("versions") or {} for run in (baseline, candidate)]
    return [
        _compare_cell(name, (before.get(name), after.get(name)), is_same_engine=_has_same_engine(one, versions))
        for name, one in (before | after).items()
    ]


def _has_same_engine(measurement: Measurement, versions: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the reference's engine has the same version in both runs, as far as both say it."""
    engine = measurement.reference_engine
    found = {known for one in versions if isinstance(one, dict) and (known := one.get(engine)) is not None}
    return len(found) < 2


def _by_name(run: Run, which: str) -> dict[str, Measurement]:
    cells: dict[str, Measurement] = {}
    for measurement in run.measurements:
        if measurement.name in cells:
            raise UserError(f"{which}: benchmarks: {measurement.name!r} is there twice, expected each cell once")
        cells[measurement.name] = measurement
    return cells


def _compare_cell(
    name: str, cells: tuple[Measurement | None, Measurement | None], *, is_same_engine: bool
) -> Comparison:
    before, after = cells
    if before is None or after is None or before.status != MEASURED or after.status != MEASURED:
        return Comparison(name, before, after, why_not="not measured in both runs")
    for job_field in _JOB_FIELDS:
        values = getattr(before, job_field), getattr(after, job_field)
        if values[0] != values[1]:
            return Comparison(name, before, after, why_not=f"{job_field} was {values[0]!r} and is {values[1]!r}")
    references = before.reference_sha256, after.reference_sha256
    comparison = Comparison(
        name,
        before,
        after,
        same_reference=is_same_engine and (None in references or references[0] == references[1]),
        own=_own_time(before, after),
    )
    blocks = _blocks(before), _blocks(after)
    if not all(map(len, blocks)) or min(len(m.launch_pairs) for m in (before, after)) > 1:
        latency = _change_of_summaries(before, after)
        why_not = None if latency else "raw samples of the reference and intervals of the speedup are both missing"
        return replace(comparison, latency=latency, why_not=why_not)
    pairs = min(map(len, blocks))
    if pairs < BLOCKS_NEEDED:
        why_not = f"{pairs} pairs of blocks, an interval needs {BLOCKS_NEEDED}"
        return replace(comparison, too_few=True, why_not=why_not)
    return replace(comparison, latency=_change_of_blocks(before, after, blocks))


def _own_time(before: Measurement, after: Measurement) -> OwnTime | None:
    times = [(m.p50_ms, m.yardstick_ms) for m in (before, after)]
    (was, was_beside), (now, now_beside) = times
    if was is None or now is None or was_beside is None or now_beside is None:
        return None
    log_change = math.log(now / now_beside) - math.log(was / was_beside)
    spreads = [m.yardstick_spread for m in (before, after) if m.yardstick_spread is not None]
    return OwnTime(log_change, _slower_ms(now, log_change), max(spreads, default=0.0))


def _blocks(measurement: Measurement) -> tuple[float, ...]:
    if not measurement.block or measurement.block < 1:
        return ()
    return tuple(log_time_ratios(measurement.samples_s, measurement.reference_s, measurement.block).tolist())


def _change_of_blocks(
    before: Measurement, after: Measurement, blocks: tuple[tuple[float, ...], tuple[float, ...]]
) -> LatencyChange:
    baseline, candidate = np.asarray(blocks[0]), np.asarray(blocks[1])
    paired = before.reference_s == after.reference_s and len(baseline) == len(candidate)
    if paired:
        differences = candidate - baseline
        estimate, draws = float(np.median(differences)), resampled_medians(differences)
        log_halves = _median_of_halves(differences)
    else:
        estimate = float(np.median(candidate) - np.median(baseline))
        draws = resampled_medians(candidate, stream=1) - resampled_medians(baseline, stream=0)
        first, second = np.subtract(_median_of_halves(candidate), _median_of_halves(baseline))
        log_halves = (float(first), float(second))
    contaminated, doubt = _contamination(before, after)
    doubt = max(doubt, ONE_PROCESS)
    return LatencyChange(
        percentile_interval(estimate, draws),
        _slower_ms(1e3 * float(np.median(after.samples_s)), estimate),
        log_halves,
        *blocks,
        paired,
        contaminated,
        0.0 if paired else doubt,
    )


def _median_of_halves(blocks: NDArray[np.float64]) -> tuple[float, float]:
    # Halves in time, not odd and even blocks: neighbours share whatever the machine was doing.
    middle = len(blocks) // 2
    return float(np.median(blocks[:middle])), float(np.median(blocks[middle:]))


def _change_of_summaries(before: Measurement, after: Measurement) -> LatencyChange | None:
    speedups = speedup_of(before), speedup_of(after)
    if speedups[0] is None or speedups[1] is None:
        return None
    ratio = quotient(speedups[0], speedups[1])
    log_change = Interval(math.log(ratio.estimate), math.log(ratio.low), math.log(ratio.high))
    contaminated, doubt = _contamination(before, after)
    slower_ms = None if after.p50_ms is None else _slower_ms(after.p50_ms, log_change.estimate)
    return LatencyChange(log_change, slower_ms, contaminated=contaminated, doubt=doubt)


def speedup_of(measurement: Measurement) -> Interval | None:
    """Return a cell's speedup with its interval, or None where any of the three numbers is missing or out of order."""
    estimate, low, high = measurement.speedup, measurement.speedup_low, measurement.speedup_high
    if estimate is None or low is None or high is None or not 0 < low <= estimate <= high:
        return None
    return Interval(estimate, low, high)


def speedup_over(measurement: Measurement, other: Measurement) -> Interval | None:
    """Return how many times as fast a cell is as another of the same run; None where either has no speedup.

    Over the reference itself it is the cell's own speedup, of blocks that were timed in pairs. The reference as a cell
    of its own comes out at 1.00 and a bit, and dividing by that would make a second number of the same comparison.
    """
    speedup, base = speedup_of(measurement), speedup_of(other)
    if speedup is None or base is None:
        return None
    return speedup if is_reference(other) else quotient(speedup, base)


def _slower_ms(candidate_ms: float, log_change: float) -> float:
    return candidate_ms * -math.expm1(-log_change)


def _contamination(before: Measurement, after: Measurement) -> tuple[tuple[Contamination, ...], float]:
    found, doubts = [], [0.0]
    for run, measurement in (("baseline", before), ("candidate", after)):
        reference_moved = reference_drift_of(measurement)
        if reference_moved is None:
            reference_moved = measurement.reference_drift
        # Raw samples are asked where the record says nothing: a file may lack what was derived from them.
        of_samples = contamination(reference_moved, measurement.steal, measurement.waited)
        own = [*(contamination_of(measurement) or of_samples)]
        ratio_moved = ratio_drift_of(measurement) or 0.0
        if ratio_moved > DRIFT_LIMIT:
            # A neighbour slows engines unequally; what does not cancel within a run will not between two.
            own.append(Contamination(Cause.RATIO_MOVED, ratio_moved))
        if own:
            found += [replace(cause, run=run) for cause in own]
            lost = (measurement.steal or 0.0) - math.log1p(-min(measurement.waited or 0.0, _MOST_WAITED))
            doubts.append(math.log1p(max(reference_moved or 0.0, ratio_moved)) + lost)
    apart = _references_apart(before, after)
    if apart > _APART:
        # A clock that changes moves candidate and reference alike; a neighbour on the same processor need not.
        found.append(Contamination(Cause.REFERENCES_APART, math.expm1(apart)))
        doubts.append(apart)
    # Pairing cancels most of a drift, so an effect above the whole of the larger one is not its work.
    return tuple(found), max(doubts)


def _references_apart(before: Measurement, after: Measurement) -> float:
    """Return the logarithm of how many times as long the reference took in one run as in the other."""
    if before.reference_p50_ms is None or after.reference_p50_ms is None:
        return 0.0
    return abs(math.log(after.reference_p50_ms / before.reference_p50_ms))


def same_machine(baseline: Run, candidate: Run) -> bool:
    """Return whether both runs name the same processor and system, as far as both name them at all."""
    return other_machine(baseline, candidate) is None


def other_machine(baseline: Run, candidate: Run) -> Difference | None:
    """Return the first field by which the candidate's machine is another one, or None; the processor's name first."""
    before, after = dict(_flatten(baseline.machine_info)), dict(_flatten(candidate.machine_info))
    for key in _MACHINE_KEYS:
        values = before.get(key, ""), after.get(key, "")
        if values[0] != values[1] and not set(values) & set(_UNKNOWN):
            return Difference(key, *values)
    return None


def environment_differences(baseline: Run, candidate: Run) -> list[Difference]:
    """List the conditions that differ: machine, versions, commit; dotted names, in alphabetical order."""
    before = dict(_flatten({"commit": baseline.commit_info} | dict(baseline.machine_info)))
    after = dict(_flatten({"commit": candidate.commit_info} | dict(candidate.machine_info)))
    names = sorted(name for name in before | after if not name.startswith(_VOLATILE))
    return [
        Difference(name, before.get(name, "absent"), after.get(name, "absent"))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _flatten(info: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in info.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
