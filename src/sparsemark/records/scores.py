"""Scores of a network, and the data that they were taken on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsemark.records.ranges import Loss, Positive, ScoreValue, Weight  # files are read by these annotations

RANDOM_INPUTS = "random inputs"
"""What a note calls inputs that were made up."""

Groups = Mapping[str, tuple[ScoreValue, Weight]]
"""Score and weight of a metric by group: by patient, user or video."""


class SingleInputs(dict[str, tuple[float, float]]):
    """Groups of one input each.

    Not stored: there can be a hundred thousand, and the first input of one fold is not that of another.
    """


@dataclass(frozen=True)
class DataNote:
    """Data that a number was taken on.

    Args:
        words: what a reader must know: set, number of inputs, how they were split.
        caveat: one word that stands beside every number from these data, such as `PHANTOM`, or None.
        key: identifies the very data and split; None where nobody keeps one.
    """

    words: str
    caveat: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Score:
    """One metric of a network.

    Args:
        value: in the metric's own unit.
        low: lower end of its 95 % interval, or None.
        high: upper end.
        raw: the value of the pruned network before anything else was done to it.
        recalibrated: the value after BatchNorm's statistics were estimated again, before fine-tuning.
        float32: the value of the same network on the same engine in float32, where this one is quantised.
        select: the value on the inputs that choices are made on, of the network itself; None where the task has no such
            inputs.
        loss_low: lower end of the 95 % interval of the loss against the dense network, from the groups or inputs of
            both, paired; None where they do not support one. Below 0 the network may be the better one.
        loss_high: upper end.
        higher_is_better: direction.
        tolerance: loss, in the metric's unit, up to which two networks count as equally good; None where that was not
            said, so that nothing is gated.
        input_count: inputs that the value was taken on, or None.
        group_count: groups that the intervals are made of; None where they are made of single inputs, or unknown.
        groups: score and weight by group, of which the interval was made, or by single input; None where the task does
            not tell them apart. Checkpoints keep those of groups, result files none.
    """

    value: ScoreValue
    low: ScoreValue | None = None
    high: ScoreValue | None = None
    raw: ScoreValue | None = None
    recalibrated: ScoreValue | None = None
    float32: ScoreValue | None = None
    select: ScoreValue | None = None
    loss_low: ScoreValue | None = None
    loss_high: ScoreValue | None = None
    higher_is_better: bool = True
    tolerance: Loss | None = None
    input_count: Positive | None = None
    group_count: Positive | None = None
    groups: Groups | None = field(default=None, repr=False)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the 95 % interval; None where there is none, or it has no width.

        Earlier versions resampled scores that were all equal, which says nothing of how sure they are.
        """
        known = self.low is not None and self.high is not None and self.low < self.high
        return (self.low, self.high) if known else None  # type: ignore[return-value]

    def loss_against(self, other: Score) -> float:
        """Return by how much this score is worse than `other`, in the metric's unit; below 0 where it is better."""
        return other.value - self.value if self.higher_is_better else self.value - other.value


def same_data(first: DataNote | None, second: DataNote | None) -> bool:
    """Return whether two numbers come from the same data, by their keys where both have one, else by the words.

    Two absent notes are the same: nothing says otherwise.
    """
    if first is None or second is None:
        return first is second
    if first.key is not None and second.key is not None:
        return first.key == second.key
    return _in_todays_words(first.words) == _in_todays_words(second.words)


def _in_todays_words(words: str) -> str:
    """Return how many of what a parity check compared as it is written today; files were once `8 of 32 x noise`."""
    earlier = re.fullmatch(r"(\d+)( of \d+)? x (.*)", words)
    return (
        words
        if earlier is None
        else f"{'' if earlier[2] else 'all '}{earlier[1]}{earlier[2] or ''} inputs ({earlier[3]})"
    )
