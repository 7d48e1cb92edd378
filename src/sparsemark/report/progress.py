"""Progress with the time left, on stderr, so that what a command prints can be piped.

A terminal shows a bar. Elsewhere a line is written every few seconds, also while one cell takes minutes.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

EVERY = 9.0
"""Seconds until the first line, which short commands never write, and between lines: below 10 on a busy machine too."""


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is being waited for while nobody knows how long it takes."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{what} ..."):
            yield
        return
    started = time.monotonic()
    with lines_in_a_pipe(lambda: f"{what}: {_clock(time.monotonic() - started)} elapsed"):
        yield


def watch(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield items and show which is at work.

    Args:
        items: with a `name` each.
        what: what they are, in the plural.
    """
    console = Console(stderr=True)
    yield from _behind_a_bar(items, what, console) if console.is_terminal else _beside_lines(items, what)


def _behind_a_bar(items: Sequence[T], what: str, console: Console) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=len(items))
        for item in items:
            progress.update(task, description=f"{what}: {_name(item)}")
            yield item
            progress.advance(task)
        progress.update(task, description=what)


def _beside_lines(items: Sequence[T], what: str) -> Iterator[T]:
    started, done, current = time.monotonic(), 0, ""

    def line() -> str:
        elapsed = time.monotonic() - started
        left = f"about {_clock(elapsed / done * (len(items) - done))} left" if done else "time left not known yet"
        return f"{what}: {done + 1} of {len(items)}: {current}, {_clock(elapsed)} elapsed, {left}"

    with lines_in_a_pipe(line):
        for done, item in enumerate(items):  # noqa: B007 - `line` reads it
            current = _name(item)
            yield item


@contextmanager
def lines_in_a_pipe(line: Callable[[], str]) -> Iterator[None]:
    """Write a line to stderr now and then while the block runs.

    Args:
        line: returns the text; called from another thread.
    """
    ended = threading.Event()
    writer = threading.Thread(target=_write, args=(line, ended), name="progress", daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


class _Due:
    """When the next line is due: of the whole command, so that many short stages do not stay silent."""

    def __init__(self) -> None:
        self._moment: float | None = None

    def seconds(self) -> float:
        """Return how long it is until then."""
        if self._moment is None:
            self._moment = time.monotonic() + EVERY
        return max(0.0, self._moment - time.monotonic())

    def written(self) -> None:
        """Set it anew, after a line."""
        self._moment = time.monotonic() + EVERY

    def begin(self) -> None:
        """Set it anew, for another command of the same process."""
        self._moment = None


_DUE = _Due()

begin = _DUE.begin


def _write(line: Callable[[], str], ended: threading.Event) -> None:
    while not ended.wait(_DUE.seconds()):
        try:
            sys.stderr.write(f"{line()}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it any more, or it is closed
            return
        _DUE.written()


def _name(item: object) -> str:
    return str(getattr(item, "name", item))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
