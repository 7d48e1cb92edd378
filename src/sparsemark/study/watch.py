"""Progress over a sequence, as whoever shows it implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from sparsemark.specs import Cell, Variant

T = TypeVar("T")


class Watch(Protocol):
    """Progress over a sequence."""

    def __call__(self, items: Sequence[T], what: str, kinds: Sequence[Hashable] | None = None) -> Iterable[T]:
        """Yield the items, naming each as it begins; those of one of `kinds` take about as long, all without them."""


def kinds_of_variants(variants: Iterable[Variant]) -> list[Hashable]:
    """Return what the time of a network goes by: a pruned one may be fine-tuned, a dense one is there."""
    return [(variant.model.name, variant.pruning.is_dense) for variant in variants]


def kinds_of_cells(cells: Sequence[Cell]) -> list[Hashable]:
    """Return what the time of a cell goes by: the first of a network has it pruned and fine-tuned, others run it."""
    kinds: list[Hashable] = []
    begun: set[Variant] = set()
    for cell, kind in zip(cells, kinds_of_variants(cell.variant for cell in cells), strict=True):
        kinds.append((kind, None if cell.variant not in begun else cell.engine))
        begun.add(cell.variant)
    return kinds
