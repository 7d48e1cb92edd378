"""Numbers by which the interpreter chooses code: all of `isa` are known to it, and no program holds another one."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from sparsemark.direct import isa
from sparsemark.direct.kernels.entries import symbol_of
from sparsemark.direct.kernels.interpreter import ENTRIES, execute
from sparsemark.direct.kernels.operations import OPERATIONS
from sparsemark.direct.program import check_numbers
from sparsemark.direct.runtime.machine_code import SYMBOL


def table(code, size=0):
    rows = np.zeros((2, isa.COLUMNS), np.int64)
    rows[:, isa.OP] = isa.COPY
    rows[1, [isa.OP, isa.MICROKERNEL]] = code, size
    return rows


def test_every_operation_has_code():
    source = inspect.getsource(inspect.unwrap(getattr(execute, "py_func", execute)))
    own = {getattr(isa, name) for name in re.findall(r"row\[isa\.OP\] == isa\.(\w+)", source)}
    assert own.isdisjoint(OPERATIONS)
    assert own | set(OPERATIONS) | {isa.NOTHING} == set(range(isa.OPERATIONS))


def test_entries_have_symbols_of_their_own_and_the_last_is_the_one_that_is_called():
    symbols = [symbol_of(entry) for entry in ENTRIES]
    assert len(set(symbols)) == len(symbols)
    assert set(OPERATIONS.values()) < set(ENTRIES)
    assert symbols[-1] == SYMBOL


@pytest.mark.parametrize("code", [-1, isa.OPERATIONS])
def test_an_operation_that_the_interpreter_would_skip_is_refused(code):
    with pytest.raises(RuntimeError, match=f"row 1: operation {code}, expected 0 to"):
        check_numbers(table(code))


@pytest.mark.parametrize(
    ("code", "sizes"),
    [(isa.CONVOLVE, isa.MICROKERNELS), (isa.NOTHING, isa.MICROKERNELS), (isa.PRODUCT, isa.PRODUCT_KERNELS)],
)
def test_a_tile_size_that_the_interpreter_would_skip_is_refused(code, sizes):
    for size in range(len(sizes)):
        check_numbers(table(code, size))
    for size in (-1, len(sizes)):
        with pytest.raises(RuntimeError, match=f"row 1: tile size {size}, expected 0 to {len(sizes) - 1}"):
            check_numbers(table(code, size))
