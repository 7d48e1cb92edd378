"""Locks after a fork: the child has none of the threads that could release those that were held."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with locks."""

    def renew(self) -> None:
        """Replace the locks by open ones; no other thread runs yet."""


_HOLDERS: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renewed_after_fork(holder: Renewable) -> None:
    """Have `holder.renew` called in every process that is forked from this one, before anything else runs there."""
    _HOLDERS.add(holder)


def _renew() -> None:
    for holder in list(_HOLDERS):
        holder.renew()


if hasattr(os, "register_at_fork"):  # where there is no fork, nothing has to be renewed
    os.register_at_fork(after_in_child=_renew)
