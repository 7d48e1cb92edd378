"""Lines that a process which measures writes for the reader, and their way through the process that started it."""

from __future__ import annotations

import logging
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NOTICE = "sparsemark: "
"""Prefix of lines on stderr that are for the reader, not for the one who looks for the process's fault."""

_KEPT_LINES = 20
"""Lines of stderr that are kept, to quote the last from."""


class _Notices(logging.Handler):
    """Lines for the reader, to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        sys.stderr.write(f"{NOTICE}{self.format(record)}\n")
        sys.stderr.flush()


def send_notices() -> None:
    """Write what this process logs for the reader, such as what it waits for, to stderr from now on."""
    own = logging.getLogger("sparsemark")
    own.addHandler(_Notices(logging.INFO))
    own.setLevel(logging.INFO)


def read_stderr(stream: IO[bytes], kept: list[str], notice: Callable[[str], None]) -> None:
    """Read a process's stderr to its end.

    Args:
        stream: of the process.
        kept: is given the last lines that are not for the reader.
        notice: is given lines for the reader.
    """
    for raw in stream:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith(NOTICE):
            notice(line.removeprefix(NOTICE))
        elif line:
            kept.append(line)
            del kept[:-_KEPT_LINES]
