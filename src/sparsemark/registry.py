"""Names to implementations: sparsemark's own dictionary first, then what other packages register by entry point."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TypeVar

from sparsemark.errors import UserError
from sparsemark.references import nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")


class Optional(Protocol):
    """Something that needs modules which may not be installed."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of those modules."""


@dataclass(frozen=True)
class Availability:
    """A pruner, format or engine, and why it cannot be used here, or None."""

    kind: str
    name: str
    absent: str | None


def find(name: str, own: Mapping[str, T], kind: str) -> T:
    """Look a pruner, format or engine up by its name.

    Args:
        name: as given by the user.
        own: the dictionary of sparsemark itself, such as `PRUNERS`.
        kind: `pruner`, `format` or `engine`; other packages register under the entry point group `sparsemark.<kind>s`.

    Raises:
        UserError: with the nearest name that is known; or another package's implementation fails to load.
    """
    if name in own:
        return own[name]
    for entry in entry_points(group=f"sparsemark.{kind}s", name=name):
        try:
            found: T = entry.load()
        except Exception as error:
            raise UserError(f"{kind} {name!r}: loading {entry.value} failed: {one_line(error)}") from error
        return found
    raise UserError(nearest(name, [*own, *entry_points(group=f"sparsemark.{kind}s").names], kind))


def availability(own: Mapping[str, Optional], kind: str) -> list[Availability]:
    """List own and registered implementations; one that fails to load says so."""
    rows = [Availability(kind, name, why_not(one)) for name, one in own.items()]
    for entry in entry_points(group=f"sparsemark.{kind}s"):
        try:
            rows.append(Availability(kind, entry.name, why_not(entry.load())))
        except Exception as error:
            rows.append(Availability(kind, entry.name, one_line(error)))
    return rows


def why_not(one: Optional) -> str | None:
    """Say why an implementation cannot be used here, or None."""
    barred: Callable[[], str | None] = getattr(one, "barred", lambda: None)
    return missing(one.requires) or barred()


def missing(requires: Iterable[str]) -> str | None:
    """Say which of the modules that something requires is not installed, or None; nothing is imported."""
    absent = [name for name in requires if importlib.util.find_spec(name) is None]
    return f"{absent[0].replace('_', '-')} is not installed" if absent else None
