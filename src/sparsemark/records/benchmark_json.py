"""tbd"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sparsemark.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

from sparsemark.records.measurement import Measurement


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode())


def finished_cells(journal: bytes) -> Iterator[tuple[str, Measurement]]:
    """Read the lines of a journal that are whole, each with its key; those a crash tore are passed over."""
    for line in journal.splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["key"]), Measurement.from_benchmark(entry["benchmark"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
