"""List of the operations besides convolution.

A new one is a number in `isa`, a compiled function in a file here, and a row below. Each is an entry; see `entries`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.kernels.byte_joining import interleave_bytes, requantize
from sparsemark.direct.kernels.byte_sums import add_bytes
from sparsemark.direct.kernels.bytes import copy_bytes, dequantize, pool_bytes, quantize
from sparsemark.direct.kernels.copying import copy, interleave
from sparsemark.direct.kernels.dispatch import dispatched
from sparsemark.direct.kernels.elementwise import binary, channelwise, unary
from sparsemark.direct.kernels.normalisation import normalise
from sparsemark.direct.kernels.pooling import global_pool, pool
from sparsemark.direct.kernels.resampling import resample
from sparsemark.direct.kernels.softmax import softmax
from sparsemark.direct.kernels.turning import normalise_pixels, turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.kernels.jit import Function

OPERATIONS: Mapping[int, Function] = {
    isa.COPY: copy,
    isa.POOL: pool,
    isa.GLOBAL_POOL: global_pool,
    isa.UNARY: unary,
    isa.BINARY: binary,
    isa.CHANNELWISE: channelwise,
    isa.INTERLEAVE: interleave,
    isa.SOFTMAX: softmax,
    isa.RESAMPLE: resample,
    isa.NORMALIZE: normalise,
    isa.TURN: turn,
    isa.NORMALIZE_PIXELS: normalise_pixels,
    isa.QUANTIZE: quantize,
    isa.DEQUANTIZE: dequantize,
    isa.COPY_BYTES: copy_bytes,
    isa.POOL_BYTES: pool_bytes,
    isa.ADD_BYTES: add_bytes,
    isa.INTERLEAVE_BYTES: interleave_bytes,
    isa.REQUANTIZE: requantize,
}
"""Functions of a row, a unit of its work, the arena, and where in it this thread's scratch begins."""

operate = dispatched(isa.OP, OPERATIONS)
