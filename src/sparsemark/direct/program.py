"""Program of a network: the tables that the interpreter reads, and the memory that it needs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.encoders import encode
from sparsemark.direct.memory import MARGIN
from sparsemark.direct.runtime.pages import floats
from sparsemark.direct.tables import Packed, Tables
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.ir import Operation
    from sparsemark.direct.schedule import Schedule


@dataclass(frozen=True)
class Program:
    """What `execute` reads, and the memory that it needs.

    Args:
        table: int64, shape (n, COLUMNS); a row an operation.
        tiles, records, pointers: of all convolutions.
        rows, columns, values: of all matrices.
        constants: floats (and masks, as their bits) that begin at `constants_at` in the arena.
        scratch: floats of each thread; they follow the constants.
        first_rows: row of the table at which each operation begins, and behind them the number of rows.
    """

    table: NDArray[np.int64]
    tiles: NDArray[np.int64]
    records: NDArray[np.int32]
    pointers: NDArray[np.int32]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    constants: NDArray[np.float32]
    constants_at: int
    scratch: int
    first_rows: tuple[int, ...]

    def arena(self, threads: int) -> NDArray[np.float32]:
        """Fresh memory, aligned to a line of the cache, with the constants in place."""
        arena = floats(self.scratch_at(threads) + MARGIN)
        arena[self.constants_at : self.constants_at + len(self.constants)] = self.constants
        return arena

    def scratch_at(self, thread: int) -> int:
        """Where a thread's own floats begin."""
        return self.constants_at + len(self.constants) + thread * self.scratch


def assemble(
    operations: Sequence[Operation],
    schedules: Mapping[Operation, Schedule],
    start: int,
    threads: int,
    packed: Packed | None = None,
) -> Program:
    """Encode operations as a program.

    Args:
        operations: in order, their tensors placed.
        schedules: one for each convolution among them.
        start: floats of the arena that the tensors take.
        threads: that will share the work.
        packed: weights packed by earlier calls, to which new ones are added.

    Raises:
        RuntimeError: a row names an operation or a tile size that the interpreter does not have.
    """
    tables = Tables(start, threads, packed)
    encoded = [encode(tables, operation, schedules.get(operation)) for operation in operations]
    table = np.array([row for rows in encoded for row in rows], np.int64).reshape(-1, isa.COLUMNS)
    check_numbers(table)
    records, pointers = tables.records()
    rows, columns, values = tables.matrices()
    return Program(
        table,
        tables.tiles(),
        records,
        pointers,
        rows,
        columns,
        values,
        tables.constants(),
        start,
        -(-tables.scratch // LANES) * LANES + LANES,
        (0, *itertools.accumulate(map(len, encoded))),
    )


def check_numbers(table: NDArray[np.int64]) -> None:
    """Check the numbers by which the interpreter chooses code: it skips a row with an unknown one without a word.

    Args:
        table: as in `Program`.

    Raises:
        RuntimeError: an operation is not in `isa`, or a tile size not in the list that the operation chooses from.
    """
    codes, sizes = table[:, isa.OP], table[:, isa.MICROKERNEL]
    counts = np.where(codes == isa.PRODUCT, len(isa.PRODUCT_KERNELS), len(isa.MICROKERNELS))
    sized = np.isin(codes, (isa.CONVOLVE, isa.NOTHING, isa.PRODUCT))  # NOTHING: products of the row before it
    for what, numbers, ends in (
        ("operation", codes, np.full_like(codes, isa.OPERATIONS)),
        ("tile size", np.where(sized, sizes, 0), counts),
    ):
        wrong = np.flatnonzero((numbers < 0) | (numbers >= ends))
        if len(wrong):
            row = wrong[0]
            raise RuntimeError(f"program, row {row}: {what} {numbers[row]}, expected 0 to {ends[row] - 1}")
