"""Findings of a run in plain words; every sentence is decided by an interval."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    dense_twin,
    is_control,
    is_mask_only,
    is_masked,
    is_structural,
    models,
    reference_engine,
    removed,
    way,
)
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.folds import AsOne
from sparsemark.analysis.statistics import Interval
from sparsemark.records.measurement import WHOLLY_DENSE
from sparsemark.report import wording
from sparsemark.report.quantising import quantising
from sparsemark.specs import AA, ALL_ONES, DENSE, RANDOM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.wording import Notes

NEGLIGIBLE = 0.03
"""A change of time inside this band is called none: machines move as much within a run without anybody noticing."""

_AGREES = 0.01
"""Largest allowed distance from one of the whole interval of a cell against itself."""

_EXACT = 1e-9
"""Percent below which a bound is not rounded up: 1 - 0.94 is above 0.06 in its last bit."""

_MAGNITUDE = "magnitude"
"""Method that random masks are held against."""

_UNCHANGED = "unchanged"

_NO_NOISE = Interval(1.0, 1.0, 1.0)

TITLE = "What it says (zeros and channels over dense on the same engine, sparse storage over the reference)"
CONTROLS = "Controls (all-ones over dense, random over magnitude of the same sparsity)"
"""Titles that say once what every line below them is held against."""


def findings(run: Run) -> list[str]:
    """Return what zero masks, sparse storage and removed channels did to the time, engine by engine; folds as one."""
    as_one = AsOne.of(run.measured())
    measured = as_one.rows
    cells = [m for m in measured if not is_control(m)]
    twin = _over_dense_twin(measured, as_one.over)
    lines = []
    for model in models(cells):
        own = [m for m in cells if m.model == model]
        masks = [m for m in own if is_mask_only(m)]
        channels = [m for m in own if is_structural(m)]
        stored = [m for m in masks if m.format == "csr" and not _is_wholly_dense(m)]
        noise = _noise(model, as_one, run.engines)
        prefix = f"{model}: " if len(models(cells)) > 1 else ""
        for what, chosen, compare in (
            ("zero masks", [m for m in masks if m.format != "csr"], twin),
            ("sparse storage (CSR)", stored, speedup_of),
            ("removed channels", [m for m in channels if not is_masked(m)], twin),
            ("removed channels and zero masks", [m for m in channels if is_masked(m)], twin),
        ):
            said = _by_engine(what, chosen, compare, notes=run.engines, noise=noise, in_table=compare is twin)
            lines += [f"{prefix}{line}" for line in said]
    return [*lines, *quantising(run)]


def _is_wholly_dense(m: Measurement) -> bool:
    """Return whether an engine for sparse storage ran nothing of it: its time says nothing of sparse storage."""
    return WHOLLY_DENSE in (m.notes or "")


def controls(run: Run) -> list[str]:
    """Return whether the cells whose answer is known gave that answer."""
    measured, notes = run.measured(), run.engines
    lines = [_aa_line(m, notes) for m in measured if m.control == AA]
    ones = [m for m in measured if m.method == ALL_ONES and m.control is None]
    lines += _by_engine("all-ones mask", ones, _over_dense_twin(measured), notes=notes)
    for model in models(measured):
        drawn = [m for m in measured if m.method == RANDOM and m.control is None and m.model == model]
        lines += _by_engine("random mask", drawn, _over_magnitude_twin(measured), notes=notes)
    return lines


def _noise(model: str | None, as_one: AsOne, notes: Notes) -> dict[str, Interval]:
    """Return for each engine on which a mask without a zero is not unchanged how far off it came out."""
    twin = _over_dense_twin(as_one.rows, as_one.over)
    worst: dict[str, Interval] = {}
    for m in as_one.rows:
        if (m.model, m.method, m.control) != (model, ALL_ONES, None):
            continue
        interval = twin(m)
        if interval is None or _word(interval) == _UNCHANGED:
            continue
        runner = wording.runner(m, notes)
        if runner not in worst or abs(math.log(interval.estimate)) > abs(math.log(worst[runner].estimate)):
            worst[runner] = interval
    return worst


def clock_agrees(m: Measurement) -> bool | None:
    """Return whether a cell against itself came out as 1; None where its interval is too wide to tell, or absent."""
    own = speedup_of(m)
    if own is None:
        return None
    if own.low >= 1 - _AGREES and own.high <= 1 + _AGREES:
        return True
    return None if own.low <= 1 <= own.high else False


def _aa_line(measurement: Measurement, notes: Notes) -> str:
    where = f"A/A ({measurement.model} {wording.pruned(measurement)} on {wording.runner(measurement, notes)})"
    return f"{where} {against_itself(measurement)}."


def against_itself(m: Measurement) -> str:
    """Return `0.989x [0.966, 0.998]: differences below 4 % cannot be trusted here` of a cell against itself."""
    own = speedup_of(m)  # such a cell is its own reference
    if own is None:
        return "without an interval: the clock is not checked"
    agrees = clock_agrees(m)
    if agrees:
        verdict = f"the clock agrees with itself to {_AGREES:.0%}"
    elif agrees is None:
        verdict = f"too noisy to tell to {_AGREES:.0%}"
    else:
        # The end of the interval: what it holds could be the noise of any other cell. Rounded up, as a bound is.
        apart = math.ceil(100 * max(1 - own.low, own.high - 1) - _EXACT)
        verdict = f"differences below {apart} % cannot be trusted here"
    return f"{wording.ratio(own)}: {verdict}"


def _over_dense_twin(
    measured: Sequence[Measurement], over: Callable[[Measurement, Measurement], Interval | None] = speedup_over
) -> Callable[[Measurement], Interval | None]:
    dense: dict[tuple[object, ...], list[Measurement]] = {}
    for m in measured:
        if m.method == DENSE:
            dense.setdefault(way(m), []).append(m)
    return lambda m: over(m, twin) if (twin := dense_twin(m, dense.get(way(m), ()))) else None


def _over_magnitude_twin(measured: Sequence[Measurement]) -> Callable[[Measurement], Interval | None]:
    twins = {_asked(m): m for m in measured if m.method == _MAGNITUDE and m.control is None}
    return lambda m: speedup_over(m, twin) if (twin := twins.get(_asked(m))) else None


def _asked(m: Measurement) -> tuple[object, ...]:
    """Return what a cell is but for its method."""
    return *way(m), m.seed, m.fold, m.schedule, m.sparsity_target


def _word(interval: Interval, noise: Interval = _NO_NOISE) -> str:
    """Return which way a time went; what a mask without a zero reached as well settles nothing."""
    if interval.low > 1 - NEGLIGIBLE and interval.high < 1 + NEGLIGIBLE:
        return _UNCHANGED
    if interval.low > max(1, noise.high):
        return "faster"
    return "slower" if interval.high < min(1, noise.low) else "not settled"


def _in_table(m: Measurement) -> str:
    """Return the speedup of a cell's row, for beside its ratio to dense on the same engine; empty where that is one."""
    shown = speedup_of(m)
    return "" if shown is None or m.engine == reference_engine(m) else f" ({shown.estimate:.2f}x over the reference)"


def _by_engine(
    what: str,
    cells: Sequence[Measurement],
    compare: Callable[[Measurement], Interval | None],
    *,
    notes: Notes,
    noise: Mapping[str, Interval] | None = None,
    in_table: bool = False,
) -> list[str]:
    """Write one sentence an engine: how many cells went which way, and the cell from which most was removed.

    Args:
        what: was done to the cells.
        cells: those of which it is said.
        compare: time of what a cell is held against, over its own; None where there is none.
        notes: what the run says of its engines.
        noise: what a mask without a zero gave on the engines on which that was not unchanged.
        in_table: add the speedup that the table shows, where that is over another engine.
    """
    lines = []
    for runner in dict.fromkeys(wording.runner(m, notes) for m in cells):
        own = [m for m in cells if wording.runner(m, notes) == runner]
        compared = [(m, interval) for m in own if (interval := compare(m))]
        if not compared:
            continue
        off = (noise or {}).get(runner)
        words = Counter(_word(interval, off or _NO_NOISE) for _, interval in compared)
        if len(words) == 1:
            summary = next(iter(words)) + (f" in all {len(compared)} cells" if len(compared) > 1 else "")
        else:
            summary = ", ".join(f"{word} in {n}" for word, n in words.most_common()) + f" of {len(compared)} cells"
        example, interval = max(compared, key=lambda pair: removed(pair[0]) or 0.0)
        known = f"; a mask without a zero gave {wording.ratio(off)}" if off else ""
        lines.append(
            f"{what} on {runner}: {summary}; {wording.pruned(example)} is {wording.ratio(interval)}"
            f"{_in_table(example) if in_table else ''}{known}."
        )
    return lines
