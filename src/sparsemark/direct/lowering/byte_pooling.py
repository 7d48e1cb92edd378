"""Pooling of 2 x 2 squares, taken into the convolution of bytes that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.block_forms import FORM, VNNI
from sparsemark.direct.dense_bytes import may_be_faster
from sparsemark.direct.ir import BlockConvolution, Lowered
from sparsemark.direct.wide_blocks import is_pooled_in_tiles

if TYPE_CHECKING:
    from sparsemark.direct.ir import Operation, Tensor

_SQUARES = {
    isa.KERNEL_ROWS: 2, isa.KERNEL_COLUMNS: 2, isa.ROW_STRIDE: 2, isa.COLUMN_STRIDE: 2, isa.ROW_START: 0,
    isa.COLUMN_START: 0,
}  # fmt: skip


def pooled(lowered: Lowered) -> Lowered:
    """Return a network in which convolutions pool what nothing but the pooling reads.

    The largest of four sums is rounded to the largest of the four bytes, since scales are positive: a quarter of the
    rounding, and the image between the two is never written.
    """
    if FORM != VNNI:
        return lowered
    users: dict[Tensor, int] = {}
    for step in lowered.steps():
        for tensor in dict.fromkeys(step.tensors):
            users[tensor] = users.get(tensor, 0) + 1
            if tensor.whole is not None:
                users[tensor.whole] = users.get(tensor.whole, 0) + 1
    # What makes a tensor uses it as well.
    read_once = {tensor for tensor, count in users.items() if count == 2 and tensor.whole is None}
    makers = {step.target: step for step in lowered.operations if isinstance(step, BlockConvolution)}
    makers = {target: step for target, step in makers.items() if target in read_once}
    for made, _ in lowered.outputs:
        if made is not None:
            makers.pop(made, None)
    gone: set[Operation] = set()
    for step in lowered.operations:
        maker = makers.get(step.source) if step.source is not None and _is_of_squares(step) else None
        if maker is None or may_be_faster(maker) or not is_pooled_in_tiles(maker):
            continue
        maker.code, maker.target, maker.pooled = isa.CONVOLVE_POOLED_BYTES, step.target, True
        gone.add(step)
    kept = [step for step in lowered.operations if step not in gone]
    parts = ((sum(step not in gone for step in lowered.operations[:before]), part) for before, part in lowered.dense)
    return Lowered(lowered.shape, tuple(kept), lowered.outputs, tuple(parts))


def _is_of_squares(step: Operation) -> bool:
    return step.code == isa.POOL_BYTES and all(step.numbers[column] == n for column, n in _SQUARES.items())
