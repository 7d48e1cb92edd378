"""Executor: where the stages of a study run. `launches.Here` is this process; `study.sweep` has that of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.launches import merged
from sparsemark.study import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sparsemark.machine.host import Host
    from sparsemark.measurement.launch import Job, Launch
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell, Variant
    from sparsemark.specs import Protocol as TimingProtocol
    from sparsemark.study.checked import Checked
    from sparsemark.study.host_classes import HostClass
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.watch import Watch


@dataclass(eq=False)
class Progress:
    """Launches of one cell on one class of hosts, so far; all are of one host.

    Args:
        cell: that is measured.
        where: class of its hosts.
        key: under which launches are journalled; None where the network cannot be made.
        parts: protocols that its launches go through in turn.
        launches: their rows, in order.
        checked: what can be timed; None where all that is wanted was in the journal.
        failed: the row of a cell that cannot be measured.
        wanted: number of launches that are enough.
    """

    cell: Cell
    where: HostClass
    key: str | None
    parts: Sequence[TimingProtocol]
    wanted: int
    launches: list[Measurement] = field(default_factory=list)
    checked: Checked | None = None
    failed: Measurement | None = None

    @property
    def row(self) -> Measurement:
        """The cell's row as it stands."""
        return self.failed or merged(self.launches, self.wanted)

    @property
    def missing(self) -> int:
        """Launches that are still to be done: those not begun, and as many again as were contaminated."""
        if self.failed is not None:
            return 0
        clean = sum(not contamination_of(row) for row in self.launches)
        return min(self.wanted - clean, 2 * self.wanted - len(self.launches))

    @property
    def host(self) -> str | None:
        """Name of the host of its launches; None where there is none, or this process does not say."""
        return self.launches[0].host if self.launches else None

    def job(self) -> Job:
        """Describe the next launch."""
        if self.checked is None or self.checked.job is None:
            raise ValueError(f"{self.cell.name}: nothing to time")
        part = self.parts[len(self.launches) % len(self.parts)]
        job = self.checked.job
        return replace(job, protocol=replace(job.protocol, pairs=part.pairs))

    def add(self, launch: Launch, host: Host | None) -> Measurement:
        """Add a launch and return its row; those of another host do not count any more."""
        if self.checked is None:
            raise ValueError(f"{self.cell.name}: nothing to time")
        row = self.checked.with_launch(launch)
        if host is not None:
            row = rows.with_host(row, host, self.where.name)
            self.launches = [one for one in self.launches if one.host == host.name]
        self.launches.append(row)
        return row


@dataclass(frozen=True)
class Turn:
    """One launch to come, named for the display."""

    name: str
    progress: Progress


@dataclass(frozen=True)
class Outcome:
    """What came of a turn.

    Args:
        progress: its cell.
        launch: raw seconds, or why there are none.
        host: that it ran on, where an executor has several.
    """

    progress: Progress
    launch: Launch | Exception
    host: Host | None = None


class Executor(Protocol):
    """Where stages run."""

    def classes(self) -> Sequence[HostClass]:
        """Return the classes of its hosts."""

    def prepare_ahead(self, pipeline: Pipeline, variants: Sequence[Variant], watch: Watch) -> None:
        """Prepare what other processes can, so that the pipeline finds it or knows why not."""

    def check_ahead(self, pipeline: Pipeline, cells: Callable[[], Iterable[Cell]], watch: Watch) -> None:
        """Check what other processes can.

        Args:
            pipeline: of the study.
            cells: returns those that have launches to come.
            watch: shows progress.
        """

    def check(self, pipeline: Pipeline, cell: Cell) -> Checked:
        """Return a cell with all but its timing; errors as in `Pipeline.check`."""

    def shown(self, turns: Sequence[Turn]) -> Sequence[object]:
        """Return an item a turn, whose name says what is at work."""

    def launch(self, turns: Sequence[Turn]) -> Iterator[Outcome | None]:
        """Do launches, and yield what came of them; None for a turn of a cell that has failed meanwhile."""

    def conditions(self, where: HostClass, engines: Iterable[str], *, measured_now: bool) -> Mapping[str, Any]:
        """Return machine and versions of a class; arguments as in `conditions.conditions`."""
