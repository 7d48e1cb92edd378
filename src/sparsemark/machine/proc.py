"""Files of /proc and /sys, read as text; empty where the system has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def first_line(path: str) -> str | None:
    return read(path).partition("\n")[0] or None


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux, or hidden from this container
        return ""
