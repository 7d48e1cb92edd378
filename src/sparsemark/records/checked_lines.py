"""Lines of JSON with a key and a checksum each, appended to a file whose last line a crash may tear.

A line that was torn, or that does not have its checksum, is passed over; the next one begins on a line by itself.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from typing import Any

from sparsemark.files import key_of

_CHECK = "check"
"""Field of a line: first hex digits of the SHA-256 of its key and content."""


@dataclass(frozen=True)
class Line:
    """A whole line.

    Args:
        number: in the file, from 1.
        key: names what the content was made from.
        content: parsed JSON.
    """

    number: int
    key: str
    content: Any


def read_lines(text: bytes, field: str) -> tuple[list[Line], int]:
    """Return the whole lines whose content stands in `field`, and the number of damaged ones.

    Lines without a checksum are read as they are: older versions wrote none.
    """
    lines, damaged = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            key, content = entry["key"], entry[field]
            is_changed = _CHECK in entry and entry[_CHECK] != key_of(key, content)
        except (ValueError, KeyError, TypeError, RecursionError):
            is_changed = True
        if is_changed:
            damaged += 1
        else:
            lines.append(Line(number, str(key), content))
    return lines, damaged


def write_line(key: str, field: str, content: Any) -> bytes:
    """Return a line.

    Raises:
        ValueError: JSON cannot hold a number in it.
    """
    return json.dumps({"key": key, field: content, _CHECK: key_of(key, content)}, allow_nan=False).encode() + b"\n"


def is_torn(text: bytes) -> bool:
    """Return whether the last line lacks its end."""
    return bool(text) and not text.endswith(b"\n")


def append(descriptor: int, lines: bytes, *, torn: bool) -> None:
    """Write lines to disk in one piece, so that lines of other processes stand before or after them.

    Args:
        descriptor: of a file that is open for appending.
        lines: each with its end.
        torn: whether the last line of the file lacks its end: a new one must begin, or both would be lost.

    Raises:
        OSError: the disk is full; what was written before is kept.
    """
    content = b"\n" + lines if torn else lines
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)
