"""The table of a program: what its rows ask for, and what its columns hold."""

INPUT, CONVOLVE, COPY, POOL, GLOBAL_POOL, LINEAR, UNARY, BINARY, CHANNELWISE, INTERLEAVE, SOFTMAX, WINOGRAD, NOTHING = (
    range(13)
)
RESAMPLE, NORMALIZE = range(13, 15)
"""Operations. The row after WINOGRAD, NOTHING by itself, has its products: CONVOLVE with planes in the scratch."""

# Columns that all operations share. Positions count floats of the arena; planes lie STEP apart, their rows ROW.
OP, UNITS, SOURCE, SOURCE_STEP, SOURCE_ROW, TARGET, TARGET_STEP, TARGET_ROW, PLANES, HEIGHT, WIDTH = range(11)
# Columns of CONVOLVE. PLANES counts output channels, HEIGHT and WIDTH are unused.
VARIANT, RECORDS, POINTERS, RIGHT, LEFT, BIAS, BLOCKS, TILES, GROUP, CHUNKS, FLAGS, BOUNDS = range(11, 23)
RESIDUAL, RESIDUAL_STEP, POOLED_FLOATS = range(23, 26)
# Columns of the others.
KIND, SOURCE_HEIGHT, SOURCE_WIDTH, ROW_STRIDE, COLUMN_STRIDE, ROW_START, COLUMN_START, KERNEL_ROWS, KERNEL_COLUMNS = (
    range(11, 20)
)
PHASES = 20
SECOND, SECOND_STEP, SECOND_ROW, PARAMETERS = range(12, 16)
# Columns of WINOGRAD, beside TILES, BIAS, BOUNDS, RESIDUAL, RESIDUAL_STEP and POOLED_FLOATS (here 1 where it pools).
# ACROSS counts the tiles of a row of them; what begins with SPAN is told by `winograd.Spans`.
INPUTS, INPUT_HEIGHT, INPUT_WIDTH, FIRST_ROW, FIRST_COLUMN, ZEROS, ACROSS = range(26, 33)
SPAN_TILES, SPAN_STEP, SPAN_PRODUCTS, SPAN_LINES, SPAN_PITCH = range(33, 38)
# Columns of RESAMPLE, beside PARAMETERS; and of NORMALIZE, beside PARAMETERS and SECOND.
ROW_PLACES, COLUMN_PLACES, GROUP_PLANES = range(38, 41)
COLUMNS = 41

# Columns of the table of tiles.
TILE_INPUT, TILE_OUTPUT, TILE_MASKS, TILE_VECTORS, TILE_POOLED, TILE_ROWS = range(6)
# WINOGRAD has a row in it for each quarter of a vector of tiles; TILE_INPUT is where their pixels lie in a line.
TILE_COLUMNS = 6

CLAMP_LOW, CLAMP_HIGH, MASK_OUTPUT = 1, 2, 4
"""Flags of CONVOLVE: what is done to a sum before it is stored."""

VARIANTS = ((1, 1), (1, 4), (1, 7), (1, 8), (1, 12), (1, 14), (1, 16), (2, 7), (2, 8), (4, 1), (4, 4), (4, 6))
"""Output channels and vectors that one tile may have."""

MAXIMUM, AVERAGE, AVERAGE_WITH_PADDING = range(3)
"""Kinds of pooling."""

ADD, SUBTRACT, MULTIPLY, DIVIDE, SUBTRACT_FROM, DIVIDE_INTO = range(6)
"""Kinds of BINARY; the last two take the first operand from the second, or divide the second by it."""

AFFINE, RECTIFY = range(2)
"""Kinds of CHANNELWISE: a factor and a term, or a factor for what is below zero."""

PLACE, LINEAR_BLEND = range(2)
"""Kinds of RESAMPLE."""

CLIP, LEAKY, SIGMOID, SILU, HARD_SIGMOID, HARD_SWISH, TANH, GELU, EXPONENTIAL_LINEAR, ERROR_FUNCTION = range(10)
MISH, SOFTPLUS = range(10, 12)
"""Kinds of UNARY. CLIP is to PARAMETERS[0:2]; the others take up to two parameters."""
