"""Journal: finished cells, one line of JSON each with its checksum, written and synced when the cell is done.

The cell of a damaged line is measured again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.records.benchmark_json import from_benchmark, to_benchmark
from sparsemark.records.checked_lines import append, is_torn, read_lines, write_line

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

_LOG = logging.getLogger(__name__)

_CONTENT = "benchmark"
"""Field of a line with the cell, as in a result file."""

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


def read_journal(journal: bytes) -> Lines:
    """Read the lines of a journal that are whole."""
    whole, damaged = read_lines(journal, _CONTENT)
    entries, impossible = [], None
    for line in whole:
        try:
            entries.append((line.key, from_benchmark(line.content)))
        except ValueError as error:
            damaged += 1
            impossible = impossible or f"line {line.number}: {error}"
    return Lines(tuple(entries), damaged, impossible)


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
        self._torn = is_torn(text)
        lines = read_journal(text)
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
        line = write_line(key, _CONTENT, to_benchmark(measurement))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                append(file.fileno(), line, torn=self._torn)
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
