"""Keyed file: values by key, one checked line each, read again by a command that goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sparsemark.errors import UserError
from sparsemark.records.checked_lines import append, is_torn, read_lines, write_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOG = logging.getLogger(__name__)

V = TypeVar("V")


class KeyedFile(Generic[V]):
    """Values by key, in a file of JSON lines. Logs how many lines are damaged, if any.

    `has_grown` says whether anything was appended.

    Args:
        path: the file; made with the first entry.
        field: of a line, with the value.
        dump: returns a value as JSON.
        load: returns the value of JSON; raises ValueError where it is none.

    Raises:
        UserError: the file cannot be read.
    """

    def __init__(self, path: Path, field: str, dump: Callable[[V], Any], load: Callable[[Any], V]) -> None:
        self.path = path
        self._field, self._dump = field, dump
        try:
            text = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        self._torn = is_torn(text)
        lines, self.damaged = read_lines(text, field)
        self._entries: dict[str, V] = {}
        for line in lines:
            try:
                self._entries[line.key] = load(line.content)
            except ValueError:
                self.damaged += 1
        if self.damaged:
            number = "1 line is" if self.damaged == 1 else f"{self.damaged} lines are"
            _LOG.warning("%s: %s damaged and passed over; what stood there is measured again", path, number)
        self.has_grown = False

    def get(self, key: str) -> V | None:
        """Return the value of this key, or None."""
        return self._entries.get(key)

    def append(self, key: str, value: V) -> None:
        """Write a value to disk.

        Raises:
            UserError: the disk is full; what was written before is kept.
        """
        line = write_line(key, self._field, self._dump(value))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                append(file.fileno(), line, torn=self._torn)
        except OSError as error:
            self._torn = True
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._torn, self.has_grown = False, True
        self._entries[key] = value

    def discard(self) -> None:
        """Remove the file: every value in it has gone into a result file."""
        self.path.unlink(missing_ok=True)
