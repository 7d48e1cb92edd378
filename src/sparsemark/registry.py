"""Registry: names to implementations, sparsemark's own first, then those that other packages register."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from sparsemark.errors import UserError
from sparsemark.references import nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoints

T = TypeVar("T")


class Optional(Protocol):
    """An implementation that needs modules which may not be installed."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of those modules."""


@dataclass(frozen=True)
class Availability:
    """A pruner, format or engine.

    Args:
        kind: `pruner`, `format` or `engine`.
        name: as users select it.
        absent: why it cannot be used here, or None.
        label: its name as its makers write it; empty where it has no other.
    """

    kind: str
    name: str
    absent: str | None
    label: str = ""


def entry_points(group: str, name: str | None = None) -> EntryPoints:
    """Return what other packages register; the standard library's, imported late, since that takes 20 ms."""
    import importlib.metadata

    if name is None:
        return importlib.metadata.entry_points(group=group)
    return importlib.metadata.entry_points(group=group, name=name)


def find(name: str, own: Mapping[str, T], kind: str) -> T:
    """Return a pruner, format or engine by its name.

    Args:
        name: as given by the user.
        own: sparsemark's own dictionary, such as `PRUNERS`.
        kind: `pruner`, `format` or `engine`; other packages register under the entry point group `sparsemark.<kind>s`.

    Raises:
        UserError: the name is unknown (the nearest known one is named), or another package's implementation fails to
            load.
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
    """Return own and registered implementations in their order; one that fails to load is absent for that reason."""
    rows = [_row(kind, name, one) for name, one in own.items()]
    for entry in entry_points(group=f"sparsemark.{kind}s"):
        try:
            rows.append(_row(kind, entry.name, entry.load()))
        except Exception as error:
            rows.append(Availability(kind, entry.name, one_line(error)))
    return rows


def _row(kind: str, name: str, one: Optional) -> Availability:
    return Availability(kind, name, why_not(one), getattr(one, "label", ""))


def why_not(one: Optional) -> str | None:
    """Return why an implementation cannot be used here, or None."""
    barred: Callable[[], str | None] = getattr(one, "barred", lambda: None)
    absent = missing(one.requires)
    return f"{absent}{_remedy(one.requires)}" if absent else barred()


def _remedy(requires: Iterable[str]) -> str:
    """Return `: pip install 'sparsemark[direct]'` where an extra brings the first of the modules that is absent."""
    import importlib.metadata

    name = next((name for name in requires if missing((name,))), "")
    try:
        lines = importlib.metadata.requires("sparsemark") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return ""
    brings = re.compile(rf"{re.escape(name)}\b.*extra == ['\"](?P<extra>[\w-]+)['\"]")
    extras = {found["extra"] for line in lines if (found := brings.match(line))} - {"all"}
    return f": pip install 'sparsemark[{min(extras)}]'" if extras else ""


def missing(requires: Iterable[str]) -> str | None:
    """Return a line that names the first of these modules that is not installed, or None; imports nothing."""
    absent = [name for name in requires if importlib.util.find_spec(name) is None]
    return f"{absent[0].replace('_', '-')} is not installed" if absent else None
