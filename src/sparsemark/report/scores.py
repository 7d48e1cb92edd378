"""Scores as tables, sentences and axes show them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import headline_metrics
from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Score

UNSCORED = "accuracy"
"""Metric that a report without any score says is missing."""

_FEWEST_DECIMALS, _MOST_DECIMALS = 1, 4
"""Decimals of points."""

EQUAL = 1e-9
"""Difference up to which a loss is the one that is allowed: scores are quotients."""


@dataclass(frozen=True)
class Scale:
    """Notation of one metric.

    Args:
        metric: its name.
        percent: written in percent and points, since all its values are fractions; else with four significant digits.
        higher_is_better: its direction.
    """

    metric: str
    percent: bool = True
    higher_is_better: bool = True

    @property
    def factor(self) -> float:
        """Factor from the metric's unit to what is shown."""
        return 100.0 if self.percent else 1.0

    @property
    def title(self) -> str:
        """Title of a column: `accuracy %`, `mae`."""
        return f"{self.metric} %" if self.percent else self.metric

    @property
    def points(self) -> str:
        """Unit of a change behind a word: `, points`, or nothing where it is the metric's own."""
        return ", points" if self.percent else ""

    @property
    def direction(self) -> str:
        """Direction in words: `higher is better`."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def axis(self, caveats: Iterable[str]) -> str:
        """Return the label of an axis; a caveat on any of its values stands in it."""
        words = " and".join(wording.on_caveat(word) for word in dict.fromkeys(caveats) if word)
        return f"{self.metric}{words}{', %' if self.percent else ''}"

    def value(self, value: float) -> str:
        """Return `92.4`, or `3.214` where it is no percentage."""
        return f"{100 * value:.1f}" if self.percent else wording.significant(value)

    def change(self, score: Score, before: Score, limit: float | None = None) -> str:
        """Return how much higher a score is than another: `+0.3` points, or as many decimals as the score shows.

        Args:
            score: after the change.
            before: the other.
            limit: loss that is allowed; a loss is shown with the decimals that tell it from that.
        """
        change = score.value - before.value
        if self.percent:
            return self.signed(change, _decimals(score.loss_against(before), limit))
        decimals = wording.significant_decimals(score.value)
        return f"{change:+.3e}" if decimals is None else f"{change:+.{decimals}f}"

    def lost(self, loss: float, low: float | None = None, high: float | None = None, limit: float | None = None) -> str:
        """Return a loss as the change that it is, `-0.8`, or `-0.8 [-1.9, +0.2]` with its interval.

        Whatever has a sign is a change of the score: a loss with a sign beside it would be read as its opposite.

        Args:
            loss: above 0 where the score is worse.
            low: lower end of its interval, None where it has none.
            high: upper end.
            limit: loss that is allowed, as in `change`: one number reads alike wherever it stands.
        """
        sign = -1.0 if self.higher_is_better else 1.0
        change = self.signed(sign * loss, _decimals(loss, limit))
        if low is None or high is None:
            return change
        first, last = sorted((sign * low, sign * high))
        return f"{change} [{self.signed(first)}, {self.signed(last)}]"

    def lost_in_words(
        self, loss: float, low: float | None = None, high: float | None = None, limit: float | None = None
    ) -> str:
        """Return the same with its unit: `-0.8 [-1.9, +0.2] points`."""
        return f"{self.lost(loss, low, high, limit)}{' points' if self.percent else ''}"

    def step(self, before: float, after: float) -> str:
        """Return two scores in their order: `accuracy 92.4 -> 91.8`."""
        return f"{self.metric} {self.value(before)} -> {self.value(after)}"

    def amount(self, value: float, limit: float | None = None) -> str:
        """Return a difference of scores without its direction: `0.8 points`, or `0.24` where it is no percentage.

        Args:
            value: the difference.
            limit: loss that is allowed, as in `change`.
        """
        return f"{100 * value:.{_decimals(value, limit)}f} points" if self.percent else wording.significant(value)

    def signed(self, value: float, decimals: int = 1) -> str:
        """Return a difference of scores: `+0.8` points, or `+0.24` where it is no percentage."""
        if self.percent:
            return f"{round(100 * value, decimals) + 0.0:+.{decimals}f}"  # no -0.0
        return f"{'+' if value >= 0 else ''}{wording.significant(value + 0.0)}"

    def kept(self, share: float) -> str:
        """Return which share of the dense score is kept: `that keeps 99 % of the dense accuracy`."""
        limit = "" if self.higher_is_better else f", at most {1 / share:.4g} times it"
        return f"that keeps {100 * share:g} % of the dense {self.metric}{limit}"

    def within(self, tolerance: float) -> str:
        """Return up to which loss two networks count as equally good: `within one point of accuracy`."""
        if tolerance == 0:
            return f"without loss of {self.metric}"
        if not self.percent:
            return f"within {tolerance:g} of the dense {self.metric}"
        return f"within {wording.points(tolerance)} of {self.metric}"


@dataclass(frozen=True)
class Scoring:
    """Metrics of some rows, and which of them leads for each network.

    Args:
        scales: notation of each metric, by its name, in the order of the rows.
        leading: the headline metric of each network that has a score.
    """

    scales: Mapping[str, Scale]
    leading: Mapping[str | None, str]

    @classmethod
    def of(cls, measurements: Iterable[Measurement]) -> Scoring:
        """Return the metrics of these rows."""
        rows = list(measurements)
        found: dict[str, list[Score]] = {}
        for m in rows:
            for metric, score in m.scores.items():
                found.setdefault(metric, []).append(score)
        scales = {metric: Scale(metric, _are_fractions(of), of[0].higher_is_better) for metric, of in found.items()}
        return cls(scales, headline_metrics(rows))

    def scale(self, model: str | None) -> Scale:
        """Return the notation of a network's headline metric."""
        return self.scales.get(self.leading.get(model, UNSCORED)) or Scale(UNSCORED)

    def score(self, measurement: Measurement) -> Score | None:
        """Return the headline score of a row, or None."""
        return measurement.scores.get(self.scale(measurement.model).metric)

    def shown(self, measurements: Iterable[Measurement]) -> list[Scale]:
        """Return the headline metrics of these rows, each once; the one that is missing where there is none."""
        named = dict.fromkeys(self.leading[m.model] for m in measurements if m.model in self.leading)
        return [self.scales[metric] for metric in named] or [Scale(UNSCORED)]


def _decimals(loss: float, limit: float | None) -> int:
    """Return decimals of points: one, or as many as tell a loss from the one that is allowed.

    A loss of 1.04 points would read as one point, and a row that loses too much as one that keeps its score.
    """
    if limit is None or math.isclose(loss, limit, abs_tol=EQUAL):
        return _FEWEST_DECIMALS
    apart = (n for n in range(_FEWEST_DECIMALS, _MOST_DECIMALS) if f"{100 * loss:.{n}f}" != f"{100 * limit:.{n}f}")
    return next(apart, _MOST_DECIMALS)


def _are_fractions(scores: Iterable[Score]) -> bool:
    values = (value for score in scores for value in (score.value, score.raw, score.recalibrated) if value is not None)
    return all(0 <= value <= 1 for value in values)
