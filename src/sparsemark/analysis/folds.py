"""Folds of one pruning, or seeds of it, as one row: means over all of them, and how far they lie apart.

A study of several folds has a network a fold, each timed over its own dense one and scored on other inputs. What is
said of the pruning is said of all of them: the fastest fold and the luckiest one are two different networks. A walk to
a target ends at another pruning in each fold; what was asked for, and so what is pooled, is the target.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.cells import dense_scores, is_dense
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.groups import interval_of, loss_interval, pooled
from sparsemark.analysis.statistics import Interval
from sparsemark.errors import UserError
from sparsemark.records.measurement import BETWEEN_NOTES, MEASURED
from sparsemark.records.scores import DataNote, SingleInputs
from sparsemark.specs import DENSE, Pruning
from sparsemark.specs.methods import walked_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        measurement: all of them as one row. Its speedup is their geometric mean, from the lowest end of their intervals
            to the highest; percentiles are geometric means, scores and sizes means. Of drift, steal and parity the
            worst stands there; raw seconds do not.
        members: those with a speedup and its interval, else all that were measured, by seed and fold.
        asked: rows of any status, at least two.
        disturbed: members whose latency cannot be trusted.
        unit: the word for them: `folds`, `seeds`, or `networks` where both differ.
    """

    measurement: Measurement
    members: tuple[Measurement, ...]
    asked: int
    disturbed: int
    unit: str

    def over(self, other: Folds) -> Interval | None:
        """Return how many times as fast they are as others of the same run, each beside the same fold and seed."""
        twins = {(m.seed, m.fold): m for m in other.members}
        ratios = [
            ratio
            for m in self.members
            if (twin := twins.get((m.seed, m.fold))) is not None and (ratio := speedup_over(m, twin)) is not None
        ]
        return spanned(ratios) if ratios else None


def spanned(ratios: Sequence[Interval]) -> Interval:
    """Return the geometric mean of ratios, from the lowest end of their intervals to the highest.

    Folds that came out close together say nothing of how far each of them may be off, nor do narrow intervals of how
    far folds lie apart: the span holds both.
    """
    low, high = min(one.low for one in ratios), max(one.high for one in ratios)
    # Rounding must not put the mean of equal ratios beside them.
    return Interval(min(max(geometric_mean(one.estimate for one in ratios), low), high), low, high)


def asked_of(m: Measurement) -> object:
    """Return what was asked to be pruned, the same for all folds; None for rows that do not say."""
    if m.pruning is None:
        return None if m.sparsity_target is None else (m.method, m.sparsity_target, m.round_to)
    target = _target_of(_pruning_of(m))
    return ("target", target) if target else m.pruning


def _pruning_of(m: Measurement) -> Pruning | None:
    try:
        return Pruning.parse(m.pruning or "")
    except UserError:  # a file of another program
        return None


def _target_of(pruning: Pruning | None) -> str:
    """Return the target that a walk spread all steps for, such as `10x`; empty where there was none."""
    targets = {walked_to(step.ratios) for step in pruning.steps} if pruning else set()
    return targets.pop() if len(targets) == 1 else ""


def alike(rows: Iterable[Measurement]) -> list[list[Measurement]]:
    """Return rows that differ in seed and fold alone, in the order of the rows; those that stand alone are left out.

    Folds are apart from seeds that each draw a split, and numbers with a caveat from those without; a row that failed
    has no data, and belongs to either. Where a seed and fold is there twice, as are the steps of one walk, the rows are
    several prunings.
    """
    groups: dict[tuple[object, ...], list[Measurement]] = defaultdict(list)
    for m in rows:
        if (asked := asked_of(m)) is not None:
            how = m.schedule, m.control, m.format, m.engine, m.precision, m.threads or 1, m.batch or 1, m.host_class
            groups[m.model, asked, *how, m.fold is not None].append(m)
    found = []
    for group in groups.values():
        for caveat in dict.fromkeys(_caveat(m) for m in group if m.status == MEASURED):
            own = [m for m in group if _caveat(m) == caveat or (m.status != MEASURED and m.data is None)]
            if len({(m.seed, m.fold) for m in own}) == len(own) > 1:
                found.append(own)
    return found


def _caveat(m: Measurement) -> str | None:
    return m.data.caveat if m.data else None


def one_split(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return rows without those of other splits, where a network was tested on folds, which hold every input once."""

    def how(m: Measurement) -> tuple[object, ...]:
        return m.model, asked_of(m), m.schedule, m.engine, m.precision

    folded = {how(m) for m in rows if m.fold is not None}
    return [m for m in rows if m.fold is not None or how(m) not in folded]


def folds_of(rows: Sequence[Measurement]) -> list[Folds]:
    """Return the folds, or seeds, of every pruning that was asked for on several and measured on some, in order."""
    dense = [m for m in rows if m.method == DENSE and m.scores]
    return [_folds(of, dense) for of in alike(rows)]


@dataclass(frozen=True)
class AsOne:
    """Rows with the folds, or seeds, of a pruning as one, in the place of the first.

    Args:
        rows: in their order.
        folds: what a row is the mean of, by the row's name.
    """

    rows: tuple[Measurement, ...]
    folds: Mapping[str, Folds]

    @classmethod
    def of(cls, rows: Sequence[Measurement]) -> AsOne:
        """Put the folds among rows together."""
        found = folds_of(rows)
        of = {id(m): folds.measurement for folds in found for m in folds.members}
        one_each = {id(one): one for m in rows for one in (of.get(id(m), m),)}
        return cls(tuple(one_each.values()), {folds.measurement.name: folds for folds in found})

    def over(self, m: Measurement, other: Measurement) -> Interval | None:
        """Return how many times as fast one of the rows is as another: fold by fold where both are means of them."""
        ours, theirs = self.folds.get(m.name), self.folds.get(other.name)
        return ours.over(theirs) if ours and theirs else speedup_over(m, other)


def rows_as_one(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return rows with the folds, or seeds, of a pruning as one, in the place of the first."""
    return list(AsOne.of(rows).rows)


def _folds(rows: Sequence[Measurement], dense: Sequence[Measurement]) -> Folds:
    measured = [m for m in rows if m.status == MEASURED]
    timed = [m for m in measured if speedup_of(m) is not None] or measured
    members = sorted(timed, key=lambda m: (m.seed or 0, m.fold or 0))
    differ = [name for name in ("fold", "seed") if len({getattr(m, name) for m in rows}) > 1]
    disturbed = sum(bool(contamination_of(m)) for m in members)
    unit = "networks" if len(differ) > 1 else f"{differ[0]}s"
    absent: dict[str, Any] = dict.fromkeys(differ)
    one = replace(_as_one(members, dense), **absent)
    # Unlike the name of any row: the same pruning may be there without a fold.
    name = one.name
    for field in differ:
        name = re.sub(rf"-{field}[0-9]+(?=-|$)", f"-{field}s", name)
    one = replace(one, name=name if name != one.name else f"{name} and {len(rows) - 1} more")
    return Folds(one, tuple(members), len(rows), disturbed, unit)


def _as_one(members: Sequence[Measurement], dense: Sequence[Measurement]) -> Measurement:
    first = max(members, key=lambda m: str(m.method).count("+"))  # a walk may have pruned in one way alone
    # The dense network loses nothing against itself, and no interval says how sure that is.
    held = [{} if is_dense(m) else dense_scores(m, dense) for m in members]
    seeds = [m.seed for m in members]
    common = [name for name in first.scores if all(name in m.scores for m in members)]
    worst = {name: [v for m in members if (v := getattr(m, name)) is not None] for name in _WORST}
    fields: dict[str, Any] = {name: max(values, default=None) for name, values in worst.items()}
    fields |= {name: _geometric(members, name) for name in _TIMES}
    fields |= {name: _mean(members, name) for name in _SHARES}
    fields |= {name: None if (mean := _mean(members, name)) is None else round(mean) for name in _COUNTS}
    timed = [speedup for m in members if (speedup := speedup_of(m)) is not None]
    ratio = spanned(timed) if timed else None
    one = replace(
        first,
        **fields,
        speedup=ratio.estimate if ratio else _geometric(members, "speedup"),
        speedup_low=ratio.low if ratio else None,
        speedup_high=ratio.high if ratio else None,
        finetuning_epochs=_common(m.finetuning_epochs for m in members),
        notes=BETWEEN_NOTES.join(dict.fromkeys(note for m in members for note in _notes(m))) or None,
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
    return _walked(one, members)


def _walked(one: Measurement, members: Sequence[Measurement]) -> Measurement:
    """Return walks as one row with the mean share of each step, under the name of their target; others as they are."""
    own = _pruning_of(one)
    target = _target_of(own)
    if own is None or not target:
        return one
    shares: dict[str, list[float]] = defaultdict(list)
    for m in members:
        pruning = _pruning_of(m)
        for step in pruning.steps if pruning else ():
            shares[step.method].append(step.sparsity)
    steps = tuple(
        replace(step, sparsity=sum(shares[step.method]) / len(members), ratios=f"{target}.json") for step in own.steps
    )
    pruning = replace(own, steps=steps)
    name = one.name.replace(own.label, pruning.label)
    return replace(one, name=name, pruning=pruning.text, sparsity_target=pruning.sparsity)


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
