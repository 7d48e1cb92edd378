"""Files of /proc and /sys, read as text."""

from __future__ import annotations

from pathlib import Path


def first_line(path: str) -> str | None:
    """Return the first line of a file, or None where it is empty or absent."""
    return read(path).partition("\n")[0] or None


def read(path: str) -> str:
    """Return the text of a file; empty where the system has none."""
    try:
        return Path(path).read_text()
    except OSError:  # not Linux, or hidden from this container
        return ""
