"""Journal: finished cells, one line of JSON each, written and synced when the cell is done.

A line that a crash tore is passed over; its cell is measured again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.records.benchmark_json import from_benchmark, to_benchmark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

JOURNAL_SUFFIX = ".jsonl"
"""Of a file with one finished cell a line, each with the key of what decided its measurement."""


def finished_cells(journal: bytes) -> Iterator[tuple[str, Measurement]]:
    """Read the lines of a journal that are whole, each with its key; others are passed over, to be measured again."""
    for _, key, entry in _entries(journal):
        with suppress(ValueError):
            yield key, from_benchmark(entry)


def reported_cells(journal: bytes) -> Iterator[Measurement]:
    """Read the lines of a journal that are whole, for a report; those a crash tore are passed over.

    Raises:
        ValueError: a whole line holds what no measurement can be, naming line and field. A crash does not do that.
    """
    for number, _, entry in _entries(journal):
        try:
            yield from_benchmark(entry)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error


def _entries(journal: bytes) -> Iterator[tuple[int, str, Any]]:
    """Yield number, key and entry of each line that is JSON and has both."""
    for number, line in enumerate(journal.splitlines(), start=1):
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            whole = json.loads(line)
            yield number, str(whole["key"]), whole["benchmark"]


class Journal:
    """Finished cells by key, in a file of JSON lines.

    Args:
        path: the file; made with the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False
        try:
            text = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        self._torn = bool(text) and not text.endswith(b"\n")
        self._entries = dict(finished_cells(text))

    def get(self, key: str) -> Measurement | None:
        """Return the finished cell of this key, or None."""
        return self._entries.get(key)

    def append(self, key: str, measurement: Measurement) -> None:
        """Write a finished cell to disk.

        Raises:
            UserError: the disk is full; what was written before is kept.
        """
        line = json.dumps({"key": key, "benchmark": to_benchmark(measurement)}, allow_nan=False) + "\n"
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
        self._torn = False
        self._entries[key] = measurement

    def measurements(self) -> tuple[Measurement, ...]:
        """Return every finished cell, in the order in which they were finished."""
        return tuple(self._entries.values())

    def discard(self) -> None:
        """Remove the file: every cell in it has gone into a result file."""
        self.path.unlink(missing_ok=True)
