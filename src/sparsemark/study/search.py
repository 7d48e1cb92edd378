"""Search for the highest sparsity that keeps the score: bisection over whole percents, each tried with several seeds.

Every trial is pruned and fine-tuned as any variant is, and judged by the mean loss over its seeds on the inputs that
the task sets apart for choices. Nothing is timed: what is found becomes one more variant of the study, which is
measured and reported on other inputs. Bisection takes for granted that more sparsity loses no less.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sparsemark.analysis.front import Bar, on_select
from sparsemark.errors import UserError
from sparsemark.pruning import PRUNERS
from sparsemark.references import one_line
from sparsemark.registry import find
from sparsemark.specs import Pruning, Variant, split_steps
from sparsemark.study.chosen import Chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sparsemark.records.scores import Score
    from sparsemark.specs import ModelSpec
    from sparsemark.study.pipeline import Pipeline

_LOG = logging.getLogger(__name__)

SEEDS = 2
"""Of a trial where nobody says how many: one alone can be lucky."""

_DENSE, _EMPTY = 0, 100
"""Percents of zeros between which the search begins: the dense network keeps its own score, an empty one does not."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Trial:
    """One sparsity, tried with each seed.

    Args:
        percent: of what is removed.
        loss: mean over the seeds on the select inputs, in the metric's unit; None where a network could not be made.
        allowed: the mean of what may be lost.
        reason: why a network could not be made.
        minutes: that it took.
    """

    percent: int
    loss: float | None
    allowed: float
    reason: str | None
    minutes: float

    @property
    def keeps(self) -> bool:
        """Whether the mean loss is allowed."""
        return self.loss is not None and self.loss <= self.allowed + _ROUNDING


@dataclass(frozen=True)
class Search:
    """Request for a search.

    Args:
        method: pruning without its last sparsity: `magnitude`, `iterative-magnitude`, `channels::16`,
            `channels:0.5:16+magnitude`, `block4+qat`.
        seeds: number of networks of a trial, from seed 0 on.
        bar: what may be lost.

    Raises:
        UserError: the method has another form or is not known, or there is no seed.
    """

    method: str
    seeds: int = SEEDS
    bar: Bar = field(default_factory=Bar)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds}: expected a whole number from 1")
        try:
            tried = self.pruning((_DENSE + _EMPTY) // 2)
        except UserError as error:
            raise UserError(f"--search {self.method}: expected a method without its sparsity: {error}") from error
        for step in tried.steps:
            find(step.method, PRUNERS, "pruner")

    def pruning(self, percent: int) -> Pruning:
        """Return the pruning with so many percent in its last step."""
        (*before, last), is_aware = split_steps(self.method)
        name, _, rest = last.partition(":")
        found = Pruning.parse("+".join([*before, f"{name}:{percent / 100:g}{rest}"]))
        return replace(found, quantisation_aware=is_aware)


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Args:
        search: what was asked for.
        pruning: the highest sparsity that keeps the score, or None where none does.
        trials: in their order.
    """

    search: Search
    pruning: Pruning | None
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Chosen:
        """Prunings to measure: the one that was found, or none."""
        return Chosen(() if self.pruning is None else (self.pruning,), self.words)

    @property
    def words(self) -> str:
        """The result in one clause, with its cost."""
        minutes = _minutes(sum(trial.minutes for trial in self.trials))
        cost = f"{len(self.trials)} trials of {self.search.seeds} seeds, {minutes} in this run"
        if self.pruning is None:
            return (
                f"--search {self.search.method}: no sparsity keeps the score on the select inputs ({cost}); --prune "
                "all-ones shows what fine-tuning alone costs"
            )
        kept = next(trial for trial in self.trials if self.search.pruning(trial.percent) == self.pruning)
        return (
            f"--search {self.search.method}: {self.pruning.text} is the highest sparsity whose mean loss on the select "
            f"inputs is allowed ({kept.loss:.4g} of {kept.allowed:.4g}, {cost})"
        )


def search(
    pipeline: Pipeline, model: ModelSpec, wanted: Search, waiting: Callable[[str], AbstractContextManager[None]]
) -> Found:
    """Find the highest sparsity that keeps the score.

    Networks that the pipeline's working folder holds from an interrupted search are not made again.

    Args:
        pipeline: prepares networks, with a task.
        model: the network.
        wanted: the method, and what may be lost.
        waiting: shows what is at work.

    Raises:
        UserError: the network, the task or the disk is at fault.
    """
    with waiting("search: the dense network"):
        dense = [_headline(pipeline, Variant(model, seed=seed)) for seed in range(wanted.seeds)]
    low, high = _DENSE, _EMPTY
    trials: list[Trial] = []
    _LOG.info("search: %s: at most %d trials of %d seeds", wanted.method, _left(low, high), wanted.seeds)
    while high - low > 1:
        trial = _tried(pipeline, model, wanted, percent=(low + high) // 2, dense=dense, waiting=waiting)
        trials.append(trial)
        low, high = (trial.percent, high) if trial.keeps else (low, trial.percent)
        left = _left(low, high)
        # The longest so far: what was found in the working folder took no time.
        more = f"at most {left} more, about {_minutes(left * max(t.minutes for t in trials))}" if left else "done"
        text, took = wanted.pruning(trial.percent).text, _minutes(trial.minutes)
        _LOG.info("search: %s %s (%s); %s", text, _verdict(trial), took, more)
    return Found(wanted, wanted.pruning(low) if low > _DENSE else None, tuple(trials))


def _tried(
    pipeline: Pipeline,
    model: ModelSpec,
    wanted: Search,
    *,
    percent: int,
    dense: Sequence[Score],
    waiting: Callable[[str], AbstractContextManager[None]],
) -> Trial:
    began = time.monotonic()
    losses, reason = [], None
    for seed, score in enumerate(dense):
        variant = Variant(model, wanted.pruning(percent), seed)
        try:
            with waiting(f"search: {variant.name}"):
                losses.append(_headline(pipeline, variant).loss_against(score))
        except UserError:
            raise
        except Exception as error:  # what a method cannot do to the network at this sparsity is an answer
            reason = one_line(error)[:200]
            break
    allowed = sum(map(wanted.bar.allowed, dense)) / len(dense)
    loss = None if reason else sum(losses) / len(losses)
    return Trial(percent, loss, allowed, reason, (time.monotonic() - began) / 60)


def _headline(pipeline: Pipeline, variant: Variant) -> Score:
    """Return a network's headline score on the inputs that choices are made on; the others where there are none."""
    return on_select(next(iter(pipeline.prepare(variant).scores.values())))


def _verdict(trial: Trial) -> str:
    if trial.loss is None:
        return f"cannot be made: {trial.reason}"
    return f"loses {trial.loss:.4g}, {'' if trial.keeps else 'not '}within {trial.allowed:.4g}"


def _left(low: int, high: int) -> int:
    """Return the most trials that a bisection between two percents takes."""
    return math.ceil(math.log2(high - low))


def _minutes(minutes: float) -> str:
    return f"{minutes:.1f} minutes"
