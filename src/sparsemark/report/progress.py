"""Progress with the time left, on stderr, so that what a command prints can be piped.

A terminal shows a bar. Elsewhere a line is written every few seconds, also while one cell takes minutes.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeElapsedColumn
from rich.text import Text

from sparsemark.machine import pace
from sparsemark.machine.at_work import step
from sparsemark.report.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from rich.console import RenderableType
    from rich.progress import Task

T = TypeVar("T")

_FOUND_S, _FOUND_PART = 1.0, 20
"""An item that took less than so many seconds, and less than this part of another of its kind, was found."""


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is being waited for, and the step at work, while nobody knows how long it takes."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(_Waiting(what)):
            yield
        return
    started = time.monotonic()
    with lines_in_a_pipe(lambda: f"{_with_step(what)}, {_clock(time.monotonic() - started)} elapsed"):
        yield


@dataclass
class _Waiting:
    """Words of a spinner, asked at each drawing."""

    what: str

    def __rich__(self) -> Text:
        return Text(f"{_with_step(self.what)} ...")


def watch(
    items: Sequence[T],
    what: str,
    kinds: Sequence[Hashable] | None = None,
    *,
    answer: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Yield items and show which is at work.

    Args:
        items: with a `name` each.
        what: what they are, in the plural.
        kinds: of the items: those of one kind take about as long. None where all are alike.
        answer: returns what is known so far, which stands above the bar of a terminal; called after each item.
    """
    console = Console(stderr=True)
    left = _Left([""] * len(items) if kinds is None else kinds)
    if console.is_terminal:
        yield from _behind_a_bar(items, what, console, left, answer)
    else:
        yield from _beside_lines(items, what, left)


class _Answered(Progress):
    """Bar with what is known so far above it."""

    answer = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the answer, where there is one, and the bar."""
        if self.answer:
            yield Text(self.answer)
        yield from super().get_renderables()


class _Working(ProgressColumn):
    """What is at work, asked at each drawing: on several hosts it changes while one item is waited for."""

    def __init__(self, words: Callable[[], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's protocol
        """Return the words as they are."""
        return Text(self._words())


class _Left(ProgressColumn):
    """Time left, by what items of the same kind took; a lower bound while a kind is to come of which none is done.

    It never rises while an item is at work: one that takes longer than its kind did counts as nearly done. What an
    earlier run of the command left behind is found in no time, and says nothing of what is to come.
    """

    def __init__(self, kinds: Sequence[Hashable]) -> None:
        super().__init__()
        self._kinds, self._done, self._since = kinds, 0, time.monotonic()
        self._taken: dict[Hashable, list[float]] = {}

    def advance(self) -> None:
        """Count the item at work as done."""
        now = time.monotonic()
        self._taken.setdefault(self._kinds[self._done], []).append(now - self._since)
        self._done, self._since = self._done + 1, now

    def words(self) -> str:
        """Return `about 0:02:10 left`, or `at least` so long."""
        remaining, working = self._kinds[self._done :], time.monotonic() - self._since
        means = {kind: _mean(taken) for kind, taken in list(self._taken.items())}
        if remaining and _is_found(means.get(remaining[0], working), working):
            del means[remaining[0]]  # all that is done of its kind
        known = [means[kind] for kind in remaining if kind in means]
        if not known:
            return "time left not known yet" if remaining else ""
        if remaining[0] in means:
            known[0] = max(0.0, known[0] - working)
        if len(known) == len(remaining):
            return f"about {_clock(sum(known))} left"
        # A bound of nothing says nothing.
        return f"at least {_clock(sum(known))} left" if round(sum(known)) else "time left not known yet"

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's protocol
        """Return the same for the bar of a terminal."""
        return Text(self.words())


def _mean(taken: Sequence[float]) -> float:
    """Return the mean of what was worked for."""
    worked = [one for one in taken if not _is_found(one, max(taken))]
    return sum(worked) / len(worked)


def _is_found(seconds: float, other: float) -> bool:
    return seconds < _FOUND_S and seconds * _FOUND_PART < other


def _behind_a_bar(
    items: Sequence[T], what: str, console: Console, left: _Left, answer: Callable[[], str] | None
) -> Iterator[T]:
    current: object = ""
    columns = (
        _Working(lambda: _with_step(f"{what}: {name}") if (name := _name(current)) else what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        left,
    )
    with _Answered(*columns, console=console) as progress:
        task = progress.add_task(what, total=len(items))
        for item in items:
            current = item
            yield item
            left.advance()
            if answer is not None:
                progress.answer = harmless(answer(), lines=True)
            progress.advance(task)
        current = ""


def _beside_lines(items: Sequence[T], what: str, left: _Left) -> Iterator[T]:
    started, done = time.monotonic(), 0
    current: object = ""

    def line() -> str:
        elapsed = _clock(time.monotonic() - started)
        at_work = _with_step(f"{what}: {done + 1} of {len(items)}: {_name(current)}")
        return f"{at_work}, {elapsed} elapsed, {left.words()}"

    with lines_in_a_pipe(line):
        for done, item in enumerate(items):  # noqa: B007 - `line` reads it
            current = item
            yield item
            left.advance()


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


def _write(line: Callable[[], str], ended: threading.Event) -> None:
    while not ended.wait(pace.seconds()):
        try:
            sys.stderr.write(f"{line()}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it any more, or it is closed
            return
        pace.written()


def _with_step(words: str) -> str:
    """Return the words with the step at work behind them, such as `fine-tuning, epoch 3 of 6`."""
    return f"{words}: {harmless(named)}" if (named := step()) else words


def _name(item: object) -> str:
    return str(getattr(item, "name", item))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
