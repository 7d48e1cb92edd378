"""Run: everything one command measured on one machine, with its conditions."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.records import typed
from sparsemark.records.benchmark_json import (
    engine_notes,
    from_benchmark,
    is_timed,
    notes,
    origin_of,
    to_benchmark,
    write_document,
)
from sparsemark.records.journal import JOURNAL_SUFFIX, cell_key, read_journal
from sparsemark.records.measurement import MEASURED
from sparsemark.records.ranges import Count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sparsemark.records.engine_note import EngineNote
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.origin import Origin


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Everything one command measured on one machine, with its conditions.

    Args:
        measurements: in the order of the tables.
        machine_info: the machine and the versions of the packages.
        commit_info: the commit of the code.
        when: ISO 8601.
        engines: labels, looks and devices of the engines that were timed, by name; empty in files of schema 1.
        origin: how its files are made again; None where no single network was named on a command line.
    """

    measurements: tuple[Measurement, ...]
    machine_info: Mapping[str, Any] = field(default_factory=dict)
    commit_info: Mapping[str, Any] = field(default_factory=dict)
    when: str = ""
    engines: Mapping[str, EngineNote] = field(default_factory=dict)
    origin: Origin | None = None

    def measured(self) -> list[Measurement]:
        """Return the cells that ran and agreed."""
        return [m for m in self.measurements if m.status == MEASURED]

    def document(self) -> dict[str, Any]:
        """Return the run as pytest-benchmark's JSON document."""
        from pytest_benchmark import __version__ as version

        unmeasured = []
        for position, measurement in enumerate(self.measurements):
            if not is_timed(measurement):
                entry = to_benchmark(measurement)
                entry["sparsemark"]["position"] = position
                unmeasured.append(entry)
        return {
            "machine_info": dict(self.machine_info),
            "commit_info": dict(self.commit_info),
            "benchmarks": [to_benchmark(m) for m in self.measurements if is_timed(m)],
            "datetime": self.when or datetime.now(UTC).isoformat(),
            "version": version,
            "sparsemark": notes(self.engines, unmeasured, self.origin),
        }

    def save(self, path: Path) -> None:
        """Write the run as pytest-benchmark JSON, whole or not at all; errors as in `write_document`."""
        write_document(path, self.document())

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a run from `--benchmark-json`, `sparsemark bench --json` or `sparsemark run`, or an unfinished one.

        Benchmarks of other suites in the same file are passed over. A journal (`.jsonl`) is what a command leaves that
        did not live to write its result file: the cells that it finished, the latest of each, without the machine. A
        cell that was measured in several launches is a row for each.

        Raises:
            UserError: the file is missing, unreadable, not JSON, or holds no results of sparsemark.
        """
        content = _content(path)
        if path.suffix == JOURNAL_SUFFIX:
            lines = read_journal(content)
            if lines.impossible:
                raise UserError(f"{path}: {lines.impossible}")
            finished = _latest(lines.entries)
            if not finished:
                raise UserError(f"{path}: expected lines of sparsemark's journal, found none that is whole")
            if lines.damaged:
                _LOG.warning("%s: damaged lines passed over: %d", path, lines.damaged)
            return cls(finished)
        document = _document(path, content)
        try:
            measurements = _measurements(document)
            machine_info, commit_info = typed.shallow(document, "machine_info"), typed.shallow(document, "commit_info")
            when = typed.scalar(document.get("datetime"), str | None, "datetime") or ""
            engines = engine_notes(typed.mapping(document, "sparsemark"))
            origin = origin_of(typed.mapping(document, "sparsemark"))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
        if not measurements:
            raise UserError(f"{path}: benchmarks: no entry has extra_info.schema, so none was made by sparsemark")
        return cls(tuple(measurements), machine_info, commit_info, when, engines, origin)


def _latest(entries: Sequence[tuple[str, Measurement]]) -> tuple[Measurement, ...]:
    """Return the latest measurement of each name, with all launches that it has under its key."""
    latest = {measurement.name: cell_key(key) for key, measurement in entries}
    kept = {key: m for key, m in entries if latest[m.name] == cell_key(key)}
    return tuple(sorted(kept.values(), key=lambda m: list(latest).index(m.name)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _document(path: Path, content: bytes) -> dict[str, Any]:
    """Parse what pytest-benchmark writes, as far as the list of its benchmarks."""
    import msgspec

    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        # Four times as slow, but it reads NaN, so that the field can be named.
        document = _parsed(path, content)
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise UserError(f"{path}: benchmarks: expected the list that pytest-benchmark writes")
    return document


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        found = "its bytes are no text" if isinstance(error, UnicodeDecodeError) else error
        raise UserError(
            f"{path}: expected a result file of sparsemark (JSON, as --json OUT writes it): {found}"
        ) from error


def _measurements(document: Mapping[str, Any]) -> list[Measurement]:
    """Read every row in the order of the run: those without a latency go back to their positions."""
    rows = [
        _row(entry, f"benchmarks[{index}]")
        for index, entry in enumerate(document["benchmarks"])
        if isinstance(entry, dict) and isinstance(entry.get("extra_info"), dict) and "schema" in entry["extra_info"]
    ]
    where = "sparsemark.unmeasured"
    unmeasured = typed.mapping(document, "sparsemark").get("unmeasured") or []
    if not isinstance(unmeasured, list):
        raise ValueError(f"{where} is {type(unmeasured).__name__}, expected a list")  # noqa: TRY004 - a field's value
    for index, entry in enumerate(unmeasured):
        row = _row(entry, f"{where}[{index}]")
        # pytest has no position to give: it knows no order but that of its tests.
        position = typed.mapping(entry, "sparsemark").get("position")
        position = typed.scalar(position, Count | None, f"{where}[{index}].sparsemark.position")
        rows.insert(len(rows) if position is None else position, row)
    return rows


def _row(entry: Any, where: str) -> Measurement:
    try:
        return from_benchmark(entry)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
