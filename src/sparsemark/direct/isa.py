"""Instruction set of the interpreter: operations, and what the columns of a program's rows hold.

Every column has one meaning. A row has all columns, and an operation reads those it knows: a row is read once for
each unit of work, so its width costs nothing that could be measured.

A new operation is a number in the first list; columns that no other operation has go behind the last one.
"""

from __future__ import annotations

from sparsemark.direct.target import REGISTERS

OPERATIONS = 29

(
    INPUT, CONVOLVE, COPY, POOL, GLOBAL_POOL, LINEAR, UNARY, BINARY, CHANNELWISE, INTERLEAVE, SOFTMAX, WINOGRAD,
    NOTHING, RESAMPLE, NORMALIZE, TURN, NORMALIZE_PIXELS, DEPTHWISE, PRODUCT, QUANTIZE, DEQUANTIZE, CONVOLVE_BYTES,
    COPY_BYTES, POOL_BYTES, CONVOLVE_DENSE_BYTES, ADD_BYTES, CONVOLVE_POOLED_BYTES, INTERLEAVE_BYTES, REQUANTIZE,
) = range(OPERATIONS)  # fmt: skip
"""Operations. The row after WINOGRAD, NOTHING by itself, has its products: CONVOLVE with channels in the scratch. That
after DEPTHWISE, a convolution of stride 2 of each channel by itself, is CONVOLVE with its phases in the scratch.
PRODUCT is a convolution of one pixel from all of its weights, zeros among them, and CONVOLVE_DENSE_BYTES one of bytes
from nearly all of its blocks. CONVOLVE_POOLED_BYTES makes the largest bytes of 2 x 2 squares."""

OF_BYTES = (
    QUANTIZE, DEQUANTIZE, COPY_BYTES, POOL_BYTES, ADD_BYTES, INTERLEAVE_BYTES, REQUANTIZE,
)  # fmt: skip
"""Operations on bytes besides convolutions."""

COLUMNS = 63
"""Of a program. Positions count floats of the arena; channels lie STEP apart, their rows ROW."""

(
    # All operations.
    OP, UNITS, SOURCE, SOURCE_STEP, SOURCE_ROW, TARGET, TARGET_STEP, TARGET_ROW, CHANNELS, HEIGHT, WIDTH,
    # CONVOLVE, of which CHANNELS counts output channels, and HEIGHT and WIDTH are unused. From TILES on WINOGRAD has
    # them as well; there POOLED_FLOATS is 1 if it pools.
    MICROKERNEL, RECORDS, POINTERS, RIGHT, LEFT, BLOCKS, GROUP, GROUPS, CHUNKS, FLAGS, TILES, BIAS, BOUNDS,
    RESIDUAL, RESIDUAL_STEP, POOLED_FLOATS,
    # WINOGRAD. PRODUCT has INPUTS, and the columns of CONVOLVE: GROUP counts its tiles, GROUPS their shares. ACROSS
    # counts the tiles of a row of them; what begins with SPAN is told by `winograd.Spans`.
    INPUTS, INPUT_HEIGHT, INPUT_WIDTH, FIRST_ROW, FIRST_COLUMN, ZEROS, ACROSS, SPAN_TILES, SPAN_STEP, SPAN_OUTPUTS,
    SPAN_PRODUCTS, SPAN_LINES, SPAN_PITCH,
    # LINEAR, which has BIAS as well.
    ROW_POINTERS,
    # COPY and INPUT, POOL and GLOBAL_POOL, INTERLEAVE, and what does the same to bytes. A copy's KERNEL_ROWS are the
    # rows of its PHASES. Of TURN COLUMN_STRIDE is the distance of what becomes neighbours in a row.
    SOURCE_HEIGHT, SOURCE_WIDTH, ROW_STRIDE, COLUMN_STRIDE, ROW_START, COLUMN_START, KERNEL_ROWS, KERNEL_COLUMNS,
    PHASES,
    # UNARY, BINARY, CHANNELWISE, RESAMPLE, POOL, GLOBAL_POOL and TURN.
    KIND,
    # Second operand of BINARY. SECOND_STEP is 0 if all channels share one, SECOND_ROW if a channel has one value.
    SECOND, SECOND_STEP, SECOND_ROW,
    # Floats of the operation itself: two of UNARY; of ADD_BYTES scale and zero point of both operands, bounds of their
    # sum, scale and zero point of the result; of REQUANTIZE the 256 bytes that bytes become; of
    # CHANNELWISE a factor and, in MORE_PARAMETERS, a term a channel; of NORMALIZE and NORMALIZE_PIXELS the same, with
    # epsilon behind the factors; of RESAMPLE a value and, in MORE_PARAMETERS, its places.
    PARAMETERS, MORE_PARAMETERS,
    # NORMALIZE: channels that share a mean.
    GROUP_CHANNELS,
    # The row after DEPTHWISE, which has INPUT_HEIGHT, that of a phase, as well: rows of zeros around one. Operations
    # that make bytes: rows around the target.
    ROWS_ABOVE, ROWS_BELOW,
    # These: the word that they write around the target. QUANTIZE, DEQUANTIZE: channels in floats; PARAMETERS are scale
    # and zero point. CONVOLVE_BYTES, which has columns of CONVOLVE: LEVELS are zero point, least, largest, and FILL.
    FILL, LEVELS, SCALES,
    # REQUANTIZE, whose SCALES counts channels: place of the first of them in the first word of the target.
    FIRST_BYTE,
) = range(COLUMNS)  # fmt: skip

TILE_INPUT, TILE_OUTPUT, TILE_MASKS, TILE_VECTORS, TILE_POOLED, TILE_ROWS = range(6)
"""Columns of the table of tiles. WINOGRAD has a row in it for each quarter of a vector of tiles; TILE_INPUT is where
their pixels lie in a line."""

TILE_COLUMNS = 6

CLAMP_LOW, CLAMP_HIGH, MASK_OUTPUT, SWISH = 1, 2, 4, 8
"""FLAGS: what is done to a sum before it is stored; SWISH, HardSwish, comes first."""

MICROKERNELS = (
    ((1, 1), (1, 4), (1, 7), (1, 8), (1, 12), (1, 14), (1, 16), (2, 7), (2, 8), (4, 1), (4, 4), (4, 6))
    if REGISTERS >= 32
    else ((1, 1), (1, 4), (1, 7), (1, 8), (1, 12), (1, 14), (1, 16), (2, 6), (4, 1), (4, 2))
)
"""Output channels and vectors of the tile that each microkernel computes: as many sums as there are registers for."""

PRODUCT_KERNELS = ((6, 4), (12, 2)) if REGISTERS >= 32 else ((4, 2), (6, 2))
"""The same of PRODUCT. Few vectors, so that the pixels of a tile, a line of the cache or two in each input channel, are
still in the first-level cache when the next output channels read them; sums enough to hide what an addition takes."""

MAXIMUM, AVERAGE, AVERAGE_WITH_PADDING = range(3)
"""KIND of POOL and GLOBAL_POOL."""

ADD, SUBTRACT, MULTIPLY, DIVIDE, SUBTRACT_FROM, DIVIDE_INTO = range(6)
"""KIND of BINARY. The last two take the first operand from the second, or divide the second by it."""

AFFINE, RECTIFY = range(2)
"""KIND of CHANNELWISE: a factor and a term, or a factor for what is below zero."""

PLACE, LINEAR_BLEND = range(2)
"""KIND of RESAMPLE."""

CHANNELS_FIRST, CHANNELS_LAST, TOKENS = range(3)
"""KIND of TURN: the order that it makes; of tokens it is either."""

CLIP, LEAKY, SIGMOID, SILU, HARD_SIGMOID, HARD_SWISH, TANH, GELU, EXPONENTIAL_LINEAR, ERROR_FUNCTION = range(10)
MISH, SOFTPLUS = range(10, 12)
"""KIND of UNARY. CLIP is to PARAMETERS[0:2]; the others take up to two parameters."""
