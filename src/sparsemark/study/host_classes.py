"""Classes of hosts: whose latencies stand in one table, and which cells are measured there.

Ratios are computed within a host, and tables hold hosts of one processor; classes are compared afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from sparsemark.errors import UserError
from sparsemark.files import key_of
from sparsemark.machine.fingerprint import machine_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.machine.host import Host
    from sparsemark.specs import Cell


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A class's name is part of file names."""


class HostEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[[host]]` of a study file, as written."""

    name: str
    cells: tuple[str, ...] = ("*",)
    processor: str | None = None
    host: str | None = None


@dataclass(frozen=True)
class HostTable:
    """Hosts as a study names them; without `processor` and `host`, all that there are.

    Args:
        name: of the class, in tables.
        cells: patterns of the names of the cells that are measured there, such as `cnn9-*-direct-csr`.
        processor: pattern of the processor's model, such as `AMD EPYC*`.
        host: name of the only one.
    """

    name: str
    cells: tuple[str, ...] = ("*",)
    processor: str | None = None
    host: str | None = None

    def holds(self, host: Host) -> bool:
        """Return whether a host belongs to it."""
        if self.host is not None:
            return host.name == self.host
        return self.processor is None or fnmatchcase(host.processor, self.processor)

    @property
    def wanted(self) -> str:
        """Which hosts, in words."""
        if self.host is not None:
            return f"the name {self.host!r}"
        return "a host" if self.processor is None else f"the processor {self.processor!r}"


def tables_of(entries: Sequence[HostEntry], cells: Sequence[str]) -> tuple[HostTable, ...]:
    """Return the tables of a study file, checked.

    Args:
        entries: as written.
        cells: names of the study's.

    Raises:
        UserError: naming the field and what was expected.
    """
    for index, entry in enumerate(entries):
        where = f"host[{index}]"
        if not _NAME.fullmatch(entry.name):
            raise UserError(f"{where}.name: {entry.name!r}, expected letters, digits, '_', '.' and '-'")
        if entry.name in [one.name for one in entries[:index]]:
            raise UserError(f"{where}.name: {entry.name!r} is there twice, expected each class once")
        if entry.processor is not None and entry.host is not None:
            raise UserError(f"{where}.host: {entry.host!r}, expected none beside processor")
        for pattern in entry.cells or ("",):
            if not any(fnmatchcase(cell, pattern) for cell in cells):
                example = f", expected one such as {cells[0]}" if cells else ""
                raise UserError(f"{where}.cells: {pattern!r} is the name of no cell{example}")
    return tuple(HostTable(entry.name, entry.cells, entry.processor, entry.host) for entry in entries)


@dataclass(frozen=True)
class HostClass:
    """Hosts with the same processor.

    Args:
        name: in tables; empty where the study names no classes.
        machine: what decides a latency there, as `fingerprint.identity` returns it; empty for this machine.
        table: which hosts these are, and which cells are measured there.
    """

    name: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict, hash=False)
    table: HostTable = HostTable("")

    def takes(self, cell: Cell) -> bool:
        """Return whether a cell is measured there."""
        return any(fnmatchcase(cell.name, pattern) for pattern in self.table.cells)

    def holds(self, host: Host) -> bool:
        """Return whether a host belongs to it."""
        return self.machine == host.machine and self.table.holds(host)

    @property
    def folder(self) -> str:
        """Part of the names of its files: of machines alike, classes are told apart by their names."""
        machine = machine_name(self.machine or None)
        return f"{machine}-{self.table.name}" if self.table.name else machine


HERE = HostClass()
"""This machine."""


def classes_of(tables: Sequence[HostTable], hosts: Sequence[Host]) -> tuple[HostClass, ...]:
    """Return the classes of the hosts at hand: a table whose hosts have several processors is a class for each.

    Args:
        tables: of the study; empty where it has none, and then all hosts must be alike.
        hosts: each once.

    Raises:
        UserError: no host is what a table asks for, or hosts differ and no table says which cells run where.
    """
    if not tables:
        machines = _machines(hosts)
        if len(machines) > 1:
            names = "; ".join(f"{', '.join(host.name for host in of)}: {of[0].processor}" for of in machines)
            raise UserError(
                f"the workers' processors differ ({names}); expected classes of hosts in the study, [[host]]"
            )
        return (HostClass("", machines[0][0].machine),)
    classes: list[HostClass] = []
    for index, table in enumerate(tables):
        machines = _machines([host for host in hosts if table.holds(host)])
        if not machines:
            there = "; ".join(f"{host.name}: {host.processor}" for host in hosts)
            raise UserError(f"host[{index}]: no worker has {table.wanted} (there are: {there})")
        for first, *_ in machines:
            name = f"{table.name}, {machine_name(first.machine)}" if len(machines) > 1 else table.name
            classes.append(HostClass(name, first.machine, table))
    return tuple(classes)


def _machines(hosts: Iterable[Host]) -> list[list[Host]]:
    """Return hosts with the same processor together."""
    machines: dict[str, list[Host]] = {}
    for host in hosts:
        machines.setdefault(key_of(host.machine), []).append(host)
    return list(machines.values())
