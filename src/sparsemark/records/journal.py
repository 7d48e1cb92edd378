"""What is finished stays finished: one line of JSON per cell, written and synced when the cell is done.

A line that a crash tore is passed over; its cell is measured again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.records.benchmark_json import finished_cells

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.records.measurement import Measurement


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
        # Lines that a crash tore, or of an older schema, are not among them: measured again.
        self._entries = dict(finished_cells(text))

    def get(self, key: str) -> Measurement | None:
        """The finished cell of this key, if there is one."""
        return self._entries.get(key)

    def append(self, key: str, measurement: Measurement) -> None:
        """Write a finished cell to disk.

        Raises:
            UserError: the disk is full; what was written before is kept.
        """
        line = json.dumps({"key": key, "benchmark": measurement.to_benchmark()}, allow_nan=False) + "\n"
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
        """Every finished cell, in the order in which they were finished."""
        return tuple(self._entries.values())

    def discard(self) -> None:
        """Remove the file: every cell in it has gone into a result file."""
        self.path.unlink(missing_ok=True)
