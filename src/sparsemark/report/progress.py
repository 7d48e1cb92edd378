"""Progress on the terminal, with the time left; on stderr, so that what a command prints can be piped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sparsemark.report.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is being waited for while nobody knows how long it takes."""
    with Console(stderr=True).status(f"{what} ..."):
        yield


def watch(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield items behind a progress bar that names the one at work.

    Args:
        items: with a `name` each.
        what: what they are, in the plural.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task(what, total=len(items))
        for item in items:
            progress.update(task, description=f"{what}: {harmless(str(getattr(item, 'name', item)))}")
            yield item
            progress.advance(task)
        progress.update(task, description=what)
