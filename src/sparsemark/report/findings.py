"""What a run says, in plain words: every sentence is decided by an interval, none is written beforehand."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    ALL_ONES,
    RANDOM,
    dense_accuracy,
    dense_twin,
    is_control,
    is_masked,
    is_reference,
    is_structural,
    models,
    reference_engine,
    removed,
)
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.statistics import Interval, quotient
from sparsemark.report import wording
from sparsemark.specs import AA, DENSE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

ONE_POINT = 0.01
"""Accuracy that may be lost by a network that is still called as good as the dense one."""

NEGLIGIBLE = 0.03
"""A change of time inside this band is called none: machines move as much within a run without anybody noticing."""

_AGREES = 0.01
"""How far from one the whole interval of a cell against itself may lie."""

_ROUNDING = 1e-12  # a loss of exactly one point is one point, whatever the last bit of the subtraction says
_UNCHANGED = "unchanged"
_SAME_ENGINE = "the dense network on the same engine"


def headlines(run: Run) -> list[str]:
    """Say for each network which cell is fastest at the accuracy of the dense one, and by how much.

    The fastest is the one with the highest lower end of its interval: the highest estimate would often be luck.
    """
    measured = run.measured()
    if not measured:
        counts = Counter(m.status for m in run.measurements)
        return [f"Nothing was measured: {', '.join(f'{n} {status}' for status, n in counts.items()) or 'no cells'}."]
    several = len(models(measured)) > 1
    lines = []
    for model in models(measured):
        line = _headline([m for m in measured if m.model == model])
        lines.append(f"{model}: {line}" if several else line[0].upper() + line[1:])
    return lines


def _headline(cells: Sequence[Measurement]) -> str:
    # One image on the fewest threads: other batches and threads are other questions, never the headline.
    job = min(((m.threads or 1, m.batch or 1) for m in cells), default=(1, 1))
    own = [m for m in cells if (m.threads or 1, m.batch or 1) == job and not is_control(m)]
    trusted = [(speedup, m) for m in own if (speedup := speedup_of(m))]
    if not trusted:
        return "no cell has a speedup with an interval."
    kept = [(speedup, m) for speedup, m in trusted if _keeps_accuracy(m, cells)]
    knows_accuracy = any(dense_accuracy(m, cells) is not None for _, m in trusted)
    within, caveat = (" within one point of accuracy", "") if knows_accuracy else ("", _why_unknown(cells))
    candidates = kept if knows_accuracy else trusted
    speedup, best = max(candidates, key=lambda pair: pair[0].low, default=(None, None))
    if speedup is None or best is None or speedup.low <= 1:
        return f"nothing{within} is faster than {_reference(own[0])}{caveat}."
    line = (
        f"fastest{within}{caveat}: {wording.pruned(best)} on {wording.engine_name(best.engine)}, "
        f"{wording.ratio(speedup)} over {_reference(best)}"
    )
    higher, other = max(candidates, key=lambda pair: pair[0].estimate)
    if higher.estimate > speedup.estimate:
        # The table goes by the estimate: the row above this one must not seem forgotten.
        on = f" on {wording.engine_name(other.engine)}" if other.engine != best.engine else ""
        line += f" (by the lower end of the interval; {wording.pruned(other)}{on} is {wording.ratio(higher)})"
    if best.contaminated:
        # Pairing cancels most of what moved, so the ratio stands, but whoever quotes it must know.
        line += f" (!: {best.contaminated})"
    dense = dense_accuracy(best, cells)
    if dense is not None and best.accuracy is not None and best.method != DENSE:
        images = " on PHANTOM images" if wording.is_phantom(best.accuracy_source) else ""
        line += f", accuracy {100 * dense:.1f} -> {100 * best.accuracy:.1f}{images}"
    rivals = [(s, m) for s, m in trusted if m.method == DENSE]
    rival_speedup, rival = max(rivals, key=lambda pair: pair[0].low, default=(None, None))
    if rival is not None and rival_speedup is not None and rival is not best and not is_reference(rival):
        against = wording.ratio(quotient(speedup, rival_speedup))
        line += f"; {against} over the fastest dense engine, {wording.engine_name(rival.engine)}"
    return f"{line}."


def _why_unknown(cells: Sequence[Measurement]) -> str:
    if all(m.accuracy is None for m in cells):
        return " (accuracy not measured)"
    return " (no dense row to hold accuracies against)"


def _reference(measurement: Measurement) -> str:
    return f"dense {wording.engine_name(reference_engine(measurement))}"


def _keeps_accuracy(measurement: Measurement, cells: Sequence[Measurement]) -> bool:
    if measurement.method == DENSE:
        return True
    dense = dense_accuracy(measurement, cells)
    return (
        dense is not None and measurement.accuracy is not None and dense - measurement.accuracy <= ONE_POINT + _ROUNDING
    )


def findings(run: Run) -> list[str]:
    """Say what zero masks, sparse storage and removed channels did to the time, engine by engine."""
    measured = run.measured()
    cells = [m for m in measured if not is_control(m)]
    lines = []
    for model in models(cells):
        own = [m for m in cells if m.model == model]
        prefix = f"{model}: " if len(models(cells)) > 1 else ""
        twin = _over_dense_twin(measured)
        for what, chosen, against, compare in (
            ("zero masks", [m for m in own if is_masked(m) and m.format != "csr"], _SAME_ENGINE, twin),
            (
                "sparse storage (CSR)",
                [m for m in own if is_masked(m) and m.format == "csr"],
                _reference(own[0]),
                speedup_of,
            ),
            ("removed channels", [m for m in own if is_structural(m)], _SAME_ENGINE, twin),
        ):
            said = _by_engine(what, chosen, against, compare, _scatter(model, measured))
            lines += [f"{prefix}{line}" for line in said]
    return lines


def _scatter(model: str | None, measured: Sequence[Measurement]) -> dict[str | None, str]:
    """Say for each engine on which the mask that changes nothing is not unchanged how far off it is."""
    twin = _over_dense_twin(measured)
    worst: dict[str | None, Interval] = {}
    for m in measured:
        if (m.model, m.method, m.control) != (model, ALL_ONES, None):
            continue
        interval = twin(m)
        if interval is None or _word(interval) == _UNCHANGED:
            continue
        if m.engine not in worst or abs(math.log(interval.estimate)) > abs(math.log(worst[m.engine].estimate)):
            worst[m.engine] = interval
    return {
        engine: f"; but the all-ones mask, which changes nothing, is {wording.ratio(interval)} there: differences of "
        "that size are scatter"
        for engine, interval in worst.items()
    }


def controls(run: Run) -> list[str]:
    """Say whether the cells whose answer is known gave that answer."""
    measured = run.measured()
    lines = [_aa_line(m) for m in measured if m.control == AA]
    ones = [m for m in measured if m.method == ALL_ONES and m.control is None]
    lines += _by_engine("all-ones mask", ones, _SAME_ENGINE, _over_dense_twin(measured))
    for model in models(measured):
        drawn = [m for m in measured if m.method == RANDOM and m.control is None and m.model == model]
        against = "the magnitude mask of the same sparsity"
        lines += _by_engine("random mask", drawn, against, _over_magnitude_twin(measured))
    return lines


def _aa_line(measurement: Measurement) -> str:
    where = f"A/A ({measurement.model} {wording.pruned(measurement)} on {wording.engine_name(measurement.engine)})"
    own = speedup_of(measurement)  # an A/A cell is its own reference
    if own is None:
        return f"{where}: no interval, so the clock is not checked."
    if own.low >= 1 - _AGREES and own.high <= 1 + _AGREES:
        verdict = f"the clock agrees with itself to {_AGREES:.0%}"
    elif own.low <= 1 <= own.high:
        verdict = f"too noisy to tell to {_AGREES:.0%}"
    else:
        verdict = "the clock DISAGREES with itself: no difference of this size means anything here"
    return f"{where} {wording.ratio(own)}: {verdict}."


def _job(m: Measurement) -> tuple[object, ...]:
    return m.model, m.method, m.sparsity_target, m.round_to, m.seed, m.engine, m.threads, m.batch


def _over_dense_twin(measured: Sequence[Measurement]) -> Callable[[Measurement], Interval | None]:
    return lambda m: _over(m, dense_twin(m, measured))


def _over_magnitude_twin(measured: Sequence[Measurement]) -> Callable[[Measurement], Interval | None]:
    twins = {_job(m): m for m in measured if m.method == "magnitude" and m.control is None}
    return lambda m: _over(m, twins.get((m.model, "magnitude", *_job(m)[2:])))


def _over(measurement: Measurement, other: Measurement | None) -> Interval | None:
    speedup, base = speedup_of(measurement), speedup_of(other) if other else None
    return quotient(speedup, base) if speedup and base else None


def _word(interval: Interval) -> str:
    if interval.low > 1 - NEGLIGIBLE and interval.high < 1 + NEGLIGIBLE:
        return _UNCHANGED
    if interval.low > 1:
        return "faster"
    return "slower" if interval.high < 1 else "not settled"


def _by_engine(
    what: str,
    cells: Sequence[Measurement],
    against: str,
    compare: Callable[[Measurement], Interval | None],
    scatter: Mapping[str | None, str] | None = None,
) -> list[str]:
    """Write one sentence an engine: how many cells went which way, and the cell from which most was removed.

    `scatter` is what is said besides of an engine whose control did not give the known answer.
    """
    lines = []
    for engine in dict.fromkeys(m.engine for m in cells):
        compared = [(m, interval) for m in cells if m.engine == engine and (interval := compare(m))]
        if not compared:
            continue
        words = Counter(_word(interval) for _, interval in compared)
        if len(words) == 1:
            summary = next(iter(words)) + (f" in all {len(compared)} cells" if len(compared) > 1 else "")
        else:
            summary = ", ".join(f"{word} in {n}" for word, n in words.most_common()) + f" of {len(compared)} cells"
        but = (scatter or {}).get(engine, "")
        example, interval = max(compared, key=lambda pair: removed(pair[0]) or 0.0)
        lines.append(
            f"{what} on {wording.engine_name(engine)}: {summary}; "
            f"{wording.pruned(example)} is {wording.ratio(interval)} against {against}{but}."
        )
    return lines
