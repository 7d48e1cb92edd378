"""Earlier results: a measured cell is never lost to a later run in which it could not be measured."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from shutil import copyfile
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.files import replacing
from sparsemark.records.measurement import MEASURED, UNSUPPORTED
from sparsemark.records.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

_NAMED = 3
"""Cells that the message names; the others are counted."""


@dataclass(frozen=True)
class Lost:
    """Cells that were measured and are measured no more.

    Args:
        line: names the cells and the file that has them.
        broke: whether one of them broke or failed parity; else they are unsupported now, such as for want of a package.
    """

    line: str
    broke: bool


def check_replaceable(path: Path) -> None:
    """Check that a path names an earlier result file, an empty one or none: others may hold what nobody has twice.

    Raises:
        UserError: it names another file, or one that cannot be read.
    """
    try:
        if path.exists() and path.stat().st_size:
            Run.load(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UserError as error:
        raise UserError(
            f"--json {error}; it would be replaced, expected an earlier result file of sparsemark or a new name"
        ) from error


def keep_earlier(path: Path, measurements: Sequence[Measurement]) -> Lost | None:
    """Keep the result file that is about to be replaced, if it has cells that are measured no more.

    It is copied to `NAME.previous.json`, or `NAME.previous2.json` and so on where that is taken; files kept earlier
    count as well, so that the loss is reported until the cells are measured again or those files are gone.

    Args:
        path: of the result file.
        measurements: rows of the new one.

    Returns:
        What is lost; None where nothing is.

    Raises:
        UserError: the copy cannot be written.
    """
    now = {m.name: m for m in measurements if m.status != MEASURED}
    kept: dict[str, Path] = {}
    for file in previous_files(path):
        kept |= dict.fromkeys(_lost(file, now), file)
    lost = _lost(path, now)
    if lost:
        target = next(name for name in _names(path) if not name.exists())
        with replacing(target) as copy:
            copyfile(path, copy)
        kept |= dict.fromkeys(lost, target)
    if not kept:
        return None
    return Lost(_line(path, kept, now), any(now[name].status != UNSUPPORTED for name in kept))


def previous_files(path: Path) -> Iterator[Path]:
    """Yield the files that `keep_earlier` made of a result file, the oldest first."""
    for file in _names(path):
        if not file.exists():
            return
        yield file


def _names(path: Path) -> Iterator[Path]:
    for number in count(1):
        yield path.with_name(f"{path.stem}.previous{'' if number == 1 else number}{path.suffix}")


def _lost(path: Path, now: Mapping[str, Measurement]) -> list[str]:
    """Return the cells that are measured in a file and not now; none where it is no result file."""
    before: Iterable[Measurement] = ()
    if now and path.is_file():
        with suppress(UserError):
            before = Run.load(path).measured()
    return [m.name for m in before if m.name in now]


def _line(path: Path, kept: Mapping[str, Path], now: Mapping[str, Measurement]) -> str:
    names = sorted(kept)
    shown = "; ".join(
        f"{name} ({now[name].status}: {now[name].reason}; its result is kept in {kept[name]})"
        for name in names[:_NAMED]
    )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    number = "1 cell was" if len(names) == 1 else f"{len(names)} cells were"
    return f"{path}: {number} measured earlier and not now: {shown}{more}"
