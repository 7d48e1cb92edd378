"""Emphasis in charts of many series: the best stand in colour, the others are grey and told apart by their markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.analysis.front import Standing

MANY = 6
"""Series that colours still tell apart, for the colour-blind as well."""

IN_COLOUR = 3
"""Series in colour where there are more."""

_KEEPING = "\nthat keep the score"

_Key = TypeVar("_Key")


def keeps_score(one: Standing) -> bool:
    """Return whether a row keeps its score; a row whose score was held against none does not, the dense one neither."""
    return one.dense is not None and one.keeps and not one.is_contradicted


def best_first(series: Mapping[_Key, Sequence[tuple[float, bool]]]) -> list[_Key]:
    """Return series, that with the best member first, which is chosen as a configuration is.

    That is by the highest lower end of the speedup, among members that keep the score. Series of which no member keeps
    it come behind, by the same.

    Args:
        series: lower end of the speedup of each member, and whether it keeps the score.
    """

    def rank(key: _Key) -> tuple[bool, float]:
        kept = [low for low, keeps in series[key] if keeps]
        return bool(kept), max(kept or [low for low, _ in series[key]], default=0.0)

    return sorted(series, key=rank, reverse=True)


def keeping(series: Mapping[_Key, Sequence[tuple[float, bool]]]) -> list[_Key]:
    """Return the series of which a member keeps the score; the argument is that of `best_first`."""
    return [key for key, members in series.items() if any(keeps for _, keeps in members)]


def in_colour(ranked: Iterable[_Key]) -> set[_Key]:
    """Return the series that stand in colour: all, or the best of too many.

    Args:
        ranked: series of one chart, the best first.
    """
    order = list(ranked)
    return set(order if len(order) <= MANY else order[:IN_COLOUR])


def coloured(series: Mapping[_Key, Sequence[tuple[float, bool]]], most: str = "fastest") -> str:
    """Return a line that says what stands in colour, to stand below a title; empty where everything does.

    Args:
        series: of one chart, as for `best_first`.
        most: what those are that come first where no score decides.
    """
    count, kept = len(series), len(keeping(series))
    if count <= MANY:
        return ""
    if 0 < kept < IN_COLOUR:
        return f"\nin colour: of {count} the {kept} that keep{'s' if kept == 1 else ''} the score, then the {most}"
    return f"\nin colour: of {count} the {IN_COLOUR} {most}{_KEEPING if kept else ''}"
