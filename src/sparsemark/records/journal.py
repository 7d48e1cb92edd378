"""Journal: finished cells, one line of JSON each with its checksum, written and synced when the cell is done.

A line that a crash tore, or that does not have its checksum, is passed over; its cell is measured again. Lines of older
versions have no checksum and are read as they are.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.files import key_of
from sparsemark.records.benchmark_json import from_benchmark, to_benchmark

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

_LOG = logging.getLogger(__name__)

_CHECK = "check"
"""Field of a line: first hex digits of the SHA-256 of its key and benchmark."""

_LAUNCH = "-launch"
"""Between the key of a cell and the number of a launch of it."""

JOURNAL_SUFFIX = ".jsonl"
"""Of a file with one finished cell a line, each with the key of what decided its measurement."""


def launch_key(key: str, number: int) -> str:
    """Return the key of one launch of a cell that is measured in several processes."""
    return f"{key}{_LAUNCH}{number}"


def cell_key(key: str) -> str:
    """Return the key of the cell that a key, of a launch or of the cell, belongs to."""
    return key.partition(_LAUNCH)[0]


@dataclass(frozen=True)
class Lines:
    """Lines of a journal.

    Args:
        entries: finished cells with their keys, in their order.
        damaged: number of lines that are none of ours, or no longer what was written.
        impossible: what is wrong with the first line that is whole and holds what no measurement can be, naming line
            and field; None where there is none. A crash does not do that.
    """

    entries: tuple[tuple[str, Measurement], ...]
    damaged: int
    impossible: str | None = None


def read_lines(journal: bytes) -> Lines:
    """Read the lines of a journal that are whole."""
    entries, damaged, impossible = [], 0, None
    for number, line in enumerate(journal.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            key, benchmark = str(entry["key"]), entry["benchmark"]
            is_changed = _CHECK in entry and entry[_CHECK] != _checksum(entry["key"], benchmark)
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
            continue
        if is_changed:
            damaged += 1
            continue
        try:
            entries.append((key, from_benchmark(benchmark)))
        except ValueError as error:
            damaged += 1
            impossible = impossible or f"line {number}: {error}"
    return Lines(tuple(entries), damaged, impossible)


def _checksum(key: str, benchmark: Mapping[str, Any]) -> str:
    return key_of(key, benchmark)


class Journal:
    """Finished cells by key, in a file of JSON lines. Logs how many lines are damaged, if any.

    `has_grown` says whether anything was appended.

    Args:
        path: the file; made with the first entry.

    Raises:
        UserError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False
        try:
            text = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        self._torn = bool(text) and not text.endswith(b"\n")
        lines = read_lines(text)
        if lines.damaged:
            number = "1 line is" if lines.damaged == 1 else f"{lines.damaged} lines are"
            _LOG.warning("%s: %s damaged and passed over; what stood there is measured again", path, number)
        self.damaged = lines.damaged
        self._entries = dict(lines.entries)
        self._taken: dict[str, Measurement] = {}
        self.has_grown = False

    def get(self, key: str) -> Measurement | None:
        """Return the finished cell of this key, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._taken[key] = found
        return found

    @property
    def taken(self) -> tuple[Measurement, ...]:
        """Finished cells that `get` returned, each once."""
        return tuple(self._taken.values())

    def append(self, key: str, measurement: Measurement) -> None:
        """Write a finished cell to disk.

        Raises:
            UserError: the disk is full; what was written before is kept.
        """
        benchmark = to_benchmark(measurement)
        entry = {"key": key, "benchmark": benchmark, _CHECK: _checksum(key, benchmark)}
        line = json.dumps(entry, allow_nan=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # After a torn line a new one must begin, or both would be lost.
                file.write((b"\n" if self._torn else b"") + line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._torn = True
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._torn, self.has_grown = False, True
        self._entries[key] = measurement

    def measurements(self) -> tuple[Measurement, ...]:
        """Return every finished cell, in the order in which they were finished."""
        return tuple(self._entries.values())

    def discard(self) -> None:
        """Remove the file: every cell in it has gone into a result file."""
        self.path.unlink(missing_ok=True)
