"""Product of a sparse matrix and a vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled(fastmath={"reassoc", "contract"})
def multiply(row: Any, unit: int, arena: Any, rows: Any, columns: Any, values: Any) -> None:
    """A sparse matrix times a vector: CHANNELS outputs, ROW_POINTERS the first of them; sums in any order."""
    first, last = share(row, unit, row[isa.CHANNELS])
    s = row[isa.SOURCE]
    for o in range(first, last):
        start, stop = rows[row[isa.ROW_POINTERS] + o], rows[row[isa.ROW_POINTERS] + o + 1]
        total = np.float32(0)
        if stop > start and columns[stop - 1] - columns[start] == stop - 1 - start:
            # Without a gap: no column need be looked up.
            shift = s + columns[start] - start
            for k in range(start, stop):
                total += values[k] * arena[shift + k]
        else:
            for k in range(start, stop):
                total += values[k] * arena[s + columns[k]]
        arena[row[isa.TARGET] + o] = total + arena[row[isa.BIAS] + o]
