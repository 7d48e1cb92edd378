"""Findings of a run, decided by intervals, and the controls whose answer is known."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    dense_twin,
    is_control,
    is_mask_only,
    is_masked,
    is_quantised,
    is_structural,
    models,
    reference_engine,
    removed,
    way,
)
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.folds import AsOne
from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.records.measurement import WHOLLY_DENSE
from sparsemark.report import wording
from sparsemark.report.finding import UNCHANGED, Finding, beside, sentences, verdict_of, word_of
from sparsemark.report.quantising import quantising
from sparsemark.report.scores import Scoring
from sparsemark.specs import AA, ALL_ONES, DENSE, RANDOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.records.scores import Score
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

    Compare = Callable[[Measurement], Interval | None]  # time of what a cell is held against, over its own
    Scores = Callable[[Measurement], tuple[str, str]]  # before and after, and the change

_AGREES = 0.01
"""Largest allowed distance from one of the whole interval of a cell against itself."""

_EXACT = 1e-9
"""Percent below which a bound is not rounded up: 1 - 0.94 is above 0.06 in its last bit."""

_MAGNITUDE = "magnitude"
"""Method that random masks are held against."""

TITLE = "What it says"
BESIDE = "Beside what it says"
CONTROLS = "Controls"
"""Titles of lists; every line says what it is held against."""


def findings(run: Run) -> list[str]:
    """Return the findings of a run as sentences, and below them what those leave out."""
    found = findings_of(run)
    return [*sentences(found), *beside(found)]


def findings_of(run: Run) -> list[Finding]:
    """Return what zero masks, sparse storage, removed channels and quantising did, engine by engine; folds as one."""
    as_one = AsOne.of(run.measured())
    scoring = Scoring.of(as_one.rows)
    cells = [m for m in as_one.rows if not is_control(m)]
    found = [*_of_prunings(run, as_one, cells, scoring), *quantising(as_one, scoring, run.engines)]
    order = [str(model) for model in models(cells)]
    return sorted(found, key=lambda one: order.index(one.model) if one.model in order else 0)


def _of_prunings(run: Run, as_one: AsOne, cells: Sequence[Measurement], scoring: Scoring) -> Iterator[Finding]:
    twin = _over_dense_twin(as_one.rows, as_one.over)
    scores = _scores(run, scoring)
    several = len(models(cells)) > 1
    for model in models(cells):
        own = [m for m in cells if m.model == model]
        masks = [m for m in own if is_mask_only(m)]
        channels = [m for m in own if is_structural(m)]
        stored = [m for m in masks if m.format == "csr" and not _is_wholly_dense(m)]
        # In int8 the reference in float32 would credit zeros with what quantising gives.
        beside = [m for m in stored if is_quantised(m) and twin(m) is not None]
        noise = _noise(model, as_one, run.engines)
        for what, chosen, by_reference in (
            ("zero masks", [m for m in masks if m.format != "csr"], False),
            ("sparse storage (CSR)", [m for m in stored if m not in beside], True),
            ("sparse storage (CSR)", beside, False),
            ("removed channels", [m for m in channels if not is_masked(m)], False),
            ("removed channels and zero masks", [m for m in channels if is_masked(m)], False),
        ):
            yield from _by_engine(
                what, chosen, twin, notes=run.engines, model=(model or "") if several else "",
                by_reference=by_reference, noise=noise, scores=scores,
            )  # fmt: skip


def _scores(run: Run, scoring: Scoring) -> Scores:
    """Return a function that returns a cell's score beside the dense network's, and the change, in words.

    A quantised cell is held against the dense network quantised, as its time is.
    """
    judged = with_folds_as_one(standings(run.measured(), Bar()))
    rows = [one.measurement for one in judged]
    known = {(m.model, m.name): one for m, one in zip(rows, judged, strict=True)}

    def scores(m: Measurement) -> tuple[str, str]:
        one, scale = known.get((m.model, m.name)), scoring.scale(m.model)
        if one is None:
            return "", ""
        if not is_quantised(m):
            return _against(one.dense, one, scale)
        twin = dense_twin(m, rows)
        return _against(None if twin is None else known[twin.model, twin.name].score, one, scale)

    return scores


def _against(dense: Score | None, one: Standing, scale: Scale) -> tuple[str, str]:
    """Return a score beside a dense one, and the change; its interval is known against the dense one in float32."""
    score = one.score
    if score is None or dense is None:
        return "", ""
    caveat = wording.on_caveat(wording.caveat(one.measurement.data))
    ends = (score.loss_low, score.loss_high) if dense is one.dense else (None, None)
    change = scale.lost_in_words(score.loss_against(dense), *ends, one.allowed)
    return f"{scale.step(dense.value, score.value)}{caveat}", change


def _is_wholly_dense(m: Measurement) -> bool:
    """Return whether an engine for sparse storage ran nothing of it: its time says nothing of sparse storage."""
    return WHOLLY_DENSE in (m.notes or "")


def controls(run: Run) -> list[str]:
    """Return whether the cells whose answer is known gave that answer."""
    measured, notes = run.measured(), run.engines
    lines = [_aa_line(m, notes) for m in measured if m.control == AA]
    ones = [m for m in measured if m.method == ALL_ONES and m.control is None]
    found = _by_engine("all-ones mask", ones, _over_dense_twin(measured), notes=notes)
    for model in models(measured):
        drawn = [m for m in measured if m.method == RANDOM and m.control is None and m.model == model]
        twins = _over_magnitude_twin(measured)
        found += _by_engine("random mask", drawn, twins, notes=notes, over="magnitude of the same sparsity")
    return [*lines, *sentences(found), *beside(found)]


def _noise(model: str | None, as_one: AsOne, notes: Notes) -> dict[str, Interval]:
    """Return for each engine on which a mask without a zero is not unchanged how far off it came out."""
    twin = _over_dense_twin(as_one.rows, as_one.over)
    worst: dict[str, Interval] = {}
    for m in as_one.rows:
        if (m.model, m.method, m.control) != (model, ALL_ONES, None):
            continue
        interval = twin(m)
        if interval is None or word_of(interval) == UNCHANGED:
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
) -> Compare:
    dense: dict[tuple[object, ...], list[Measurement]] = {}
    for m in measured:
        if m.method == DENSE:
            dense.setdefault(way(m), []).append(m)
    return lambda m: over(m, twin) if (twin := dense_twin(m, dense.get(way(m), ()))) else None


def _over_magnitude_twin(measured: Sequence[Measurement]) -> Compare:
    twins = {_asked(m): m for m in measured if m.method == _MAGNITUDE and m.control is None}
    return lambda m: speedup_over(m, twin) if (twin := twins.get(_asked(m))) else None


def _asked(m: Measurement) -> tuple[object, ...]:
    """Return what a cell is but for its method."""
    return *way(m), m.seed, m.fold, m.schedule, m.sparsity_target


def _by_engine(
    what: str,
    cells: Sequence[Measurement],
    own: Compare,
    *,
    notes: Notes,
    model: str = "",
    by_reference: bool = False,
    over: str = "",
    noise: Mapping[str, Interval] | None = None,
    scores: Scores | None = None,
) -> list[Finding]:
    """Return one finding an engine: how many cells went which way, and the cell from which most was removed.

    Args:
        what: was done to the cells.
        cells: those of which it is said.
        own: comparison on the cell's own engine.
        notes: what the run says of its engines.
        model: network that is named; empty where the run has one alone.
        by_reference: whether the speedup over the reference decides, else that over `own`.
        over: what `own` compares with, in words; empty for the dense network on the same engine.
        noise: what a mask without a zero gave on the engines on which that was not unchanged.
        scores: of a cell, in words; None leaves them out.
    """
    found = []
    compare = speedup_of if by_reference else own
    for runner in dict.fromkeys(wording.runner(m, notes) for m in cells):
        compared = [
            (m, interval) for m in cells if wording.runner(m, notes) == runner and (interval := compare(m)) is not None
        ]
        if not compared:
            continue
        off = (noise or {}).get(runner)
        verdict, counts = verdict_of(Counter(word_of(interval, off) for _, interval in compared))
        example, _ = max(compared, key=lambda pair: removed(pair[0]) or 0.0)
        values, change = scores(example) if scores else ("", "")
        dense = wording.engine_name(reference_engine(example), notes) if by_reference else runner
        found.append(
            Finding(
                model, what, runner, verdict, over or f"dense {dense}", wording.pruned(example), speedup_of(example),
                own(example), by_reference, values, change, counts, off,
            )
        )  # fmt: skip
    return found
