"""Journal: finished cells, one line of JSON each with its checksum, written and synced when the cell is done.

The cell of a damaged line is measured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.records.benchmark_json import from_benchmark, to_benchmark
from sparsemark.records.checked_lines import read_lines
from sparsemark.records.keyed import KeyedFile

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

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


class Journal(KeyedFile["Measurement"]):
    """Finished cells by key, in a file of JSON lines; arguments and errors as in `KeyedFile`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _CONTENT, to_benchmark, from_benchmark)
        self._taken: dict[str, Measurement] = {}

    def get(self, key: str) -> Measurement | None:
        """Return the finished cell of this key, or None."""
        found = super().get(key)
        if found is not None:
            self._taken[key] = found
        return found

    @property
    def taken(self) -> tuple[Measurement, ...]:
        """Finished cells that `get` returned, each once."""
        return tuple(self._taken.values())

    def measurements(self) -> tuple[Measurement, ...]:
        """Return every finished cell, in the order in which they were finished."""
        return tuple(self._entries.values())
