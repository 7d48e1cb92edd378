"""Key under which a cell's measurements are journalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.study.host_classes import HERE, HostClass
from sparsemark.study.pipeline import ends_the_run

if TYPE_CHECKING:
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline


def journal_key(pipeline: Pipeline, cell: Cell, where: HostClass = HERE) -> str | None:
    """Return the cell's key; None where the network itself cannot be made, which `measure` then says in the row."""
    try:
        return pipeline.key(cell, where)
    except UserError as error:
        if ends_the_run(error, cell.variant):
            raise
        return None
    except Exception:
        return None
