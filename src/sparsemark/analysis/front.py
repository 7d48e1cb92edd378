"""Choice of a configuration: which cells keep the score, which are on the front of score and speed, which is best.

A cell is judged by the loss of the headline metric against the dense network of the same seed and fold: on the inputs
that choices are made on, where both networks were scored on them, else on those that are reported. A pruning with
several seeds or folds is judged, and can be chosen, as one: the luckiest of them would win otherwise. Speed is the
ratio to the reference, and what is called fastest has the highest lower end of its interval, of folds the highest
lowest one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import dense_scores, headline_metrics, is_control, is_dense, models
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.folds import alike, folds_of, mean_score
from sparsemark.errors import UserError
from sparsemark.records.measurement import BETWEEN_NOTES, CONSTANT, MEASURED, NEVER_DEPENDED
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.analysis.folds import Folds
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Score

KEEP = 0.99
"""Share of the dense score that is kept where neither the user nor the metric says what may be lost."""

_ROUNDING = 1e-12  # a loss of exactly what is allowed is allowed, whatever the last bit of the subtraction says


@dataclass(frozen=True)
class Bar:
    """Loss up to which a network counts as good as the dense one. Without either: the metric's own tolerance.

    Args:
        keep: share of the dense score to keep, in (0, 1]. Where lower is better, the score may grow to 1 / keep of the
            dense one; shares of a score below 0 are taken of its magnitude.
        within: largest loss, in the metric's unit.

    Raises:
        UserError: both are given, or one is out of range.
    """

    keep: float | None = None
    within: float | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and self.within is not None:
            raise UserError("keep and within: expected one of them")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(f"keep {self.keep:g}: expected a share of the dense score, above 0 and up to 1")
        if self.within is not None and not 0 <= self.within < math.inf:
            raise UserError(f"within {self.within:g}: expected a loss from 0, in the metric's unit")

    def share(self, dense: Score) -> float | None:
        """Return the share of the dense score to keep; None where the bar is a loss in the metric's unit."""
        if self.keep is None and self.within is None and dense.tolerance is None:
            return KEEP
        return self.keep

    def allowed(self, dense: Score) -> float:
        """Return the largest loss against a dense network's score, in the metric's unit."""
        share = self.share(dense)
        if share is not None:
            return abs(dense.value) * (1 - share if dense.higher_is_better else 1 / share - 1)
        return self.within if self.within is not None else dense.tolerance or 0.0


@dataclass(frozen=True)
class Standing:
    """Place of a cell among the others of its network, by score and speed.

    Args:
        measurement: the cell, or all folds as one row.
        score: its headline score, or None.
        dense: that of the dense network of the same seed and fold, on the same data, or None.
        allowed: largest loss that the bar allows, on the reported inputs.
        keeps: whether it is as good as dense, by the estimate; the dense network always is.
        by_select: it was judged on inputs set apart for choices.
        on_front: no other cell is both as fast and as good, and better in one of the two.
        dominated_by: the fastest cell on the front that is; None on the front and for cells that have no place.
        is_close: the interval of its speedup reaches that of the cell that dominates it.
        folds: what `measurement` and scores are the means of; None for a cell.
    """

    measurement: Measurement
    score: Score | None = None
    dense: Score | None = None
    allowed: float | None = None
    keeps: bool = False
    by_select: bool = False
    on_front: bool = False
    dominated_by: Measurement | None = None
    is_close: bool = False
    folds: Folds | None = None

    @property
    def cells(self) -> tuple[Measurement, ...]:
        """The cell, or those of all folds."""
        return (self.measurement,) if self.folds is None else self.folds.members

    @property
    def deployed(self) -> Measurement:
        """The cell, or the first of all folds: the fastest and the best of them are so by luck."""
        return self.cells[0]

    @property
    def loss(self) -> float | None:
        """Loss against dense on the reported inputs, in the metric's unit; below 0 where it is better."""
        return None if self.score is None or self.dense is None else self.score.loss_against(self.dense)

    @property
    def loss_on_select(self) -> float | None:
        """The same on the inputs that choices are made on; None where the cell was not judged on them."""
        if not self.by_select or self.score is None or self.dense is None:
            return None
        return on_select(self.score).loss_against(on_select(self.dense))

    @property
    def excludes_more(self) -> bool:
        """Whether the 95 % interval of the loss excludes more than is allowed."""
        high = None if self.score is None else self.score.loss_high
        return high is not None and self.allowed is not None and high <= self.allowed + _ROUNDING

    @property
    def is_contradicted(self) -> bool:
        """Whether it keeps the score where it was judged, and loses more on the reported inputs."""
        return self.keeps and not is_dense(self.measurement) and not _is_within(self.loss, self.allowed)

    @property
    def speedup(self) -> Interval | None:
        """Ratio of the reference's time to its own."""
        return speedup_of(self.measurement)


@dataclass(frozen=True)
class Answer:
    """Candidates of one network.

    Args:
        model: its name.
        standings: of all its rows.
        candidates: those that can be chosen, folds as one: measured with an interval, no controls, one image on the
            fewest threads; other batches and threads are other questions.
    """

    model: str | None
    standings: tuple[Standing, ...]
    candidates: tuple[Standing, ...]

    @property
    def is_scored(self) -> bool:
        """Whether any row has the score of a network."""
        return any(one.score is not None for one in self.standings if one.measurement.status == MEASURED)

    @property
    def judged(self) -> tuple[Standing, ...]:
        """Candidates with a dense score to hold theirs against."""
        return tuple(one for one in self.candidates if one.dense is not None)

    @property
    def keeping(self) -> tuple[Standing, ...]:
        """Candidates that keep the score."""
        return tuple(one for one in self.candidates if one.keeps)

    @property
    def best(self) -> Standing | None:
        """The fastest that keeps the score, if its whole interval is faster than the reference."""
        return fastest(self.keeping)


def answers(measurements: Iterable[Measurement], bar: Bar | None = None) -> list[Answer]:
    """Return what can be chosen for each network, in the order of the rows.

    Args:
        measurements: rows of a run.
        bar: what may be lost; None takes each metric's own tolerance.
    """
    found = standings(measurements, bar or Bar())
    together = with_folds_as_one(found)
    return [_answer(model, found, together) for model in models([one.measurement for one in found])]


def _answer(model: str | None, among: Iterable[Standing], together: Iterable[Standing]) -> Answer:
    rows = tuple(one for one in among if one.measurement.model == model)
    measured = [one for one in together if one.measurement.model == model and one.measurement.status == MEASURED]
    job = min((_job(one.measurement) for one in measured), default=(1, 1))
    candidates = tuple(one for one in measured if _job(one.measurement) == job and _can_be_chosen(one))
    return Answer(model, rows, candidates)


def best(
    measurements: Iterable[Measurement], keep: float | None = None, within: float | None = None
) -> Measurement | None:
    """Return the fastest cell that keeps the score, of folds the first; None where none is faster than the reference.

    Networks without a score are never chosen, but for the dense one. Of rows of several networks, the one with the
    highest lower end over its own reference is returned.

    Args:
        measurements: rows of a run.
        keep: share of the dense score to keep, as in `Bar`.
        within: largest loss in the metric's unit, in its place.

    Raises:
        UserError: both are given, or one is out of range.
    """
    chosen = [one for answer in answers(measurements, Bar(keep, within)) if (one := answer.best)]
    found = fastest(chosen)
    return found.deployed if found else None


def fastest(among: Iterable[Standing]) -> Standing | None:
    """Return the cell with the highest lower end of its speedup, or None where that is not above 1."""
    timed = [(speedup.low, one) for one in among if (speedup := one.speedup)]
    low, found = max(timed, key=lambda pair: pair[0], default=(0.0, None))
    return found if low > 1 else None


def standings(measurements: Iterable[Measurement], bar: Bar) -> list[Standing]:
    """Return the standing of every row, in their order."""
    rows = list(measurements)
    metrics = headline_metrics(rows)
    dense = [m for m in rows if m.method == DENSE and m.scores]  # the others bring no score to hold one against
    return _with_places(_judged_together([_judged(m, dense, metrics.get(m.model), bar) for m in rows], bar))


def with_folds_as_one(found: Sequence[Standing]) -> list[Standing]:
    """Return standings with the folds, or seeds, of a pruning as one, in the place of the first, and their front.

    Rows of a fold that has no latency stay as they are.
    """
    together = folds_of([one.measurement for one in found])
    if not together:
        return list(found)
    of = {id(m): folds for folds in together for m in folds.members}
    standing = {id(one.measurement): one for one in found}
    one_each: dict[int, Standing] = {}
    for one in found:
        folds = of.get(id(one.measurement))
        if folds is None:
            one_each[id(one)] = replace(one, on_front=False, dominated_by=None, is_close=False)
        elif id(folds) not in one_each:
            one_each[id(folds)] = _as_one(folds, [standing[id(m)] for m in folds.members])
    return _with_places(list(one_each.values()))


def _as_one(folds: Folds, members: Sequence[Standing]) -> Standing:
    """Return the standing of folds, which were judged together."""
    seeds = [m.seed for m in folds.members]
    scores, dense, allowed = (
        found if None not in (found := [getattr(one, name) for one in members]) else []
        for name in ("score", "dense", "allowed")
    )
    held = dense if dense and not is_dense(folds.measurement) else [None] * len(members)
    return Standing(
        folds.measurement,
        mean_score(scores, held, seeds) if scores else None,
        mean_score(dense, [None] * len(dense), seeds) if dense else None,
        fmean(allowed) if allowed else None,
        keeps=all(one.keeps for one in members),
        by_select=all(one.by_select for one in members),
        folds=folds,
    )


def _with_places(judged: list[Standing]) -> list[Standing]:
    """Find the front of each network and job."""
    places: dict[object, list[int]] = defaultdict(list)
    for index, one in enumerate(judged):
        if _can_be_chosen(one) and one.score is not None:
            places[one.measurement.model, _job(one.measurement)].append(index)
    for indices in places.values():
        for index, placed in zip(indices, _placed([judged[index] for index in indices]), strict=True):
            judged[index] = placed
    return judged


def _judged(m: Measurement, among: Sequence[Measurement], metric: str | None, bar: Bar) -> Standing:
    score = None if metric is None else m.scores.get(metric)
    dense = None if score is None or metric is None else dense_scores(m, among).get(metric)
    if score is None or dense is None:
        return Standing(m, score, keeps=is_dense(m))
    by_select = score.select is not None and dense.select is not None
    there, dense_there = (on_select(score), on_select(dense)) if by_select else (score, dense)
    is_allowed = _is_within(there.loss_against(dense_there), bar.allowed(dense_there))
    keeps = is_dense(m) or (is_allowed and not is_constant(m))
    return Standing(m, score, dense, bar.allowed(dense), keeps, by_select)


def _judged_together(judged: Sequence[Standing], bar: Bar) -> list[Standing]:
    """Judge seeds and folds of one pruning in one engine by their mean loss."""
    known = {
        id(m): index
        for index, one in enumerate(judged)
        if one.loss is not None and not is_dense(m := one.measurement) and m.status == MEASURED
    }
    found = list(judged)
    for rows in alike(one.measurement for one in judged):
        indices = [known[id(m)] for m in rows if id(m) in known]
        members = [judged[index] for index in indices]
        if not members:
            continue
        losses = [one.loss_on_select if one.by_select else one.loss for one in members]
        allowed = [bar.allowed(on_select(one.dense) if one.by_select else one.dense) for one in members if one.dense]
        kept = _is_within(fmean(loss for loss in losses if loss is not None), fmean(allowed))
        for index, one in zip(indices, members, strict=True):
            found[index] = replace(one, keeps=kept and not is_constant(one.measurement))
    return found


def is_constant(m: Measurement) -> bool:
    """Return whether a network answers without looking, which can keep a score where one class is common."""
    return not {CONSTANT, NEVER_DEPENDED}.isdisjoint((m.notes or "").split(BETWEEN_NOTES))


def on_select(score: Score) -> Score:
    """Return a score with its value on the inputs that choices are made on; as it is where there are none."""
    return score if score.select is None else replace(score, value=score.select)


def _is_within(loss: float | None, allowed: float | None) -> bool:
    return loss is not None and allowed is not None and loss <= allowed + _ROUNDING


def _job(m: Measurement) -> tuple[int, int]:
    return m.threads or 1, m.batch or 1


def _can_be_chosen(one: Standing) -> bool:
    m = one.measurement
    return m.status == MEASURED and not is_control(m) and one.speedup is not None


def _placed(group: Sequence[Standing]) -> list[Standing]:
    """Find the front of cells with a score and a speedup; cells that nothing can be held against have no place."""
    is_judged = any(one.loss is not None for one in group)
    points = {
        index: (speedup.estimate, good)
        for index, one in enumerate(group)
        if (speedup := one.speedup) and (good := _goodness(one, is_judged=is_judged)) is not None
    }
    front = _front(points)
    placed = []
    for index, one in enumerate(group):
        if index in front:
            placed.append(replace(one, on_front=True))
            continue
        above = [i for i in front if index in points and _dominates(points[i], points[index])]
        if not above:
            placed.append(one)
            continue
        by = group[max(above, key=lambda i: points[i])]
        placed.append(replace(one, dominated_by=by.measurement, is_close=_reach(one.speedup, by.speedup)))
    return placed


def _front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """Return the points that no other dominates, in their order."""
    front, best = [], -math.inf
    for _, group in groupby(sorted(points, key=lambda i: points[i], reverse=True), key=lambda i: points[i][0]):
        members = list(group)
        good = points[members[0]][1]
        if good > best:
            front += [i for i in members if points[i][1] == good]
            best = good
    return sorted(front)


def _goodness(one: Standing, *, is_judged: bool) -> float | None:
    """Return how good a score is: seeds and folds have other dense scores, so the loss counts where it is known."""
    if is_judged or one.score is None:
        return None if one.loss is None else -one.loss
    return one.score.value if one.score.higher_is_better else -one.score.value


def _dominates(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]


def _reach(below: Interval | None, above: Interval | None) -> bool:
    return below is not None and above is not None and below.high >= above.low
