"""Memory planner: the offset of every tensor in the arena."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.layout import Layout, channel_step
from sparsemark.direct.target import LANES
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.direct.ir import Lowered, Tensor

MARGIN = 16 * LANES
"""Floats kept free at both ends of the arena: a tile may read as far beyond the last row of a tiny plane."""


_MOST = 2**28
"""Floats in an arena: 1 GiB, beyond which a file is damaged rather than large."""


class _Memory:
    """Memory handed out, and taken back for tensors with the same rows: the zeros around them are then in place."""

    def __init__(self) -> None:
        self.size = MARGIN
        self._free: dict[tuple[int, ...], list[Layout]] = {}

    def give(self, tensor: Tensor, *, fresh: bool) -> Layout:
        channels, height, width = tensor.shape
        known = [] if fresh else self._free.get(_kind(tensor), [])
        # Vectors of one size may have other extents; planes need as many.
        used = next((p for p in known if tensor.compact or p.channels >= channels), None)
        if used is not None:
            known.remove(used)
            distance = height * width if tensor.compact else used.step
            return Layout(*tensor.shape, tensor.row, tensor.top, tensor.bottom, distance, used.position)
        start = self.size
        if tensor.compact:
            self.size += -(-math.prod(tensor.shape) // LANES) * LANES
            return Layout(channels, height, width, width, 0, 0, height * width, start)
        distance = channel_step(height, tensor.row, tensor.top, tensor.bottom)
        # The first row, not the zeros above it, begins a line of the cache. As between planes, a vector of zeros comes
        # before all of it: see `schedule.ends_in_zeros`.
        above = LANES + -(-tensor.top * tensor.row // LANES) * LANES
        self.size += above + channels * distance
        return Layout(channels, height, width, tensor.row, tensor.top, tensor.bottom, distance, start + above)

    def take(self, tensor: Tensor) -> None:
        self._free.setdefault(_kind(tensor), []).append(placed(tensor))


def place(lowered: Lowered) -> int:
    """Set every tensor's offset in the arena and return the floats that are needed.

    Raises:
        UnsupportedError: they are more than any network of images needs.
    """
    steps = list(lowered.steps())
    tensors = list(dict.fromkeys(t for step in steps for t in step.tensors))
    _share_margins(tensors)
    last = {_root(tensor): i for i, step in enumerate(steps) for tensor in step.tensors}
    outputs = [tensor for tensor, _ in lowered.outputs if tensor is not None]
    # Outputs are read after the last operation. A copy leaves what lies beside the image:
    # zeros, in fresh memory.
    kept = {_root(tensor) for tensor in outputs}
    kept |= {_root(operation.target) for operation in lowered.operations if operation.code in (isa.INPUT, isa.COPY)}
    memory = _Memory()
    for i, step in enumerate(steps):
        for root in map(_root, step.targets):
            if root.placed is None:
                root.placed = memory.give(root, fresh=root in kept)
        for done in dict.fromkeys(map(_root, step.tensors)):
            if last[done] == i and done not in kept:
                memory.take(done)
    for tensor in (*tensors, *outputs):
        if tensor.placed is None:
            tensor.placed = _within(tensor)
    if memory.size > _MOST:
        raise UnsupportedError(f"direct-csr: {memory.size} values in activations, at most {_MOST}")
    return memory.size + MARGIN


def _root(tensor: Tensor) -> Tensor:
    return tensor if tensor.whole is None else _root(tensor.whole)


def _kind(tensor: Tensor) -> tuple[int, ...]:
    if tensor.compact:
        return (math.prod(tensor.shape),)
    return (tensor.height, tensor.width, tensor.row, tensor.top, tensor.bottom, tensor.fill is not None)


def _share_margins(tensors: Iterable[Tensor]) -> None:
    """Parts of one tensor lie in its planes, so all need the zeros that any of them needs."""
    for _ in range(2):
        for tensor in tensors:
            whole = _root(tensor)
            if whole is not tensor and not tensor.compact:
                whole.top = tensor.top = max(whole.top, tensor.top)
                whole.bottom = tensor.bottom = max(whole.bottom, tensor.bottom)


def _within(tensor: Tensor) -> Layout:
    whole = tensor.whole
    if whole is None:
        raise ValueError("a tensor that no operation makes")
    outer = whole.placed or _within(whole)
    if tensor.compact:
        plane = tensor.height * tensor.width
        return Layout(*tensor.shape, tensor.width, 0, 0, plane, outer.position + tensor.first * plane)
    position, step = outer.position + tensor.first * outer.step, outer.step * tensor.every
    return Layout(*tensor.shape, tensor.row, tensor.top, tensor.bottom, step, position)


def placed(tensor: Tensor) -> Layout:
    """Where a tensor lies; ValueError before `place`."""
    if tensor.placed is None:
        raise ValueError("a tensor without a place")
    return tensor.placed
