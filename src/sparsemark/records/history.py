"""History: ratios of measured cells over commits, one line of JSON a cell and run, appended by any number of processes.

Milliseconds of two days are not comparable; a ratio to the reference of the same run is. A series is one cell on one
machine, over one reference.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.files import key_of, lock
from sparsemark.records import typed
from sparsemark.records.checked_lines import append, is_torn, read_lines, write_line
from sparsemark.records.ranges import Count, Drift, Fraction, Ratio, ScoreValue  # noqa: TC001 - files are read by these

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_LOG = logging.getLogger(__name__)

# History of the schema:
# 1: the first.
_SCHEMA = 1

_CONTENT = "point"
"""Field of a line with the ratios of a cell."""

_BEGINNING = b'{"key": "'
"""Of every line: where it is torn and the only one, this tells a history from another file."""

_ORDER = (("speedup_low", "speedup_high"),)


@dataclass(frozen=True)
class Point:
    """One cell of one run. Absent is None.

    Args:
        cell: its name.
        machine: short name of the machine.
        machine_key: machines with the same key can be compared.
        when: the cell was timed, ISO 8601.
        speedup: time of the reference / time of the cell, median of paired blocks.
        speedup_low: lower end of its 95 % interval.
        speedup_high: upper end.
        reference: name of the cell that was the reference.
        time_over_reference: median time of the cell / median time of the reference.
        commit: that was timed.
        metric: name of the headline score.
        score: its value, in the metric's unit.
        artifact_bytes: size of the file that was timed.
        reference_drift: how much the reference moved within the cell, as a fraction.
        steal: share of the processor that other guests took.
        waited: share of the time that other processes had the processor.
    """

    cell: str
    machine: str
    machine_key: str
    when: str
    speedup: Ratio
    speedup_low: Ratio | None = None
    speedup_high: Ratio | None = None
    reference: str | None = None
    time_over_reference: Ratio | None = None
    commit: str | None = None
    metric: str | None = None
    score: ScoreValue | None = None
    artifact_bytes: Count | None = None
    reference_drift: Drift | None = None
    steal: Fraction | None = None
    waited: Fraction | None = None

    @property
    def time(self) -> datetime:
        """When it was timed; a time without a zone is taken as UTC."""
        return _time(self.when, "when")


_FIELDS = tuple(field.name for field in fields(Point))


def points_of(run: Run, machine: str, machine_key: str) -> list[Point]:
    """Return the ratios of every measured cell that has a speedup.

    Args:
        run: what was measured.
        machine: short name of its machine.
        machine_key: key of its machine.

    Raises:
        ValueError: a cell or the run says of its date what is no date.
    """
    return [_point(m, m.speedup, run, machine, machine_key) for m in run.measured() if m.speedup is not None]


def _point(m: Measurement, speedup: float, run: Run, machine: str, machine_key: str) -> Point:
    # A resumed run holds cells of several days and commits.
    when, commit = m.measured_at or run.when, m.measured_commit or run.commit_info.get("id")
    _time(when, f"{m.name}: measured_at" if m.measured_at else "datetime")
    metric, score = m.headline or (None, None)
    return Point(
        cell=m.name,
        machine=machine,
        machine_key=machine_key,
        when=when,
        speedup=speedup,
        speedup_low=m.speedup_low,
        speedup_high=m.speedup_high,
        reference=m.speedup_reference,
        time_over_reference=m.p50_ms / m.reference_p50_ms if m.p50_ms and m.reference_p50_ms else None,
        commit=None if commit is None else str(commit),
        metric=metric,
        score=score.value if score else None,
        artifact_bytes=m.artifact_bytes,
        reference_drift=m.reference_drift,
        steal=m.steal,
        waited=m.waited,
    )


def _time(text: str, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{where} is {typed.shown(text)}, expected a date and time in ISO 8601") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read_history(path: Path) -> list[Point]:
    """Read a history, each line once, in the order of the file.

    Raises:
        UserError: the file is missing, cannot be read or is no history.
    """
    try:
        _check_is_file(path, path.stat())
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no history there; `sparsemark history add RUN.json` begins one") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return list(_parse(path, content).values())


def add_to_history(path: Path, points: Iterable[Point]) -> int:
    """Append the points that the file does not hold yet, and return their number.

    Processes that add at once wait for one another. The file is made if it is not there, its folder is not: a misspelt
    one would begin a history that nobody finds.

    Raises:
        UserError: the file is no history, its folder is not there or the disk is full; what was written before is kept.
    """
    keyed = {_key(point): point for point in points}
    with _held(path) as descriptor:
        content = _read(descriptor)
        known = _parse(path, content)
        new = {key: point for key, point in keyed.items() if key not in known}
        lines = (write_line(key, _CONTENT, {"schema": _SCHEMA, **asdict(point)}) for key, point in new.items())
        if new:
            append(descriptor, b"".join(lines), torn=is_torn(content))
    return len(new)


def _key(point: Point) -> str:
    """Return what the point of the same measurement has in every version of the schema."""
    return key_of(point.cell, point.machine_key, point.reference, point.when, point.commit, point.speedup)


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Open a file for reading and appending, and lock it for the block."""
    try:
        if not path.parent.is_dir():
            raise UserError(f"{path}: cannot be written: there is no folder {path.parent}")
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _check_is_file(path, os.fstat(descriptor))
            lock(descriptor, wait=True)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_is_file(path: Path, found: os.stat_result) -> None:
    """Refuse a pipe or a device, which would be waited for."""
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: expected a file")


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def _parse(path: Path, content: bytes) -> dict[str, Point]:
    """Return the points of a history by their keys.

    Raises:
        UserError: it has lines and none is ours, or one of ours holds what no point can be.
    """
    lines, damaged = read_lines(content, _CONTENT)
    if damaged and not lines and not _is_only_torn(content):
        raise UserError(f"{path}: expected lines of `sparsemark history add`, found none that is whole")
    if damaged:
        number = "1 line is" if damaged == 1 else f"{damaged} lines are"
        _LOG.warning("%s: %s damaged and passed over; adding the same run again restores it", path, number)
    points = {}
    for line in lines:
        try:
            points[line.key] = _checked(line.content)
        except ValueError as error:
            raise UserError(f"{path}: line {line.number}: {error}") from error
    return points


def _is_only_torn(content: bytes) -> bool:
    """Return whether this is what a crash left of the first line."""
    return not content.endswith(b"\n") and (content.startswith(_BEGINNING) or _BEGINNING.startswith(content))


def _checked(content: Any) -> Point:
    if not isinstance(content, dict):
        raise ValueError(f"{_CONTENT} is {typed.shown(content)}, expected an object")  # noqa: TRY004 - a file's value
    values: Mapping[str, Any] = content
    schema = values.get("schema")
    if isinstance(schema, bool) or schema != _SCHEMA:
        raise ValueError(f"{_CONTENT}.schema is {typed.shown(schema)}, this sparsemark reads {_SCHEMA}")
    places = {name: f"{_CONTENT}.{name}" for name in _FIELDS}
    point = typed.record({name: values.get(name) for name in _FIELDS}, Point, places)
    _time(point.when, places["when"])
    return typed.in_order(point, _ORDER, places)
