"""Queue of launches: a cell goes to whichever host of its class is free first, and stays there.

A host takes the first launches of cells that nobody has begun, then the next launches of its own. So a cell's launches
lie apart in time, and a fast host begins more cells than a slow one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.study.executor import Progress, Turn
    from sparsemark.study.host_classes import HostClass

ATTEMPTS = 3
"""Times that a cell is begun: a host that is lost costs one."""


@dataclass
class _Cell:
    """Launches to come of one cell, in their order, with the place of each in the order of all."""

    turns: list[tuple[int, Turn]]
    progress: Progress
    attempts: int = 1
    host: str | None = None
    at_work: bool = False
    next: int = 0


class LaunchQueue:
    """Launches to come.

    Args:
        turns: in the order in which one host would do them.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._cells: dict[Progress, _Cell] = {}
        for place, turn in enumerate(turns):
            cell = self._cells.setdefault(turn.progress, _Cell([], turn.progress, host=turn.progress.host))
            cell.turns.append((place, turn))
        self._free: dict[HostClass, list[tuple[int, Progress]]] = {}
        self._own: dict[str, list[tuple[int, Progress]]] = {}
        for cell in self._cells.values():
            self._put(cell)

    def __bool__(self) -> bool:
        """Return whether a launch is to come or at work."""
        return bool(self._cells)

    def take(self, host: str, classes: Iterable[HostClass]) -> Turn | None:
        """Return the next launch for a free host; None where it has none.

        Args:
            host: its name.
            classes: that it belongs to.
        """
        for heap in (*(self._free.get(where, []) for where in classes), self._own.get(host, [])):
            while heap:
                place, progress = heapq.heappop(heap)
                cell = self._cells.get(progress)
                is_next = cell is not None and not cell.at_work and cell.turns[cell.next][0] == place
                if cell is not None and is_next and cell.host in (None, host):
                    cell.host, cell.at_work = host, True
                    return cell.turns[cell.next][1]
        return None

    def done(self, turn: Turn, *, failed: bool) -> None:
        """Note that a launch came back; where it failed, its cell has no further ones."""
        cell = self._cells[turn.progress]
        cell.at_work, cell.next = False, cell.next + 1
        if failed or cell.next == len(cell.turns):
            del self._cells[turn.progress]
        else:
            self._put(cell)

    def lose(self, host: str, at_work: Turn) -> Progress | None:
        """Take back what a lost host had at hand; return the cell at work where that was begun too often.

        A cell that has launches there waits for the host to come back, until `leave`.

        Args:
            host: that was lost.
            at_work: the launch that it was doing, which may be why it was lost.
        """
        given_up = None
        for cell in [cell for cell in self._cells.values() if cell.host == host and cell.at_work]:
            cell.attempts += cell.progress is at_work.progress
            if cell.attempts > ATTEMPTS:
                del self._cells[cell.progress]
                given_up = cell.progress
                continue
            cell.at_work = False
            if not cell.progress.launches:
                cell.host = None
            self._put(cell)
        return given_up

    def leave(self, host: str) -> None:
        """Begin the cells of a host that does not come back again, on whichever host of their class is free."""
        for cell in self._cells.values():
            if cell.host == host:
                place, turn = cell.turns[cell.next]
                cell.turns = [(place, turn)] * len(cell.progress.launches) + cell.turns[cell.next :]
                cell.next, cell.host, cell.at_work = 0, None, False
                cell.progress.launches.clear()
                self._put(cell)

    def give_up(self, where: HostClass) -> list[Progress]:
        """Drop the launches of a class that has no host any more, and return their cells."""
        dropped = [cell.progress for cell in self._cells.values() if cell.progress.where == where]
        for progress in dropped:
            del self._cells[progress]
        return dropped

    def classes(self) -> set[HostClass]:
        """Return the classes that have launches to come."""
        return {cell.progress.where for cell in self._cells.values()}

    def hosts(self) -> set[str]:
        """Return the hosts whose cells are begun."""
        return {cell.host for cell in self._cells.values() if cell.host is not None}

    def _put(self, cell: _Cell) -> None:
        place = cell.turns[cell.next][0]
        heap = (
            self._free.setdefault(cell.progress.where, []) if cell.host is None else self._own.setdefault(cell.host, [])
        )
        heapq.heappush(heap, (place, cell.progress))
