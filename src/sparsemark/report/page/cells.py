"""Cells of a run as the charts of a page read them: plain numbers, in the unit that is shown."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.cells import (
    is_control,
    is_dense,
    is_masked,
    is_reference,
    is_structural,
    methods_of,
    removed,
)
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import DRIFT_LIMIT, contamination_of
from sparsemark.analysis.statistics import block_medians, log_time_ratios
from sparsemark.report import trust, wording
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scoring
    from sparsemark.report.wording import Notes

DENSE_KIND, ZEROS, CHANNELS, BOTH, CONTROL = "dense", "weights zeroed", "channels removed", "both", "control"
KINDS = (DENSE_KIND, ZEROS, CHANNELS, BOTH, CONTROL)
"""Families of pruning, by what they do to the network."""

_LEAST_LINE = 3
"""Points that a line needs: two of them show no course."""


def kind_of(m: Measurement) -> str:
    """Return the family of a cell's pruning."""
    if is_control(m):
        return CONTROL
    if is_structural(m):
        return BOTH if is_masked(m) else CHANNELS
    return ZEROS if is_masked(m) else DENSE_KIND


def cell_records(
    judged: Sequence[Standing], scoring: Scoring, places: Mapping[str, str], notes: Notes
) -> list[dict[str, Any]]:
    """Return a record for each measured cell, or folds as one, in order.

    Scores are in the unit of the axis, removed weights and the blocks' distance from their median in percent, times in
    milliseconds. Absent is None.
    """
    return [_record(one, scoring, places, notes) for one in judged]


def _record(one: Standing, scoring: Scoring, places: Mapping[str, str], notes: Notes) -> dict[str, Any]:
    m, scale = one.measurement, scoring.scale(one.measurement.model)
    speedup, share, score = speedup_of(m), removed(m), one.score
    place = places.get(m.name, "")
    blocks, moved = _blocks(m)
    ends = (score.interval if score else None) or (None, None)
    shown = [None if end is None else scale.factor * end for end in ((score.value if score else None), *ends)]
    return {
        "name": m.name,
        "model": m.model or m.name,
        "kind": kind_of(m),
        "pruned": wording.pruned(m),
        "engine": m.engine or "",
        "runner": wording.runner(m, notes),
        "precision": m.precision or FP32,
        "removed": 0.0 if is_dense(m) and share is None else None if share is None else round(100 * share, 1),
        "speedup": None if speedup is None else [speedup.estimate, speedup.low, speedup.high],
        "times": "" if speedup is None else wording.ratio(speedup),
        "score": None if score is None else shown,
        "onFront": place.startswith("F"),
        "place": place,
        "below": _below(one, place, notes),
        "keeps": one.keeps and not one.is_contradicted,
        "grade": trust.grade(m),
        "why": trust.reasons(m),
        "parity": m.parity_max_rel,
        "ms": [m.p50_ms, m.p90_ms, m.p99_ms],
        "bytes": m.artifact_bytes,
        "aa": m.control is not None,
        "reference": is_reference(m),
        "disturbed": bool(contamination_of(m)),
        "blocks": blocks,
        "moved": moved,
        "launches": list(m.pairs_of_launches),
    }


def _below(one: Standing, place: str, notes: Notes) -> str:
    """Return what dominates a cell, in words; empty on the front."""
    by = one.dominated_by
    if by is None:
        return ""
    close = "; their speedups are not told apart" if one.is_close else ""
    return (
        f"{place.partition(' (')[0]}: {wording.pruned(by)} on {wording.runner(by, notes)} is as fast and as good{close}"
    )


def _blocks(m: Measurement) -> tuple[list[float], list[int]]:
    """Return the speedup of each pair of blocks, in percent from their median, and where the reference had moved."""
    if not m.block or m.block < 1 or not m.samples_s or not m.reference_s:
        return [], []
    speedups = np.exp(-log_time_ratios(m.samples_s, m.reference_s, m.block))
    if not len(speedups):
        return [], []
    reference = block_medians(m.reference_s, m.block)[: len(speedups)]
    moved = np.abs(reference / np.median(reference) - 1) > DRIFT_LIMIT
    apart = 100 * (speedups / np.median(speedups) - 1)
    return [round(float(value), 2) for value in apart], [int(index) for index in np.flatnonzero(moved)]


def course(records: Sequence[Mapping[str, Any]], judged: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return the points of speedup against what was removed.

    A line joins what differs in one share alone: of several steps, those alike in all but the last. The dense cell
    begins each line of one step on its engine.

    A point names its cell by index, its panel and line, and says whether the line has points enough to be drawn. A
    method has a panel where it was measured at several shares.
    """
    pruned = [
        index
        for index, record in enumerate(records)
        if record["speedup"] is not None and record["removed"] is not None
        and record["kind"] not in (DENSE_KIND, CONTROL)
    ]  # fmt: skip
    panels: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in pruned:
        m = judged[index].measurement
        panels[records[index]["kind"], wording.named(m.method, m.schedule)].append(index)
    alone = {kind: sum(kind == other for other, _ in panels) == 1 for kind, _ in panels}
    points = []
    for (kind, method), indices in panels.items():
        if len({round(records[index]["removed"]) for index in indices}) > 1:
            title = kind if alone[kind] and "+" not in method else f"{kind}: {method}"
            points += _panel(title, indices, records, judged)
    return points


def _panel(
    title: str, indices: Sequence[int], records: Sequence[Mapping[str, Any]], judged: Sequence[Standing]
) -> list[dict[str, Any]]:
    lines: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    mixed = set()
    for index in indices:
        m, record = judged[index].measurement, records[index]
        mark = wording.multiple_of((m.round_to or 1) if is_structural(m) else 1)
        if mix := wording.mix(m):
            last = f" + {methods_of(m)[-1]}"
            # Names of lines are short: the last step is in the title of the panel.
            mark = f", {mix.removesuffix(last)}"
            mixed.add(mark)
        lines[record["model"], record["runner"], mark].append(index)
    points = []
    for (model, runner, mark), own in lines.items():
        dense = [
            index
            for index, record in enumerate(records)
            if (record["model"], record["kind"], record["runner"]) == (model, DENSE_KIND, runner)
            and judged[index].measurement.method in (None, DENSE)
            and record["speedup"] is not None
            and mark not in mixed
        ]
        members = [*dense, *own]
        is_line = len({round(records[index]["removed"]) for index in members}) >= _LEAST_LINE
        points += [
            {"cell": index, "panel": title, "line": f"{runner}{mark}", "x": round(records[index]["removed"]),
             "lined": is_line}
            for index in members
        ]  # fmt: skip
    return points
