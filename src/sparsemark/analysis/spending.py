"""Choice of what to prune where: most time saved for the score lost, until enough is saved.

Source: Yang et al., NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications, 2018, which measures
what each layer would save and cost, and takes the best of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CHANGE = 0.1
"""Share of the score that counts as lost where the outputs change by their own size: a score moves in steps of one
input, and would call most layers free."""

_NOISE = 0.003
"""Logarithm of a ratio of times below which nothing is taken for saved: as much as alternating calls scatter."""


@dataclass(frozen=True)
class Trial:
    """One place pruned alone.

    Args:
        method: that prunes it.
        names: of the weights, those of coupled layers together.
        fraction: of what is left there, in (0, 1).
        saved: logarithm of how many times as fast the network is with it.
        lost: of the score, as a share of the magnitude of the untouched network's; below 0 where it is better.
        change: root mean square of what the outputs changed by, over that of the outputs.
    """

    method: str
    names: tuple[str, ...]
    fraction: float
    saved: float
    lost: float
    change: float

    @property
    def place(self) -> tuple[str, tuple[str, ...]]:
        """Method and weights, whatever the fraction."""
        return self.method, self.names

    @property
    def cost(self) -> float:
        """Cost as a share of the score, made of the loss and the change; above 0, so that it can be divided by."""
        return max(self.lost, 0.0) + _CHANGE * self.change + 1e-9


def spend(trials: Iterable[Trial], wanted: float) -> list[Trial]:
    """Choose trials, one a place at most, until together they save what is wanted or nothing more can be saved.

    Savings are taken to add up, and so are losses, as they nearly do where each is small.

    Args:
        trials: of all places, at several fractions.
        wanted: sum of what they are to save.

    Returns:
        The trials in the order in which they were chosen; of a place that was raised, the larger fraction.
    """
    chosen: dict[tuple[str, tuple[str, ...]], Trial] = {}
    by_place: dict[tuple[str, tuple[str, ...]], list[Trial]] = {}
    for trial in trials:
        by_place.setdefault(trial.place, []).append(trial)
    while sum(one.saved for one in chosen.values()) < wanted:
        raised = [best for place, own in by_place.items() if (best := _raise(chosen.get(place), own))]
        if not raised:
            break
        _, trial = max(raised, key=lambda pair: pair[0])
        chosen[trial.place] = trial
    return list(chosen.values())


def _raise(standing: Trial | None, own: Sequence[Trial]) -> tuple[float, Trial] | None:
    """Return the trial of a place that saves most for what it costs beyond what is chosen there, with that rate."""
    saved, cost = (standing.saved, standing.cost) if standing else (0.0, 0.0)
    further = [trial for trial in own if trial.saved > saved + _NOISE]
    rated = [((trial.saved - saved) / max(trial.cost - cost, 1e-9), trial) for trial in further]
    return max(rated, key=lambda pair: pair[0], default=None)
