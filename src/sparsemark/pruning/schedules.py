"""Schedules: by which rounds a pruning is reached, and how its fine-tuning is shared among them.

Iterative: a constant share of what remains goes in each round (Han et al., 2015; Frankle and Carbin, 2019). Gradual:
the cubic schedule of Zhu and Gupta, To prune, or not to prune, 2017. A fair comparison gives every schedule the same
total of fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.specs import ITERATIVE, ONE_SHOT

if TYPE_CHECKING:
    from collections.abc import Iterator

from sparsemark.specs import PruneStep, Pruning

ITERATIVE_ROUNDS = 3
"""90 % is reached by 54 and 78 %, near the paper's 50 and 75."""

GRADUAL_ROUNDS = 8
"""More would leave less than an epoch of fine-tuning to each."""


@dataclass(frozen=True)
class Round:
    """One application of a step, and the fine-tuning that follows it.

    Args:
        step: with the sparsity that is reached after it, counted from what the step's first round found.
        epochs: of fine-tuning.
        first: of its step.
        last: of its step.
    """

    step: PruneStep
    epochs: int
    first: bool = True
    last: bool = True


def rounds(pruning: Pruning, epochs: int) -> list[Round]:
    """Return the rounds of a pruning in order.

    All steps but the last are applied once; the last one's sparsity is reached as the schedule says.

    Args:
        pruning: steps and schedule.
        epochs: of fine-tuning in all; with fewer than there are rounds, there are as many rounds as epochs.

    Raises:
        UserError: a schedule has too few epochs for more than one round.
    """
    if not pruning.steps:
        return []
    *before, last = pruning.steps
    most = {ONE_SHOT: 1, ITERATIVE: ITERATIVE_ROUNDS}.get(pruning.schedule, GRADUAL_ROUNDS)
    count = max(1, min(most, epochs - len(before)))
    if pruning.schedule != ONE_SHOT and count == 1:
        raise UserError(
            f"{pruning.text}: {epochs} epochs of fine-tuning; a schedule needs at least {len(before) + 2}, one a round"
        )
    each, rest = divmod(epochs, len(before) + count)
    reached = [
        Round(replace(last, sparsity=sparsity), each, first=index == 0, last=False)
        for index, sparsity in enumerate(_between(pruning.schedule, last.sparsity, count))
    ]
    # The last round restores what all of them cost.
    return [*(Round(step, each) for step in before), *reached, Round(last, each + rest, first=count == 1)]


def _between(schedule: str, target: float, count: int) -> Iterator[float]:
    """Yield the sparsity after each of `count` rounds but the last, which reaches the target."""
    for index in range(1, count):
        share = index / count
        yield 1 - (1 - target) ** share if schedule == ITERATIVE else target * (1 - (1 - share) ** 3)
