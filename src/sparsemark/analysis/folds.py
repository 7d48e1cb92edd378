"""Folds of one pruning, or seeds of it, as one row: means over all of them, and how far they lie apart.

A study of several folds has a network a fold, each timed over its own dense one and scored on other inputs. What is
said of the pruning is said of all of them: the fastest fold and the luckiest one are two different networks.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.cells import dense_scores, is_dense
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.groups import interval_of, loss_interval, pooled
from sparsemark.analysis.statistics import Interval
from sparsemark.records.measurement import BETWEEN_NOTES, MEASURED
from sparsemark.records.scores import DataNote, SingleInputs
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Groups, Score

_TIMES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "reference_p50_ms")
_SHARES = ("sparsity", "mac_density", "agreement_with_dense", "engine_agreement")
_COUNTS = ("parameters", "nonzeros", "artifact_bytes", "compressed_bytes")
_EARLIER = ("raw", "recalibrated", "float32", "select")
_WORST = ("reference_drift", "steal", "waited", "parity_max_abs", "parity_max_rel", "peak_rss_bytes")


@dataclass(frozen=True)
class Folds:
    """Folds, or seeds, of one pruning on one engine and precision.

    Args:
        measurement: all of them as one row. Its speedup is their geometric mean, whose ends are the lowest and the
            highest of them; percentiles are geometric means, scores and sizes means. Of drift, steal and parity the
            worst stands there; raw seconds do not.
        members: those with a speedup and its interval, else all that were measured, by seed and fold; at least two.
        asked: rows of any status.
        disturbed: members whose latency cannot be trusted.
    """

    measurement: Measurement
    members: tuple[Measurement, ...]
    asked: int
    disturbed: int

    @property
    def unit(self) -> str:
        """Return the word for them: `folds`, `seeds`, or `networks` where both differ."""
        folds, seeds = (len({getattr(m, name) for m in self.members}) > 1 for name in ("fold", "seed"))
        return "networks" if folds and seeds else "folds" if folds else "seeds"

    def over(self, other: Folds) -> Interval | None:
        """Return how many times as fast they are as others of the same run, each beside the same fold and seed."""
        twins = {(m.seed, m.fold): m for m in other.members}
        ratios = [
            ratio.estimate
            for m in self.members
            if (twin := twins.get((m.seed, m.fold))) is not None and (ratio := speedup_over(m, twin)) is not None
        ]
        return spread(ratios) if ratios else None


def spread(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of ratios, with the lowest and the highest as its ends: no interval of confidence."""
    low, high = min(ratios), max(ratios)
    # Rounding must not put the mean of equal ratios beside them.
    return Interval(min(max(geometric_mean(ratios), low), high), low, high)


def same_but_fold(m: Measurement) -> tuple[object, ...] | None:
    """Return all that folds, or seeds, of one pruning have in common; None for rows that do not say how they were made.

    Folds are apart from seeds that each draw a split, and numbers with a caveat from those without.
    """
    if m.pruning is None:
        return None
    how = m.model, m.pruning, m.schedule, m.control, m.format, m.engine, m.precision, m.threads or 1, m.batch or 1
    return *how, m.fold is not None, m.data.caveat if m.data else None


def folds_of(rows: Sequence[Measurement]) -> list[Folds]:
    """Return the folds, or seeds, of every pruning that was measured on several, in the order of the rows."""
    alike: dict[tuple[object, ...], list[Measurement]] = defaultdict(list)
    for m in rows:
        if (key := same_but_fold(m)) is not None:
            alike[key].append(m)
    dense = [m for m in rows if m.method == DENSE and m.scores]
    return [found for of in alike.values() if (found := _folds(of, dense)) is not None]


def rows_as_one(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return rows with the folds, or seeds, of a pruning as one, in the place of the first."""
    of = {id(m): folds for folds in folds_of(rows) for m in folds.members}
    one_each = {id(of.get(id(m), m)): of[id(m)].measurement if id(m) in of else m for m in rows}
    return list(one_each.values())


def _folds(rows: Sequence[Measurement], dense: Sequence[Measurement]) -> Folds | None:
    measured = [m for m in rows if m.status == MEASURED]
    timed = [m for m in measured if speedup_of(m) is not None] or measured
    members = sorted(timed, key=lambda m: (m.seed or 0, m.fold or 0))
    if len({(m.seed, m.fold) for m in members}) < 2:
        return None
    disturbed = sum(bool(contamination_of(m)) for m in members)
    return Folds(_as_one(members, dense), tuple(members), len({(m.seed, m.fold) for m in rows}), disturbed)


def _as_one(members: Sequence[Measurement], dense: Sequence[Measurement]) -> Measurement:
    first = members[0]
    # The dense network loses nothing against itself, and no interval says how sure that is.
    held = [{} if is_dense(m) else dense_scores(m, dense) for m in members]
    seeds = [m.seed for m in members]
    common = [name for name in first.scores if all(name in m.scores for m in members)]
    worst = {name: [v for m in members if (v := getattr(m, name)) is not None] for name in _WORST}
    fields: dict[str, Any] = {name: max(values, default=None) for name, values in worst.items()}
    fields |= {name: _geometric(members, name) for name in _TIMES}
    fields |= {name: _mean(members, name) for name in _SHARES}
    fields |= {name: None if (mean := _mean(members, name)) is None else round(mean) for name in _COUNTS}
    timed = [m.speedup for m in members if m.speedup is not None and speedup_of(m) is not None]
    ends = ("speedup", "speedup_low", "speedup_high")
    fields |= dict(zip(ends, astuple(spread(timed)), strict=True)) if timed else dict.fromkeys(ends)
    return replace(
        first,
        **fields,
        name=_name(members),
        notes=BETWEEN_NOTES.join(dict.fromkeys(note for m in members for note in _notes(m))) or None,
        seed=_common(m.seed for m in members),
        fold=_common(m.fold for m in members),
        scores={
            name: mean_score([m.scores[name] for m in members], [one.get(name) for one in held], seeds)
            for name in common
        },
        data=_data(members),
        samples=sum(m.samples or 0 for m in members) or None,
        launches=min((m.launches for m in members if m.launches is not None), default=None),
        samples_s=(),
        reference_s=(),
        launch_pairs=(),
        aside_samples_s=(),
        aside_reference_s=(),
    )


def mean_score(scores: Sequence[Score], dense: Sequence[Score | None], seeds: Sequence[int | None]) -> Score:
    """Return the mean of one metric over networks, with its intervals.

    They come from the groups of all networks together, those of the loss in pairs with the dense ones, where every
    network has groups. Else they are made of the networks' own.

    Args:
        scores: of the networks.
        dense: of the dense network of each, None where there is none.
        seeds: of each, None where unknown.
    """
    groups, dense_groups = _groups(scores), _groups(dense)
    if groups is None:
        ends = [(score.value, *(score.interval or (None, None))) for score in scores]
        low, high = _ends(ends, seeds)
    else:
        low, high = interval_of(groups) or (None, None)
    losses = [None if one is None else score.loss_against(one) for score, one in zip(scores, dense, strict=True)]
    if groups is None or dense_groups is None:
        lost_ends = [(loss, score.loss_low, score.loss_high) for loss, score in zip(losses, scores, strict=True)]
        lost = _ends(lost_ends, seeds)
    else:
        lost = loss_interval(dense_groups, groups, higher_is_better=scores[0].higher_is_better) or (None, None)
    earlier: dict[str, Any] = {name: _mean(scores, name) for name in _EARLIER}
    return replace(
        scores[0],
        value=fmean(score.value for score in scores),
        low=low,
        high=high,
        **earlier,
        loss_low=lost[0],
        loss_high=lost[1],
        input_count=None,
        group_count=len(groups) if groups else None,
        groups=groups,
    )


def _groups(scores: Sequence[Score | None]) -> Groups | None:
    """Return the groups of all networks as one set; None where one has none, or single inputs, whose names are counts.

    The first input of one fold is not that of another.
    """
    found = [score.groups for score in scores if score is not None and score.groups]
    if len(found) < len(scores) or any(isinstance(groups, SingleInputs) for groups in found):
        return None
    return pooled(found)


def _ends(
    intervals: Sequence[tuple[float | None, float | None, float | None]], seeds: Sequence[int | None]
) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of a mean from the estimates and ends of its members.

    Folds of one seed test different inputs, so their half widths add in quadrature. Seeds may test the same ones, so
    theirs are averaged, as if they moved together.
    """
    below: dict[int | None, list[float]] = defaultdict(list)
    above: dict[int | None, list[float]] = defaultdict(list)
    values = []
    for seed, (value, low, high) in zip(seeds, intervals, strict=True):
        if value is None or low is None or high is None:
            return None, None
        values.append(value)
        below[seed].append(max(0.0, value - low))
        above[seed].append(max(0.0, high - value))
    down, up = (sum(math.hypot(*own) for own in of.values()) / len(values) for of in (below, above))
    return fmean(values) - down, fmean(values) + up


def _name(members: Sequence[Measurement]) -> str:
    """Return the name of a member without the seed and the fold that it alone has."""
    first, name = members[0], members[0].name
    for field in ("fold", "seed"):
        if len({getattr(m, field) for m in members}) > 1:
            name = re.sub(rf"-{field}{getattr(first, field)}(?=-|$)", "", name)
    return name if name not in {m.name for m in members} else f"{name} and {len(members) - 1} more"


def _data(members: Sequence[Measurement]) -> DataNote | None:
    notes = [m.data for m in members if m.data is not None]
    return DataNote("; ".join(dict.fromkeys(note.words for note in notes)), notes[0].caveat) if notes else None


def _notes(m: Measurement) -> Sequence[str]:
    return (m.notes or "").split(BETWEEN_NOTES) if m.notes else ()


def _common(values: Iterable[int | None]) -> int | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _known(rows: Sequence[object], name: str) -> list[float] | None:
    """Return a field of every row; None where one has none."""
    values = [getattr(row, name) for row in rows]
    return None if None in values else values


def _mean(rows: Sequence[object], name: str) -> float | None:
    values = _known(rows, name)
    return None if values is None else fmean(values)


def _geometric(rows: Sequence[object], name: str) -> float | None:
    values = _known(rows, name)
    return None if values is None else geometric_mean(values)
