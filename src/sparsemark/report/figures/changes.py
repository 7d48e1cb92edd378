"""Change of a score by pruning, against the dense network of the same seeds and folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import dense_scores, removed
from sparsemark.analysis.folds import asked_of, mean_score, rows_as_one
from sparsemark.analysis.front import Bar
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.figures.series import left_of, precision_of
from sparsemark.specs import ALL_ONES, DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scale

BARS = "bars: 95 % interval of the change, paired by patient or input"
"""What the bars of a change are."""


@dataclass(frozen=True)
class Change:
    """One pruning over its folds, or its seeds where it has none.

    Everything is in the unit that is shown, points for fractions, and above 0 where the metric is higher than dense.

    Args:
        first: all of them as one row, without scores.
        cells: one a seed or fold.
        value: mean change, with its paired 95 % interval; of no extent where the scores do not support one.
        raw: mean change before anything else was done to the pruned network, or None.
        recalibrated: the same after BatchNorm's statistics were estimated again.
        dense: mean score of the dense network.
        allowed: loss up to which the two count as equally good.
        higher_is_better: direction of the metric.
    """

    first: Measurement
    cells: tuple[Measurement, ...]
    value: Interval
    raw: float | None
    recalibrated: float | None
    dense: float
    allowed: float
    higher_is_better: bool

    @property
    def name(self) -> str:
        """Return the pruning that was asked for, in words: `magnitude 90 % int8`."""
        return wording.pruned(self.first) + wording.precision_mark(self.first.precision)

    @property
    def left(self) -> float:
        """Share of the dense network's weights that is left, in percent."""
        return fmean(map(left_of, self.cells))

    @property
    def is_certain(self) -> bool:
        """Whether there is an interval."""
        return self.value.low < self.value.high

    @property
    def loss(self) -> Interval:
        """The same with losses above 0."""
        one = self.value
        return Interval(-one.estimate, -one.high, -one.low) if self.higher_is_better else one

    @property
    def surely_loses(self) -> bool:
        """Whether the whole interval is worse than dense."""
        return self.is_certain and self.loss.low > 0

    @property
    def keeps(self) -> bool:
        """Whether the score is kept by the estimate."""
        return self.loss.estimate <= self.allowed

    @property
    def surely_keeps(self) -> bool:
        """Whether the whole interval excludes a larger loss than is allowed."""
        return self.is_certain and self.loss.high <= self.allowed


def changes_of(cells: Sequence[Measurement], scale: Scale) -> list[Change]:
    """Return the change of every pruning and control that has a dense network of the same seeds and folds.

    Args:
        cells: of one network; a variant that was timed on several engines counts once.
        scale: of the metric.
    """
    variants = {(wording.pruned(m), precision_of(m), m.seed, m.fold): m for m in cells if scale.metric in m.scores}
    dense = [m for m in variants.values() if m.method == DENSE]
    shown, _ = together(m for m in variants.values() if scale.metric in dense_scores(m, dense))
    return [_change(group, dense, scale) for group in shown]


def together(scored: Iterable[Measurement]) -> tuple[list[list[Measurement]], int]:
    """Return the seeds or folds of each pruning that is shown, and the number of prunings that are left out.

    Where most prunings were tested on folds, on every input, those that were not are left out: the
    intervals of a few inputs would hide the others.

    Args:
        scored: rows with a score; networks that are not pruned are passed over.
    """
    groups: dict[object, list[Measurement]] = {}
    for m in scored:
        if m.method not in (None, DENSE) and removed(m) is not None:
            groups.setdefault((asked_of(m), m.schedule, precision_of(m)), []).append(m)
    # Folds hold every input once; seeds that each draw a split are not averaged with them.
    found = [[m for m in group if m.fold is not None] or group for group in groups.values()]
    whole = [one for one in found if one[0].fold is not None]
    shown = whole if 2 * len(whole) > len(found) else found
    return shown, len(found) - len(shown)


def _change(group: Sequence[Measurement], among: Sequence[Measurement], scale: Scale) -> Change:
    scores = [m.scores[scale.metric] for m in group]
    dense = [dense_scores(m, among)[scale.metric] for m in group]
    before = fmean(score.value for score in dense)
    mean = mean_score(scores, dense, [m.seed for m in group])

    def change(value: float | None) -> float | None:
        return None if value is None else scale.factor * (value - before)

    middle = scale.factor * (mean.value - before)
    low, high = sorted(
        middle if loss is None else scale.factor * (-loss if scale.higher_is_better else loss)
        for loss in (mean.loss_low, mean.loss_high)
    )
    return Change(
        rows_as_one([replace(m, scores={}) for m in group])[0],
        tuple(group),
        Interval(middle, low, high),
        change(mean.raw),
        change(mean.recalibrated),
        scale.factor * before,
        scale.factor * fmean(Bar().allowed(score) for score in dense),
        scale.higher_is_better,
    )


def control_of(changes: Iterable[Change]) -> Change | None:
    """Return the dense control, which was fine-tuned as long as what was pruned, or None."""
    return next((one for one in changes if one.first.method == ALL_ONES), None)


def chance_of(changes: Iterable[Change], baselines: Iterable[Measurement], scale: Scale) -> float | None:
    """Return the mean change that the most frequent class makes on the seeds and folds of `changes`, or None.

    Args:
        changes: what is shown beside it.
        baselines: rows of the most frequent class.
        scale: of the metric.
    """
    of_draws = {(m.seed, m.fold): scale.factor * m.scores[scale.metric].value for m in baselines}
    apart = [
        fmean(of_draws[m.seed, m.fold] for m in one.cells) - one.dense
        for one in changes
        if all((m.seed, m.fold) in of_draws for m in one.cells)
    ]
    return fmean(apart) if apart else None


def drawn_from(scored: Iterable[Measurement]) -> str:
    """Return what points are: `seed 0`, `means over seeds 0 to 2 or folds 0 to 4`; empty where nobody noted it.

    Args:
        scored: rows of one network, those without a pruning and without a score among them.
    """
    shown, left_out = together(m for m in scored if m.scores)
    cells = [m for group in shown for m in group]
    words = []
    for name, known in (("seed", {m.seed for m in cells if m.fold is None}), ("fold", {m.fold for m in cells})):
        numbers = sorted(one for one in known if one is not None)
        if numbers:
            words.append(f"{name}{'s' if len(numbers) > 1 else ''} {_run_of(numbers)}")
    were = (
        "prunings that were not tested on all folds are"
        if left_out > 1
        else "pruning that was not tested on all folds is"
    )
    others = f"; {left_out} {were} left out" if left_out else ""
    several = len({(m.seed, m.fold) for m in cells}) > 1
    draws = {frozenset((m.seed, m.fold) for m in group) for group in shown}
    some = ", or some of them" if len(draws) > 1 and len(words) == 1 else ""
    return f"{'means over ' if several else ''}{' or '.join(words)}{some}{others}"


def _run_of(numbers: Sequence[int]) -> str:
    """Return `0, 2` or, where none is left out between, `0 to 4`."""
    first, last = numbers[0], numbers[-1]
    return f"{first} to {last}" if last - first == len(numbers) - 1 > 1 else ", ".join(map(str, numbers))


def axis_of(changes: Iterable[Change], scale: Scale) -> str:
    """Return the label of an axis of changes, with the caveats of the data."""
    label = scale.axis(wording.caveat(m.data) for one in changes for m in one.cells)
    return f"change of {label.removesuffix(', %')} against dense{scale.points} ({scale.direction})"


def dense_in_words(changes: Iterable[Change], scale: Scale) -> str:
    """Return the name of the line at 0: `dense, 94.7 %`, or the range of the means over seeds and folds."""
    ends = sorted({scale.value(one.dense / scale.factor) for one in changes}, key=float)
    span = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    return f"dense, {span}{' %' if scale.percent else ''}"


def change_in_words(one: Change, scale: Scale, *, bare: bool = False) -> str:
    """Return `-0.1 points [-1.9, +1.2]`, without brackets where there is no interval, `bare` of its unit."""
    middle, low, high = (
        scale.signed(end / scale.factor) for end in (one.value.estimate, one.value.low, one.value.high)
    )
    unit = "" if bare else scale.points.replace(",", "")
    return f"{middle}{unit}" + (f" [{low}, {high}]" if one.is_certain else "")
