"""Forms of the product of a block of four bytes, by kind of processor; see `sparsemark.direct.kernels.blocks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct.target import FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

VNNI, PAIRS, PLAIN = "vnni", "pairs", "plain"

TOGETHER = (4, 2, 1)
"""Blocks in a record, in the order in which an output channel has them."""

TILES = ((1, 8), (2, 4), (1, 4), (4, 2), (1, 2), (8, 1), (4, 1), (1, 1))
"""Rows, and vectors of each, of the tiles that the microkernel computes, where it is not that of `wide_blocks`."""


def form_for(features: Mapping[str, bool]) -> str:
    """Return the form for a processor with these features, as LLVM names them."""
    if features.get("avx512vnni") and features.get("avx512bw"):
        return VNNI
    return PAIRS if features.get("avx2") else PLAIN


FORM = form_for(FEATURES)
