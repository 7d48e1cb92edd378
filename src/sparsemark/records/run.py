"""Run: everything one command measured on one machine, with its conditions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

from sparsemark.records.benchmark_json import finished_cells, write_document
from sparsemark.records.measurement import MEASURED, Measurement, _mapping

JOURNAL_SUFFIX = ".jsonl"
"""Of a file with one finished cell a line, each with the key of what decided its measurement."""


@dataclass(frozen=True)
class Run:
    """Everything one command measured on one machine, with its conditions."""

    measurements: tuple[Measurement, ...]
    machine_info: Mapping[str, Any] = field(default_factory=dict)
    commit_info: Mapping[str, Any] = field(default_factory=dict)
    when: str = ""

    def measured(self) -> list[Measurement]:
        """The cells that have a latency."""
        return [m for m in self.measurements if m.status == MEASURED]

    def document(self) -> dict[str, Any]:
        """The run as pytest-benchmark's JSON document."""
        from pytest_benchmark import __version__ as version

        return {
            "machine_info": dict(self.machine_info),
            "commit_info": dict(self.commit_info),
            "benchmarks": [m.to_benchmark() for m in self.measurements],
            "datetime": self.when or datetime.now(UTC).isoformat(),
            "version": version,
        }

    def save(self, path: Path) -> None:
        """Write the run as pytest-benchmark JSON, whole or not at all; errors as in `write_document`."""
        write_document(path, self.document())

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a run from `--benchmark-json`, `sparsemark bench --json` or `sparsemark run`, or an unfinished one.

        Benchmarks of other suites in the same file are passed over. A journal (`.jsonl`) is what a command leaves that
        did not live to write its result file: the cells that it finished, the latest of each, without the machine.

        Raises:
            UserError: the file is missing, unreadable, not JSON, or holds no results of sparsemark.
        """
        content = _content(path)
        if path.suffix == JOURNAL_SUFFIX:
            finished = {m.name: m for _, m in finished_cells(content)}
            if not finished:
                raise UserError(f"{path}: expected lines of sparsemark's journal, found none that is whole")
            return cls(tuple(finished.values()))
        document = _document(path, content)
        measurements = []
        for index, entry in enumerate(document["benchmarks"]):
            info = entry.get("extra_info") if isinstance(entry, dict) else None
            if not isinstance(info, dict) or "schema" not in info:
                continue
            try:
                measurements.append(Measurement.from_benchmark(entry))
            except (KeyError, OverflowError, ValueError) as error:
                what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                raise UserError(f"{path}: benchmarks[{index}]: {what}") from error
        if not measurements:
            raise UserError(f"{path}: benchmarks: no entry has extra_info.schema, so none was made by sparsemark")
        try:
            machine_info, commit_info = _mapping(document, "machine_info"), _mapping(document, "commit_info")
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        return cls(tuple(measurements), machine_info, commit_info, str(document.get("datetime") or ""))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _document(path: Path, content: bytes) -> dict[str, Any]:
    """Parse what pytest-benchmark writes, as far as the list of its benchmarks."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON from --benchmark-json: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise UserError(f"{path}: benchmarks: expected the list that pytest-benchmark writes")
    return document
