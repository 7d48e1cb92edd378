"""Front of score and speed as a table, and the place of every other row below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.report.scores import Scale, Scoring
    from sparsemark.report.wording import Notes

FRONT = "front"
"""Column of the place."""

TITLE = "Front: no other row is both as fast and as good"
_LEGEND = (
    "by F1: F1 is faster with no worse a score, or scores better and is no slower; (~): the intervals of their "
    "speedups overlap; keeps it: loses no more than is allowed, neither on the select inputs, where there are any, nor "
    "on those reported; change: of the score against dense, + is higher"
)

_KEEPS = "keeps it"
"""Column that says whether a row keeps the dense score."""

_CHANGE, _ON_SELECT = "change", "change on select"
"""Columns of the change against dense, on the reported inputs and on those that choices are made on."""

SPEEDUP = "speedup [95 %]"

SPREAD = "speedup [lowest, highest end]"
"""Column of the speedup where rows are means of folds, or seeds."""

_OVER = "over"
_OF_FOLDS = (
    "; over: a row is the mean of so many, in brackets behind its speedup the lowest and the highest end of their "
    "intervals"
)


@dataclass(frozen=True)
class Front:
    """Rows that nothing dominates, fastest first: texts in the order of `columns`; the legend explains those."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    legend: str = _LEGEND


def places(standings: Sequence[Standing]) -> Mapping[str, str]:
    """Return the place of each cell by its name: `F2` on the front, `by F2` where that dominates it.

    The cells of folds have the place of their mean.

    Args:
        standings: in the order in which places are numbered, folds as one.
    """
    numbers = {one.measurement.name: f"F{n}" for n, one in enumerate(_members(standings), start=1)}
    below = {
        one.measurement.name: f"by {numbers[one.dominated_by.name]}{' (~)' if one.is_close else ''}"
        for one in standings
        if one.dominated_by is not None
    }
    found = numbers | below
    return found | {
        m.name: found[one.measurement.name] for one in standings for m in one.cells if one.measurement.name in found
    }


def front_of(standings: Sequence[Standing], scoring: Scoring, notes: Notes) -> Front:
    """Return the front; empty where no row has a score to stand on it.

    Args:
        standings: in the order of the table, folds as one.
        scoring: of the run.
        notes: on its engines.
    """
    members = _members(standings)
    if not members:
        return Front()
    scales = scoring.shown(one.measurement for one in members)
    score = f"{scales[0].title} [95 %]" if len(scales) == 1 else "score [95 %]"
    points = scales[0].points if len(scales) == 1 else ""
    change, on_select = f"{_CHANGE}{points} [95 %]", f"{_ON_SELECT}{points}"
    pooled = [one.folds is not None for one in members]
    speedup = SPREAD if all(pooled) else SPEEDUP
    shown = {
        FRONT: True,
        "model": len({one.measurement.model for one in standings}) > 1,
        "pruned": True,
        "seed": len({one.measurement.seed for one in members}) > 1,
        "fold": len({one.measurement.fold for one in members}) > 1,
        _OVER: any(pooled),
        "engine": True,
        "threads": len({one.measurement.threads for one in members}) > 1,
        "batch": len({one.measurement.batch for one in members}) > 1,
        speedup: True,
        score: True,
        change: any(one.score and one.score.loss_low is not None for one in members),
        on_select: any(one.by_select for one in members),
        _KEEPS: any(one.dense is not None for one in members),
    }
    columns = tuple(column for column, is_shown in shown.items() if is_shown)
    place = places(standings)
    rows = []
    for one in members:
        m, lost = one.measurement, one.loss_on_select
        texts = {
            FRONT: place[m.name],
            "model": m.model or m.name,
            "pruned": wording.pruned(m),
            "seed": wording.number(m.seed),
            "fold": wording.number(m.fold),
            _OVER: wording.several(one.folds) or wording.ABSENT,
            "engine": wording.runner(m, notes),
            "threads": wording.number(m.threads),
            "batch": wording.number(m.batch),
            speedup: wording.ratio(one.speedup) if one.speedup else wording.ABSENT,
            score: _score(one, scoring.scale(m.model), named=len(scales) > 1),
            change: _change(one, scoring.scale(m.model), named=len(scales) > 1),
            on_select: wording.ABSENT if lost is None else scoring.scale(m.model).lost(lost),
            _KEEPS: "yes" if one.keeps and not one.is_contradicted else "no",
        }
        rows.append(tuple(texts[column] for column in columns))
    return Front(columns, tuple(rows), _LEGEND + (_OF_FOLDS if any(pooled) else ""))


def _members(standings: Sequence[Standing]) -> list[Standing]:
    return [one for one in standings if one.on_front]


def _score(one: Standing, scale: Scale, *, named: bool) -> str:
    """Return `92.4 [87.5, 96.9]`, with the metric and its unit where there are several."""
    if one.score is None:
        return wording.ABSENT
    text = scale.value(one.score.value)
    if named:
        text = f"{scale.metric} {text}{' %' if scale.percent else ''}"
    if ends := one.score.interval:
        text += f" [{', '.join(map(scale.value, ends))}]"
    return f"{text} {wording.caveat(one.measurement.data)}".rstrip()


def _change(one: Standing, scale: Scale, *, named: bool) -> str:
    if one.score is None or one.loss is None or one.score.loss_low is None or one.score.loss_high is None:
        return wording.ABSENT
    text = scale.lost(one.loss, one.score.loss_low, one.score.loss_high, one.allowed)
    return f"{text} points" if named and scale.percent else text
