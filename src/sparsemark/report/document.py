"""What a report says, before any format: headlines, rows, failures, controls, findings, conditions, all as text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import dense_accuracy, is_reference, reference_engine, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.records.measurement import MEASURED, Measurement
from sparsemark.records.run import Run
from sparsemark.report import wording
from sparsemark.report.break_even import break_evens
from sparsemark.report.findings import controls, findings, headlines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

FASTER, SLOWER, NEUTRAL = "faster", "slower", ""

SPEEDUP = "speedup [95 %]"
NUMBERS = ("removed", "p50 ms", "p90 ms", SPEEDUP, "size", "threads", "seed")
"""Columns that are set to the right."""

_LISTED = 3  # cells named in a line on failures; the others are counted
_NAMED = 3
"""Contaminated cells that are named; the others are counted."""

_SHORT_COMMIT = 10


@dataclass(frozen=True)
class Row:
    """One measured cell: texts in the order of `Content.columns`.

    Args:
        texts: what the columns show.
        tone: `faster` or `slower` than the reference where the whole interval says so, else empty.
        is_reference: the cell that all others are held against.
    """

    texts: tuple[str, ...]
    tone: str
    is_reference: bool


@dataclass(frozen=True)
class Content:
    """Everything a report shows."""

    headlines: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    failures: tuple[str, ...]
    controls: tuple[str, ...]
    findings: tuple[str, ...]
    break_evens: tuple[str, ...]
    conditions: tuple[str, ...]


def content_of(run: Run) -> Content:
    """Put a run into words; the fastest cell of a network comes first, so what is above the reference is faster."""
    cells = [m for m in run.measured() if m.control is None]
    order = {model: index for index, model in enumerate(dict.fromkeys(m.model for m in cells))}
    cells.sort(key=lambda m: (order[m.model], -(m.speedup or -math.inf), m.p50_ms or math.inf))
    several_seeds = len({m.seed for m in cells}) > 1
    several_threads = len({m.threads for m in cells}) > 1
    shows_p90 = any(m.p90_ms is not None for m in cells)
    columns = ["model", "pruned", "removed", "engine", "p50 ms", SPEEDUP, "accuracy %", "size"]
    if several_seeds:
        columns.insert(3, "seed")
    if several_threads:
        columns.insert(columns.index("p50 ms"), "threads")
    if shows_p90:
        columns.insert(columns.index("p50 ms") + 1, "p90 ms")
    rows = []
    for m in cells:
        texts = _texts(m, run.measurements)
        rows.append(Row(tuple(texts[column] for column in columns), _tone(m), is_reference(m)))
    return Content(
        tuple(headlines(run)),
        tuple(columns),
        tuple(rows),
        tuple(_failures(run.measurements)),
        tuple(controls(run)),
        tuple(findings(run)),
        tuple(break_evens(run)),
        tuple(conditions(run, run.measurements)),
    )


def sections(content: Content) -> Iterator[tuple[str, Sequence[str]]]:
    """Give the lists that stand below the table, with their titles; empty ones are left out."""
    titled = {
        "Did not run": content.failures,
        "Controls": content.controls,
        "What it says": content.findings,
        "Break-even": content.break_evens,
        "Conditions": content.conditions,
    }
    return ((title, lines) for title, lines in titled.items() if lines)


def _texts(m: Measurement, among: Iterable[Measurement]) -> dict[str, str]:
    interval = speedup_of(m)
    speedup = wording.ratio(interval) if interval else f"{m.speedup:.2f}x" if m.speedup else wording.ABSENT
    return {
        "model": m.model or m.name,
        "pruned": wording.pruned(m) + (" (reference)" if is_reference(m) else ""),
        "removed": wording.percent(removed(m)),
        "seed": wording.ABSENT if m.seed is None else str(m.seed),
        "engine": wording.engine_name(m.engine),
        "threads": wording.ABSENT if m.threads is None else str(m.threads),
        "p50 ms": wording.milliseconds(m.p50_ms),
        "p90 ms": wording.milliseconds(m.p90_ms),
        SPEEDUP: speedup + (" (!)" if m.contaminated else ""),
        "accuracy %": wording.accuracy(m, dense_accuracy(m, among)),
        "size": wording.size(m.artifact_bytes),
    }


def _tone(m: Measurement) -> str:
    interval = speedup_of(m)
    if interval is None or is_reference(m):
        return NEUTRAL
    return FASTER if interval.low > 1 else SLOWER if interval.high < 1 else NEUTRAL


def _failures(measurements: Iterable[Measurement]) -> list[str]:
    """Write one line for each engine and reason, with the cells it struck."""
    struck: dict[tuple[str | None, str, str], list[str]] = {}
    for m in measurements:
        if m.status != MEASURED:
            reason = " ".join((m.reason or "no reason given").split())
            struck.setdefault((m.engine, m.status, reason), []).append(f"{m.model or m.name} {wording.pruned(m)}")
    lines = []
    for (engine, status, reason), cells in struck.items():
        named = ", ".join(cells[:_LISTED]) + (f" and {len(cells) - _LISTED} more" if len(cells) > _LISTED else "")
        lines.append(f"{wording.engine_name(engine)}: {status.replace('_', ' ')}: {reason} ({named})")
    return lines


def conditions(run: Run, measurements: Sequence[Measurement]) -> list[str]:
    """Say under what conditions the numbers of `measurements`, all or some of a run's, were taken."""
    cells = [m for m in measurements if m.status == MEASURED and m.p50_ms is not None]
    lines = [*environment(run.machine_info), _protocol(cells)]
    lines += [f"accuracy on {source}" for source in _distinct(m.accuracy_source for m in measurements)]
    lines += [f"agreement on {source}" for source in _distinct(m.agreement_source for m in measurements)]
    disturbed = [m for m in cells if m.contaminated]
    lines += [f"(!) contaminated: {m.name}: {m.contaminated}" for m in disturbed[:_NAMED]]
    if len(disturbed) > _NAMED:
        lines.append(f"(!) {len(disturbed)} of {len(cells)} cells are contaminated; --format csv says why for each")
    lines.append(_origin(run))
    return [line for line in lines if line]


def environment(info: Mapping[str, Any]) -> list[str]:
    """Say on what machine, and with which versions."""
    return [_machine(info), _versions(info)]


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _machine(info: Mapping[str, Any]) -> str:
    # What sparsemark writes, else what pytest-benchmark itself writes.
    cpu = info.get("cpu") if isinstance(info.get("cpu"), dict) else {}
    model = info.get("cpu_model") or (cpu or {}).get("brand_raw")
    count = info.get("cpu_count") or (cpu or {}).get("count")
    kernel = info.get("kernel") or info.get("release")
    parts = [model, f"{count} processors" if count else None, f"kernel {kernel}" if kernel else None]
    return ", ".join(str(part) for part in parts if part)


def _versions(info: Mapping[str, Any]) -> str:
    versions = info.get("versions")
    python = info.get("python") or info.get("python_version")
    parts = [f"Python {python}"] if python else []
    if isinstance(versions, dict):
        parts += [f"{name} {version}" for name, version in versions.items() if version]
    return ", ".join(parts)


def _protocol(cells: Iterable[Measurement]) -> str:
    cells = list(cells)
    if not cells:
        return ""
    parts = []
    for name, field in (("threads", "threads"), ("batch", "batch"), ("calls a cell", "samples"), ("a block", "block")):
        values = sorted({value for m in cells if (value := getattr(m, field)) is not None})
        if values:
            span = str(values[0]) if len(values) == 1 else f"{values[0]}-{values[-1]}"
            parts.append(f"{name} {span}")
    engines = _distinct(
        wording.engine_name(reference_engine(m)) for m in cells if m.speedup_reference and not m.control
    )
    parts += [f"speedup over the same network, dense, in {engine}" for engine in engines]
    return ", ".join(parts)


def _origin(run: Run) -> str:
    statuses = Counter(m.status for m in run.measurements)
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in statuses.items())
    return ", ".join(part for part in (run.when, _commits(run), counts) if part)


def _commits(run: Run) -> str:
    """Commits at which cells were timed, those of a resumed study one by one; else that which wrote the result."""
    timed = Counter(m.measured_commit[:_SHORT_COMMIT] for m in run.measurements if m.measured_commit)
    if timed:
        return "timed at " + ", ".join(f"commit {commit} ({n})" for commit, n in timed.most_common())
    commit = str(run.commit_info.get("id") or "")[:_SHORT_COMMIT]
    dirty = " with local changes" if commit and run.commit_info.get("dirty") else ""
    return f"commit {commit}{dirty}" if commit else ""
