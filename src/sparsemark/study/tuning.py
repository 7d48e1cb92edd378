"""Time that fine-tuning takes: an estimate for all networks from the first epoch, and what is left of it."""

from __future__ import annotations

import logging
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.specs import Variant

_LOG = logging.getLogger(__name__)

_WORTH_SAYING_S = 30.0
"""Estimate in seconds below which nobody would ask for less."""


class Tuning:
    """Epochs of fine-tuning that are over, and those to come.

    Args:
        epochs: of each network in all.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._to_come: set[Variant] = set()
        self._shorter = False
        self._said = False
        self._over = 0
        self._own: list[float] = []
        self._all: list[float] = []

    def plan(self, variants: Iterable[Variant], *, shorter: bool = False) -> None:
        """Set which networks are to come, dense ones aside; those that will be found or refused count until they are.

        Args:
            variants: of the study.
            shorter: name the options of `sparsemark bench` that make it shorter beside the estimate.
        """
        self._to_come = {variant for variant in variants if not variant.pruning.is_dense}
        self._shorter, self._all = shorter, []

    @property
    def at(self) -> str:
        """Epoch that begins now, `epoch 3 of 6`, over all rounds of the network."""
        return f"epoch {self._over + 1} of {self._epochs}"

    def begun_after(self, epochs: int) -> None:
        """Count epochs of the network at hand that an earlier process did."""
        self._over += epochs

    def took(self, seconds: float, epochs: int = 1) -> None:
        """Count epochs of the network at hand; after the first ones, log the estimate."""
        self._over += epochs
        self._own += [seconds / epochs] * epochs
        self._all += [seconds / epochs] * epochs
        if self._said or not self._to_come:
            return
        self._said = True
        whole = sum(self._all) + self._seconds_left()
        if whole >= _WORTH_SAYING_S:
            some = " of which some are done" if self._over > len(self._own) else ""
            _LOG.info("fine-tuning: about %s for %s%s%s", _duration(whole), self._work(), some, self._less())

    def prepared(self, variant: Variant) -> None:
        """Take a network off those to come, however it ended."""
        self._to_come.discard(variant)
        self._over, self._own = 0, []

    @property
    def left(self) -> str:
        """Clause with the time left of all networks; empty before the first epoch of any is over."""
        if not self._all:
            return ""
        networks = len(self._to_come)
        of = f"for {networks} networks" if networks > 1 else "of this network"
        return f", about {_duration(self._seconds_left())} left {of}"

    def _seconds_left(self) -> float:
        """Return seconds by the mean of the epochs so far: the network's own for what is left of it."""
        others = max(0, len(self._to_come) - 1)
        each = fmean(self._all)
        own = fmean(self._own) if self._own else each
        return own * max(0, self._epochs - self._over) + each * self._epochs * others

    def _work(self) -> str:
        networks = len(self._to_come)
        epochs = f"{self._epochs} epoch{'' if self._epochs == 1 else 's'}"
        return f"one network of {epochs}" if networks == 1 else f"{networks} networks of {epochs}"

    def _less(self) -> str:
        ways = [*(["--epochs 1"] if self._epochs > 1 else []), *(["fewer --prune"] if len(self._to_come) > 1 else [])]
        return f"; {' or '.join(ways)} for less" if self._shorter and ways else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
