"""Interrupts that no library swallows: Ctrl-C, SIGTERM and SIGHUP.

Some libraries turn them into other errors, above all while they are being imported.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that would end the process at once, temporary folders and children left behind."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP. As a Ctrl-C, so that whatever cleans up after that cleans up after them.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupts:
    """Handler of the signals. Called, it raises again what came, even if a library caught it."""

    def __init__(self) -> None:
        self.came: int | None = None
        self._deaf = False

    def __call__(self) -> None:
        """Raise KeyboardInterrupt, or Terminated, if a signal came."""
        if self.came is not None:
            raise _interrupt(self.came)

    def ignore(self) -> None:
        """Let later signals pass: the process is ending already."""
        self._deaf = True

    def handle(self, number: int, _: object) -> None:
        """Raise what belongs to a signal; Python calls this."""
        if not self._deaf:
            self.came = number
            raise _interrupt(number)


@contextmanager
def raised_again() -> Iterator[Interrupts]:
    """Yield a function that raises KeyboardInterrupt if an interrupt came within the block, even if it was caught.

    Within the block SIGTERM and SIGHUP raise Terminated. A block within a block shares the outer one's function. Where
    the process ignores a signal, handles it in its own way, or this is not its main thread, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    standard: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_ENDING, signal.SIG_DFL)}
    handlers = {number: signal.getsignal(number) for number in standard}
    for handler in handlers.values():
        outer = getattr(handler, "__self__", None)
        if isinstance(outer, Interrupts):
            yield outer
            return
    interrupts = Interrupts()
    replaced = [number for number, plain in standard.items() if handlers[number] == plain]
    try:
        for number in replaced:
            signal.signal(number, interrupts.handle)
        yield interrupts
    finally:
        for number in replaced:
            signal.signal(number, handlers[number])


def _interrupt(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
