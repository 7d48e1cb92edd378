"""Product of a sparse matrix and a vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def multiply(row: Any, unit: int, arena: Any, rows: Any, columns: Any, values: Any) -> None:
    """A sparse matrix times a vector: CHANNELS outputs, ROW_POINTERS the first of them; sums in any order."""
    first, last = share(row, unit, row[isa.CHANNELS])
    vector = arena[row[isa.SOURCE] :]
    for o in range(first, last):
        start, stop = rows[row[isa.ROW_POINTERS] + o], rows[row[isa.ROW_POINTERS] + o + 1]
        total = np.float32(0)
        if stop > start:
            begin = columns[start]
            if columns[stop - 1] - begin == stop - 1 - start:
                # Without a gap: no column need be looked up.
                total = _dot(values[start:stop], vector[begin : begin + stop - start])
            else:
                total = _dot_of_some(values[start:stop], vector, columns[start:stop])
        arena[row[isa.TARGET] + o] = total + arena[row[isa.BIAS] + o]


# Arrays of their own have indices that begin at 0: else the sign of each would be tested, and nothing become vectors.
@compiled(fastmath={"reassoc", "contract"})
def _dot(values: Any, vector: Any) -> Any:
    total = np.float32(0)
    for k in range(len(values)):
        total += values[k] * vector[k]
    return total


@compiled(fastmath={"reassoc", "contract"})
def _dot_of_some(values: Any, vector: Any, columns: Any) -> Any:
    total = np.float32(0)
    for k in range(len(values)):
        total += values[k] * vector[np.uint32(columns[k])]
    return total
