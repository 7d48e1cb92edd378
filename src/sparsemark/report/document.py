"""Content of a report before any format, all as text: the answer, the front, rows, and the lists below them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_against_itself, is_control, is_dense, is_reference, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.records.measurement import BETWEEN_NOTES, MEASURED, Measurement
from sparsemark.report import agreement, trust, wording
from sparsemark.report.advice import advice
from sparsemark.report.break_even import TITLE, break_evens
from sparsemark.report.conditions import conditions
from sparsemark.report.emphasis import keeps_score
from sparsemark.report.finding import beside, sentences
from sparsemark.report.findings import BESIDE, CONTROLS, controls, findings_of
from sparsemark.report.findings import TITLE as FINDINGS
from sparsemark.report.front import FRONT, SPEEDUP, SPREAD, Front, front_of, places
from sparsemark.report.harmless import harmless_run
from sparsemark.report.headline import headlines
from sparsemark.report.scores import Scoring
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.finding import Finding
    from sparsemark.report.wording import Notes

FASTER, SLOWER, NEUTRAL = "faster", "slower", ""

_SIZE = "size"
_THROUGHPUT = "images/s"
NUMBERS = (
    "removed", "p50 ms", "p90 ms", _THROUGHPUT, SPEEDUP, SPREAD, agreement.TITLE, agreement.TITLE_ON_RANDOM, _SIZE,
    "batch", "threads", "seed", "fold",
)  # fmt: skip
"""Columns that are set to the right."""

NETWORKS = "Of the networks"
"""Title of the notes on networks."""

_LISTED = 3  # cells named in a line on failures; the others are counted

_SEEN = 0.03
"""Difference of two numbers of a row that a reader would stumble over, as a fraction."""


@dataclass(frozen=True)
class Row:
    """One measured cell: texts in the order of `Content.columns`.

    Args:
        texts: what the columns show; ` (!)` stands behind the speedup of a disturbed cell, `*` behind a p50 that gives
            another ratio to the reference than the speedup.
        tone: `faster` or `slower` than the reference where the row keeps its score and the whole interval says so, else
            empty.
        is_reference: the cell that all others are held against.
        name: of the cell.
        trust: grade of its speedup.
    """

    texts: tuple[str, ...]
    tone: str
    is_reference: bool
    name: str
    trust: str


@dataclass(frozen=True)
class Content:
    """Answer, front, table and lists of a report."""

    headlines: tuple[str, ...]
    advice: tuple[str, ...]
    front: Front
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    controls: tuple[str, ...]
    findings: tuple[Finding, ...]
    break_evens: tuple[str, ...]
    conditions: tuple[str, ...]


def content_of(run: Run, bar: Bar | None = None, deployment: Deployment | None = None) -> Content:
    """Return a run in words; the fastest cell of a network comes first, so what is above the reference is faster.

    Args:
        run: what was measured.
        bar: what a network may lose and still keep its score; None takes each metric's own tolerance.
        deployment: where its files are; None where a result file is all that is known.
    """
    run = harmless_run(run)
    judged = standings(run.measurements, bar or Bar())
    cells, as_one = _shown(judged), _shown(with_folds_as_one(judged))
    apart = _apart([one.measurement for one in cells])
    scoring = Scoring.of(run.measurements)
    columns, rows = _table(cells, places(as_one), scoring, run.engines, apart)
    return Content(
        tuple(headlines(run, bar)),
        tuple(advice(run, bar, deployment)),
        front_of(as_one, scoring, run.engines),
        tuple(columns),
        tuple(rows),
        tuple(_remarks([one.measurement for one in cells], apart)),
        tuple(_failures(run)),
        tuple(_notes(run)),
        tuple(controls(run)),
        tuple(findings_of(run)),
        tuple(break_evens(run)),
        tuple(conditions(run, run.measurements, deployment)),
    )


def sections(content: Content) -> Iterator[tuple[str, Sequence[str]]]:
    """Return the lists that stand below the table, with their titles; empty ones are left out."""
    titled: dict[str, Sequence[str]] = {
        "Did not run": content.failures,
        NETWORKS: content.notes,
        FINDINGS: sentences(content.findings),
        BESIDE: beside(content.findings),
        TITLE: content.break_evens,
        CONTROLS: content.controls,
        "Conditions": content.conditions,
    }
    return ((title, lines) for title, lines in titled.items() if lines)


def _shown(judged: Sequence[Standing]) -> list[Standing]:
    """Return the rows of a table in their order."""
    cells = [one for one in judged if one.measurement.status == MEASURED and one.measurement.control is None]
    order = {model: index for index, model in enumerate(dict.fromkeys(one.measurement.model for one in cells))}
    return sorted(cells, key=lambda one: _rank(one.measurement, order))


def _rank(m: Measurement, order: Mapping[str | None, int]) -> tuple[bool, int, int, int, float, float]:
    """Return the place of a row: controls below all others, then by network, batch, threads and speedup.

    A speedup is over the dense network with the same batch and threads.
    """
    batch, threads = m.batch or 1, m.threads or 1
    return is_control(m), order[m.model], batch, threads, -(m.speedup or -math.inf), m.p50_ms or math.inf


def _table(
    judged: Sequence[Standing],
    place: Mapping[str, str],
    scoring: Scoring,
    notes: Notes,
    apart: Mapping[str, float],
) -> tuple[list[str], list[Row]]:
    """Return titles and rows; columns that would say the same in every row are left out.

    Args:
        judged: measured rows in their order.
        place: of each cell on the front or below it.
        scoring: of the run.
        notes: on its engines.
        apart: cells whose p50 gets a mark, as from `_apart`.
    """
    cells = [one.measurement for one in judged]
    leading = scoring.shown(cells)
    score = leading[0].title if len(leading) == 1 else "score"
    shown = {
        "model": True,
        "pruned": True,
        "removed": True,
        "seed": len({m.seed for m in cells}) > 1,
        "fold": len({m.fold for m in cells}) > 1,
        "engine": True,
        "precision": {m.precision or FP32 for m in cells} - {FP32},
        "batch": len({m.batch for m in cells}) > 1,
        "threads": len({m.threads for m in cells}) > 1,
        "p50 ms": True,
        "p90 ms": any(m.p90_ms is not None for m in cells),
        _THROUGHPUT: len({(m.batch, m.threads) for m in cells}) > 1,
        SPEEDUP: True,
    }
    columns = [column for column, is_shown in shown.items() if is_shown]
    agrees = not scoring.scales and any(m.agreement_with_dense is not None for m in cells)
    if agrees:
        score = agreement.title(cells)
    elif score in (*shown, FRONT, _SIZE, trust.COLUMN):
        score = f"score: {score}"  # a task may call its metric what it likes
    if not agrees and any(one.dense is not None and not is_dense(one.measurement) for one in judged):
        score += f" (change{leading[0].points if len(leading) == 1 else ''})"
    columns += [score, *([FRONT] if place else []), _SIZE]
    rows = []
    for one in judged:
        m = one.measurement
        texts = _texts(m, notes)
        texts["p50 ms"] += "*" if m.name in apart else ""
        texts[FRONT] = place.get(m.name, wording.ABSENT)
        texts[score] = agreement.text(m, cells) if agrees else _score(one, scoring, named=len(leading) > 1)
        rows.append(
            Row(
                tuple(texts[column] for column in columns),
                _tone(one),
                is_reference(m),
                m.name,
                trust.grade(m),
            )
        )
    return columns, rows


def _texts(m: Measurement, notes: Notes) -> dict[str, str]:
    interval = speedup_of(m)
    speedup = (
        wording.ratio(interval) if interval else wording.ABSENT if m.speedup is None else wording.bare_ratio(m.speedup)
    )
    disturbed = " (!)" if contamination_of(m) else ""
    return {
        "model": m.model or m.name,
        "pruned": wording.pruned(m) + (" (reference)" if is_reference(m) else ""),
        "removed": wording.percent(removed(m)),
        "seed": wording.number(m.seed),
        "fold": wording.number(m.fold),
        "engine": wording.engine_name(m.engine, notes),
        "precision": m.precision or wording.ABSENT,
        "batch": wording.number(m.batch),
        "threads": wording.number(m.threads),
        _THROUGHPUT: wording.rate(m.images_per_second),
        "p50 ms": wording.milliseconds(m.p50_ms),
        "p90 ms": wording.milliseconds(m.p90_ms),
        SPEEDUP: f"{speedup}{disturbed}",
        _SIZE: wording.size(m.artifact_bytes),
    }


def _score(one: Standing, scoring: Scoring, *, named: bool) -> str:
    """Return `90.8 (-0.4)`, the change against dense; a caveat on the data stands in the same cell."""
    m, score = one.measurement, one.score
    scale = scoring.scale(m.model)
    if score is None:
        return wording.ABSENT
    text = scale.value(score.value)
    if named:
        text = f"{scale.metric} {text}{' %' if scale.percent else ''}"
    points = " points" if named and scale.percent else ""  # else they stand in the title
    change = "" if one.dense is None or is_dense(m) else f" ({scale.change(score, one.dense, one.allowed)}{points})"
    return f"{text}{change} {wording.caveat(m.data)}".rstrip()


def _remarks(cells: Sequence[Measurement], apart: Mapping[str, float]) -> Iterator[str]:
    """Yield what must be known of the numbers of the table; it stands beside it."""
    noise = [ratio for m in cells if is_reference(m) and is_against_itself(m) and (ratio := speedup_of(m))]
    if noise:
        yield f"the reference is timed against itself as well: {_span(noise)} in its row is noise"
    if apart:
        yield (
            "*: speedup is of paired blocks; p50s were taken at different moments, and their ratio differs from it by "
            f"up to {wording.percent(max(apart.values()))}"
        )


def _apart(cells: Sequence[Measurement]) -> dict[str, float]:
    """Return the cells whose p50, over that of the reference, is another ratio than the speedup, and by how much."""
    references = {_job(m): m for m in reversed(cells) if is_reference(m)}
    found = {m.name: _p50s_apart(m, references.get(_job(m))) for m in cells}
    return {name: off for name, off in found.items() if off is not None}


def _span(ratios: Sequence[Interval]) -> str:
    """Return a ratio with its interval, of several the lowest and the highest."""
    if len(ratios) == 1:
        return wording.ratio(ratios[0])
    first, *_, last = sorted(ratios, key=lambda one: one.estimate)
    return f"{wording.times(first)} to {wording.times(last)}"


def _p50s_apart(m: Measurement, reference: Measurement | None) -> float | None:
    """Return by how much the ratio of the medians differs from the speedup; None where that is within its interval."""
    speedup = speedup_of(m)
    if speedup is None or reference is None or not m.p50_ms or not reference.p50_ms or is_reference(m):
        return None
    ratio = reference.p50_ms / m.p50_ms
    off = abs(ratio / speedup.estimate - 1)
    return None if speedup.low <= ratio <= speedup.high or off <= _SEEN else off


def _job(m: Measurement) -> tuple[object, ...]:
    return m.model, m.seed, m.fold, m.threads, m.batch


def _tone(one: Standing) -> str:
    """Return whether a cell is faster or slower; what loses its score, or has none to keep, is not praised for speed.

    That holds for dense networks as well: without a score, colour would say of the others that fast is good.
    """
    interval = one.speedup
    if interval is None or is_reference(one.measurement) or not keeps_score(one):
        return NEUTRAL
    return FASTER if interval.low > 1 else SLOWER if interval.high < 1 else NEUTRAL


def _failures(run: Run) -> list[str]:
    """Write one line for each reason, with the engines and the cells that it struck."""
    struck: dict[tuple[str, str, str], list[str]] = {}
    for m in run.measurements:
        if m.status != MEASURED:
            reason = m.reason or "no reason given"
            cell = f"{m.model or m.name} {wording.pruned(m)}"
            struck.setdefault((wording.runner(m, run.engines), m.status, reason), []).append(cell)
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (runner, status, reason), cells in struck.items():
        together.setdefault((status, reason, tuple(cells)), []).append(runner)
    lines = []
    for (status, reason, of), runners in together.items():
        named = ", ".join(of[:_LISTED]) + (f" and {len(of) - _LISTED} more" if len(of) > _LISTED else "")
        lines.append(f"{', '.join(runners)}: {status.replace('_', ' ')}: {reason} ({named})")
    return lines


def _notes(run: Run) -> list[str]:
    """Write one line for each note, with the networks that it is of, and the engine where it is of one alone."""
    marked: dict[str, dict[tuple[str, str], list[str]]] = {}
    engines: dict[tuple[str, str], set[str]] = {}
    quantised: dict[str, list[Measurement]] = {}
    for m in run.measurements:
        network = m.model or m.name, wording.pruned(m)
        if m.status == MEASURED and m.precision not in (None, FP32):
            quantised.setdefault(str(m.precision), []).append(m)
        engines.setdefault(network, set()).add(wording.runner(m, run.engines))
        for note in filter(None, (m.notes or "").split(BETWEEN_NOTES)):
            marked.setdefault(note, {}).setdefault(network, []).append(wording.runner(m, run.engines))
    lines = []
    for note, networks in marked.items():
        if precision := _of_every(note, run, quantised):
            lines.append(f"{note} (all {precision} cells)")
            continue
        named = []
        for network, runners in networks.items():
            everywhere = set(runners) == engines[network]
            named.append(" ".join(network) + ("" if everywhere else f" on {', '.join(dict.fromkeys(runners))}"))
        more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
        lines.append(f"{note} ({', '.join(named[:_LISTED])}{more})")
    return lines


def _of_every(note: str, run: Run, quantised: Mapping[str, Sequence[Measurement]]) -> str:
    """Return the precision of whose measured cells, several, all have a note, and no other cell; else nothing."""
    noted = [m for m in run.measurements if note in (m.notes or "").split(BETWEEN_NOTES)]
    for precision, cells in quantised.items():
        names = {m.name for m in noted}
        if len(cells) > 1 and {m.precision for m in noted} == {precision} and names >= {m.name for m in cells}:
            return precision
    return ""
