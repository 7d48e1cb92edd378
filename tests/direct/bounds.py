"""Bounds of a program's reads and writes, derived from its tables alone: every address of every operation.

The interpreter tests nothing while it runs, so this does it beforehand, apart from the code that made the program.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from sparsemark.direct import dense_bytes, isa, wide_blocks
from sparsemark.direct.block_forms import FORM, TILES, TOGETHER, VNNI
from sparsemark.direct.ir import BlockConvolution, Convolution, Matrix
from sparsemark.direct.layout import PIXELS, WORDS
from sparsemark.direct.memory import MARGIN, placed
from sparsemark.direct.target import LANES


class OutOfBoundsError(AssertionError):
    """A program that would read or write where it must not."""


def check_program(program, steps, threads, pixels):
    """See that a program of these steps stays where it belongs.

    Args:
        program: what `assemble` made of `steps`; one row each.
        steps: placed.
        threads: that share its work.
        pixels: floats of the image.
    """
    size = len(program.arena(threads))
    constants = (program.constants_at, program.constants_at + len(program.constants))
    _require(program.scratch_at(0) == constants[1], "scratch begins within the constants")
    _require(program.scratch_at(threads) + MARGIN <= size, "scratch of the last thread ends behind the arena")
    rows = program.table.tolist()
    _require(all(row[isa.UNITS] == 0 for row in rows if row[isa.OP] == isa.NOTHING), "work where there is none")
    own = [i for i, row in enumerate(rows) if row[isa.OP] != isa.NOTHING]
    _require(len(own) == len(steps), "a row for each step")
    for i, step in zip(own, steps, strict=True):
        row = rows[i]
        where = _Where(program, row, step, size=size, constants=constants, pixels=pixels)
        where.target()
        if row[isa.OP] == isa.CONVOLVE:
            _check_convolution(where)
        elif row[isa.OP] == isa.WINOGRAD:
            _require(i + 1 < len(rows) and rows[i + 1][isa.OP] == isa.NOTHING, "tiles without products")
            _check_winograd(where, _Where(program, rows[i + 1], step, size=size, constants=constants, pixels=pixels))
        elif row[isa.OP] == isa.DEPTHWISE:
            _require(i + 1 < len(rows) and rows[i + 1][isa.OP] == isa.NOTHING, "phases that nothing reads")
            _check_depthwise(where, _Where(program, rows[i + 1], step, size=size, constants=constants, pixels=pixels))
        elif row[isa.OP] == isa.PRODUCT:
            _check_product(where)
        elif row[isa.OP] in (isa.CONVOLVE_BYTES, isa.CONVOLVE_DENSE_BYTES, isa.CONVOLVE_POOLED_BYTES):
            _check_byte_convolution(where)
        elif row[isa.OP] == isa.LINEAR:
            _check_matrix(where)
        else:
            _CHECKS[row[isa.OP]](where)
        units, planes = row[isa.UNITS], row[isa.CHANNELS]
        _require(units >= 1, "work for one thread at least")
        _require(row[isa.OP] != isa.LINEAR or units <= max(planes, 1), "units of work without any")


def check_places(lowered, floats):
    """See that no two tensors that are needed at the same time share memory, and that all lie inside `floats`."""
    lives = _lives(lowered)
    extents = {root: _extent(root) for root in lives}
    for low, high in extents.values():
        _require(low >= MARGIN and high <= floats - MARGIN, "a tensor outside the arena")
    for a, b in itertools.combinations(lives, 2):
        together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
        apart = extents[a][1] <= extents[b][0] or extents[b][1] <= extents[a][0]
        _require(apart or not together, f"tensors {a.shape} and {b.shape} share memory while both are needed")
    outputs = [(tensor, shape) for tensor, shape in lowered.outputs if tensor is not None]
    for tensor in (*itertools.chain(*map(_tensors, lowered.operations)), *(tensor for tensor, _ in outputs)):
        _check_within(tensor)
    for border in (border for _, part in lowered.dense for border in _borders(part)):
        _check_within(border.tensor)
        _require(border.tensor.compact, "an activation at a border that is no plain array")
        _require(math.prod(border.shape) == math.prod(border.tensor.shape), "a border of another size than its tensor")
    for tensor, shape in outputs:
        _require(math.prod(shape) == math.prod(tensor.shape), "an output of another size than its tensor")


def _tensors(step):
    return [tensor for tensor in (step.source, step.second, step.target) if tensor is not None]


def _borders(part):
    return [*part.sources.values(), *part.results.values()]


def _lives(lowered):
    """First and last time at which a tensor is needed: operation i runs at 2i + 1, a part after n of them at 2n.

    Outputs are needed after the last.
    """
    lives = {}
    needs = [(2 * i + 1, tensor) for i, step in enumerate(lowered.operations) for tensor in _tensors(step)]
    needs += [(2 * before, border.tensor) for before, part in lowered.dense for border in _borders(part)]
    end = 2 * len(lowered.operations) + 1
    needs += [(end, tensor) for tensor, _ in lowered.outputs if tensor is not None]
    for time, root in ((time, _root(tensor)) for time, tensor in needs):
        first, last = lives.get(root, (time, time))
        lives[root] = (min(first, time), max(last, time))
    return lives


def _root(tensor):
    return tensor if tensor.whole is None else _root(tensor.whole)


def _extent(tensor):
    """First float of a tensor and of its zeros, and the one behind the last."""
    where = placed(tensor)
    rows = where.height + where.bottom
    used = (where.channels - 1) * where.step + (rows * where.row if not tensor.compact else math.prod(tensor.shape[1:]))
    # A row of bytes has what lies to its left at the end of the one before: that of the first is a vector apart.
    before = LANES if tensor.fill is not None else 0
    return where.position - where.top * where.row - before, where.position + used


def _check_within(tensor):
    where = placed(tensor)
    _require((where.channels, where.height, where.width) == tensor.shape, "a place of another shape")
    _require(where.row >= where.width and where.step >= where.height * where.row, "planes or rows that overlap")
    if not tensor.compact:
        _require(where.step - where.height * where.row >= (where.top + where.bottom) * where.row, "zeros that overlap")
        needed = (max(tensor.top, 0), max(tensor.bottom, 0))
        _require((where.top, where.bottom) == needed, "fewer zeros than were asked for")
    low, high = _extent(_root(tensor))
    own = _extent(tensor)
    _require(low <= own[0] and own[1] <= high, "a part outside its whole")


def _require(condition, what):
    if not condition:
        raise OutOfBoundsError(what)


class _Where:
    """One row of a program, and the buffers that it may use."""

    def __init__(self, program, row, step, *, size, constants, pixels):
        self.program, self.row, self.step = program, row, step
        self.size, self.constants, self.pixels = size, constants, pixels

    def __getitem__(self, column):
        return self.row[column]

    def reads(self, low, high, what="the arena", bounds=None):
        first, last = bounds or (0, self.size)
        _require(first <= low and high <= last, f"{self.step.name}: reads {low} to {high} of {what}, {first} to {last}")

    def reads_constant(self, low, count):
        self.reads(low, low + count, "the constants", self.constants)

    def target(self):
        """The row's target is that of the step."""
        place = placed(self.step.target)
        found = [self[c] for c in (isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS, isa.HEIGHT, isa.WIDTH)]
        wanted = [place.position, place.step, place.row, place.channels, place.height, place.width]
        _require(found == wanted, "a target that is not the step's")
        low, high = _extent(self.step.target)
        _require(low >= 0 and high <= self.constants[0], "a target beyond the tensors")
        if self.step.target.fill is not None:
            _require((self[isa.ROWS_ABOVE], self[isa.ROWS_BELOW]) == (place.top, place.bottom), "other rows around it")
            _require(self[isa.FILL] == int(np.full(4, self.step.target.fill, np.uint8).view(np.int32)[0]), "a fill")
            needed = (place.top + place.height + place.bottom) * place.row + LANES
            _require(place.channels == 1 or place.step >= needed, "what lies around planes overlaps")
            _require(place.row >= -(-place.width // WORDS) * WORDS, "rows that end within a vector")

    def reads_planes(self, tensor, position, step, row, extents):
        """`extents` (planes, rows, columns) that begin at a position lie within a tensor."""
        place = placed(tensor)
        _require((position, step) == (place.position, place.step), f"{self.step.name}: another tensor's planes")
        planes, rows, columns = extents
        _require(
            planes <= place.channels and rows <= place.height and columns <= place.width and row in (place.row, 0),
            f"{self.step.name}: reads {extents} of {tensor.shape}",
        )


def _check_convolution(where):
    _require(where[isa.UNITS] == where[isa.GROUPS] * where[isa.CHUNKS], "units that do not divide into chunks")
    low, high = _check_tiles(where, where[isa.GROUPS] * where[isa.GROUP])
    where.reads(low, high)


def _check_product(where):
    """A matrix of all weights, each output channel once at least, times the pixels of whole planes."""
    step, program, outputs, inputs = where.step, where.program, where[isa.CHANNELS], where[isa.INPUTS]
    _require(isinstance(step, Convolution), "a convolution that is none")
    channels, vectors = isa.PRODUCT_KERNELS[where[isa.MICROKERNEL]]
    groups, tiles = -(-outputs // channels), where[isa.GROUP]
    _require(where[isa.UNITS] == where[isa.GROUPS] * where[isa.CHUNKS], "units that do not divide into chunks")
    _require(1 <= where[isa.GROUPS] <= tiles and 1 <= where[isa.CHUNKS] <= groups, "units without work")
    place = placed(step.source)
    found = [where[c] for c in (isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.INPUTS)]
    _require(found == [place.position, place.step, place.row, place.channels], f"{step.name}: other input channels")
    taps = step.taps
    _require(not (taps.right or taps.left or taps.above or taps.below), f"{step.name}: more than one pixel")
    weights = program.records[where[isa.RECORDS] : where[isa.RECORDS] + groups * channels * inputs]
    _require(where[isa.RECORDS] >= 0 and len(weights) == groups * channels * inputs, "weights beyond their end")
    _require(where[isa.POOLED_FLOATS] == 0, "a product that pools")
    tiles = _tiles_of(where, tiles, channels, vectors)
    first = where[isa.SOURCE] + tiles[:, isa.TILE_INPUT]
    where.reads(first.min(), first.max() + (inputs - 1) * where[isa.SOURCE_STEP] + vectors * LANES)
    _check_stores(where, tiles, vectors)


def _check_byte_convolution(where):
    """Every record of every pixel lies in what was written of the source, and every pixel is made."""
    step = where.step
    _require(isinstance(step, BlockConvolution), "a convolution of bytes that is none")
    source, target = placed(step.source), placed(step.target)
    found = where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW]
    _require(found == (source.position, source.step, source.row), f"{step.name}: reads another tensor")
    _require(step.source.fill is not None and where[isa.SOURCE] != where[isa.TARGET], "reads what it writes")
    planes = where[isa.CHANNELS]
    _require(1 <= where[isa.CHUNKS] <= planes and where[isa.GROUPS] == 1, "chunks without work")
    _require(where[isa.UNITS] == where[isa.CHUNKS], "units that are no chunks")
    is_dense = where[isa.OP] == isa.CONVOLVE_DENSE_BYTES
    is_wide = FORM == VNNI and not is_dense
    if is_wide:
        read, offsets = _wide_offsets(where)
    else:
        read = offsets = _dense_offsets(where) if is_dense else _block_offsets(where)
    _require((offsets % 4 == 0).all(), "offsets of parts of a word")
    above = source.top * source.row + LANES
    plane, place = np.divmod(offsets // 4 + above, source.step)
    place -= above
    _require((plane >= 0).all() and (plane < source.channels).all(), f"{step.name}: another plane")
    is_pooled = where[isa.OP] == isa.CONVOLVE_POOLED_BYTES
    _require(is_pooled == step.pooled, f"{step.name}: pools what it must not")
    by = 2 if is_pooled else 1
    _require((target.height, target.width) == (step.height // by, step.width // by), f"{step.name}: another size")
    last = (by * target.height - 1) * source.row + by * target.width
    _require((place + last <= (source.height + source.bottom) * source.row).all(), f"{step.name}: what nobody wrote")
    sizes = (
        wide_blocks.POOLED_TILES
        if is_pooled
        else wide_blocks.TILES
        if is_wide
        else dense_bytes.TILES
        if is_dense
        else TILES
    )
    _check_byte_tiles(where, read, sizes, WORDS if sizes is TILES else dense_bytes.PIXELS)
    for column, count in ((isa.BIAS, (12 if is_wide else 4) * planes), (isa.SCALES, 4 * planes), (isa.LEVELS, 4)):
        where.reads_constant(where[column], count)


def _records_of(where, needed):
    """Pointers, so many, and the records that they delimit."""
    program = where.program
    pointers = program.pointers[where[isa.POINTERS] : where[isa.POINTERS] + needed].astype(np.int64)
    _require(where[isa.POINTERS] >= 0 and len(pointers) == needed, "pointers beyond their end")
    _require(pointers[0] == 0 and (np.diff(pointers) >= 0).all(), "pointers that go backwards")
    records = program.records[where[isa.RECORDS] : where[isa.RECORDS] + pointers[-1]].astype(np.int64)
    _require(where[isa.RECORDS] >= 0 and len(records) == pointers[-1], "records beyond their end")
    return pointers, records


def _dense_offsets(where):
    pointers, records = _records_of(where, where[isa.CHANNELS] + 1)
    size = 1 + dense_bytes.TOGETHER
    _require((pointers % size == 0).all(), "half a record")
    return records.reshape(-1, size)[:, 0]


def _wide_offsets(where):
    """Offsets that are read, and those of the pixels whose sums are moved to where they belong."""
    planes, source, fill = where[isa.CHANNELS], placed(where.step.source), where.step.source.fill
    pointers, records = _records_of(where, 12 * planes + 1)
    _require((pointers % 2 == 0).all(), "half a record")
    records = records.reshape(-1, 2)
    counts = np.diff(pointers) // 2
    column = np.repeat(np.tile([1, 0, -1], 4 * planes), counts)
    sums = fill * records[:, 1].astype(np.int32).view(np.int8).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    added = np.bincount(np.repeat(np.arange(12 * planes), counts), sums, 12 * planes).reshape(-1, 3)
    bias = where.step.bias
    edges = np.stack([bias, bias + added[:, 0], added[:, 2]]).reshape(3, -1, 4).transpose(1, 0, 2)
    found = where.program.constants.view(np.int32)[where[isa.BIAS] - where.constants[0] :][: edges.size]
    _require((found == edges.reshape(-1)).all(), "sums that are not those of what surrounds the image")
    if column.any():
        tiles = where.program.tiles[where[isa.TILES] : where[isa.TILES] + where[isa.GROUP]]
        for at, size in tiles[:, [isa.TILE_INPUT, isa.TILE_VECTORS]].tolist():
            sizes = wide_blocks.POOLED_TILES if where.step.pooled else wide_blocks.TILES
            _require(0 <= size < len(sizes), "a tile that no microkernel has")
            wide = dense_bytes.PIXELS * sizes[size][1]
            whole = at % source.row == 0 and wide >= max(source.width, where.step.width)
            _require(whole, "sums that move in from beside the tile")
    return records[:, 0], records[:, 0] + 4 * column


def _block_offsets(where):
    kinds = len(TOGETHER)
    pointers, records = _records_of(where, 4 * kinds * where[isa.CHANNELS] + 1)
    offsets = []
    for kind, together in enumerate(TOGETHER):
        spans = zip(pointers[kind:-1:kinds], pointers[kind + 1 :: kinds], strict=True)
        for first, last in spans:
            _require((last - first) % (2 * together) == 0, "half a record")
            offsets.append(records[first:last].reshape(-1, 2 * together)[:, :together].reshape(-1))
    return np.concatenate(offsets) if offsets else np.zeros(0, np.int64)


def _check_byte_tiles(where, offsets, sizes, pixels):
    step, program, target = where.step, where.program, placed(where.step.target)
    first, count = where[isa.TILES], where[isa.GROUP]
    tiles = program.tiles[first : first + count]
    _require(first >= 0 and len(tiles) == count > 0, "tiles beyond their end")
    seen = np.zeros((target.height, target.row), bool)
    for at, out, position, size in tiles[
        :, [isa.TILE_INPUT, isa.TILE_OUTPUT, isa.TILE_MASKS, isa.TILE_VECTORS]
    ].tolist():
        _require(0 <= size < len(sizes), "a tile that no microkernel has")
        high, across = sizes[size]
        by = 2 if step.pooled else 1
        rows, vectors = high // by, -(-across // by)
        wide = pixels * vectors
        y, x = divmod(out, target.row)
        _require(out >= 0 and y + rows <= target.height and x + wide <= target.row, "stores beside the plane")
        _require(at == by * (y * where[isa.SOURCE_ROW] + x), f"{step.name}: reads other pixels than it makes")
        _require(high == by * rows, f"{step.name}: half a square")
        where.reads_constant(position, wide)
        mask = program.constants.view(np.int32)[position - where.constants[0] :][:wide]
        _require(((mask != 0) == (np.arange(x, x + wide) < target.width)).all(), "what is no pixel")
        seen[y : y + rows, x : x + wide] = True
        end = at + (high - 1) * where[isa.SOURCE_ROW] + pixels * across
        where.reads(where[isa.SOURCE] + at + offsets.min(initial=0) // 4, where[isa.SOURCE] + end)
        where.reads(where[isa.SOURCE], where[isa.SOURCE] + end + offsets.max(initial=0) // 4)
    _require(seen[:, : target.width].all(), f"{step.name}: pixels that are not made")


def _check_depthwise(where, inner):
    """Phases lie apart in the scratch, with the zeros around them, and what reads them stays there."""
    step, program, split = where.step, where.program, where.step.split
    channels, chunks = where[isa.CHANNELS], inner[isa.CHUNKS]
    extents = channels, where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]
    where.reads_planes(step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)
    _require(extents == step.source.shape, f"{step.name}: pixels left out")
    _require(1 <= chunks <= channels and where[isa.UNITS] == chunks, "units that are no chunks")
    wide, height, plane = inner[isa.SOURCE_ROW], inner[isa.INPUT_HEIGHT], inner[isa.SOURCE_STEP]
    above, below = inner[isa.ROWS_ABOVE], inner[isa.ROWS_BELOW]
    _require((wide, height, above, below) == (split.row, split.height, split.top, split.bottom), "other phases")
    _require(2 * height >= extents[1] and 2 * wide >= extents[2], f"{step.name}: pixels in no phase")
    _require(plane >= (above + height + below) * wide + LANES, "phases that overlap")
    most = 4 * -(-channels // chunks)
    _require(inner[isa.SOURCE] >= above * wide + LANES, "zeros before the scratch")
    inner.reads_constant(inner[isa.ZEROS], max(where[isa.SOURCE_ROW], LANES))
    zeros = inner[isa.ZEROS] - where.constants[0]
    _require(not program.constants[zeros : zeros + max(where[isa.SOURCE_ROW], LANES)].any(), "zeros that are none")
    _require(inner[isa.SOURCE] + (most - 1) * plane + (height + below) * wide <= program.scratch, "beyond the scratch")
    _require(inner[isa.BLOCKS] == 1 and isa.MICROKERNELS[inner[isa.MICROKERNEL]][0] == 1, "channels that share")
    inner.target()
    _require(inner[isa.GROUPS] == 1, "phases that are read in parts")
    low, high = _check_tiles(inner, inner[isa.GROUP])
    _require(low >= 0 and high <= program.scratch, f"{step.name}: reads {low} to {high} of the scratch")
    _check_phases(inner, channels, chunks, most)


def _check_phases(inner, channels, chunks, most):
    """Every channel reads its own four phases, and those of no other."""
    phases = inner[isa.RIGHT] + inner[isa.LEFT] + 1
    pointers = inner.program.pointers[inner[isa.POINTERS] :][: channels * phases + 1].astype(np.int64)
    records = inner.program.records[inner[isa.RECORDS] :][: 2 * pointers[-1]].reshape(-1, 2)
    channel = np.repeat(np.arange(channels), np.diff(pointers[::phases]))
    first = np.arange(chunks) * channels // chunks
    place = channel - first[np.searchsorted(first, channel, side="right") - 1]
    # Zeros before a plane belong to it.
    above = inner[isa.ROWS_ABOVE] * inner[isa.SOURCE_ROW] + LANES
    planes = (records[:, 0] // 4 + above) // inner[isa.SOURCE_STEP]
    _require((planes // 4 == place).all() and (planes < most).all(), f"{inner.step.name}: phases of another channel")


def _check_tiles(where, count):
    """See what a microkernel reads and writes in `count` tiles; first float of the source read, and that behind."""
    step, program = where.step, where.program
    _require(isinstance(step, Convolution), "a convolution that is none")
    channels, vectors = isa.MICROKERNELS[where[isa.MICROKERNEL]]
    floats, outputs = vectors * LANES, where[isa.CHANNELS]
    groups, phases, blocks = -(-outputs // channels), where[isa.RIGHT] + where[isa.LEFT] + 1, where[isa.BLOCKS]
    _require(blocks >= 1 and 1 <= where[isa.CHUNKS] <= groups and where[isa.GROUP] >= 1, "no blocks, chunks or groups")

    needed = blocks * groups * phases + 1
    pointers = program.pointers[where[isa.POINTERS] : where[isa.POINTERS] + needed].astype(np.int64)
    _require(where[isa.POINTERS] >= 0 and len(pointers) == needed, "row pointers beyond their end")
    _require(pointers[0] == 0 and (np.diff(pointers) >= 0).all(), "row pointers that go backwards")
    records = program.records[where[isa.RECORDS] : where[isa.RECORDS] + pointers[-1] * (1 + channels)]
    _require(where[isa.RECORDS] >= 0 and len(records) == pointers[-1] * (1 + channels), "records beyond their end")
    offsets = records.reshape(-1, 1 + channels)[:, 0].astype(np.int64)
    _require((offsets % 4 == 0).all(), "offsets of parts of a float")

    tiles = _tiles_of(where, count, channels, vectors)
    # Every tile reads every record, so these are the very first and last floats that are read.
    inputs = where[isa.SOURCE] + tiles[:, isa.TILE_INPUT]
    low = inputs.min() + offsets.min(initial=0) // 4
    high = inputs.max() + offsets.max(initial=0) // 4 + floats
    pooled = where[isa.POOLED_FLOATS]
    needed = (groups * channels * floats if blocks > 1 else 0) + outputs * pooled
    _require(needed <= program.scratch, f"{step.name}: {needed} floats of {program.scratch} of scratch")
    if pooled:
        _require((tiles[:, isa.TILE_OUTPUT] >= 0).all(), "a tile before its scratch")
        _require((tiles[:, isa.TILE_OUTPUT] + floats <= pooled).all(), "a tile beyond its scratch")
        _check_pooled(where, tiles, vectors)
    else:
        _check_stores(where, tiles, vectors)
    return (low, high) if len(offsets) else (0, 0)


def _tiles_of(where, count, channels, vectors):
    """Rows of the table of tiles, and what is read for each beside pixels and weights."""
    outputs, floats, first = where[isa.CHANNELS], vectors * LANES, where[isa.TILES]
    _require(outputs >= channels, "outputs that fill no tile")
    known = isa.CLAMP_LOW | isa.CLAMP_HIGH | isa.MASK_OUTPUT | isa.SWISH
    _require(not where[isa.FLAGS] & ~known, "flags that do not exist")
    tiles = where.program.tiles[first : first + count]
    _require(first >= 0 and len(tiles) == count > 0, "tiles beyond their end")
    where.reads_constant(where[isa.BIAS], outputs)
    # Behind the bounds are the zeros that a later block takes for its bias; a product has one block.
    where.reads_constant(where[isa.BOUNDS], 2 + (0 if where[isa.OP] == isa.PRODUCT else channels))
    for position in np.unique(tiles[:, isa.TILE_MASKS]).tolist():
        where.reads_constant(position, 3 * floats)
    if where[isa.RESIDUAL] >= 0:
        where.reads(
            where[isa.RESIDUAL] + tiles[:, isa.TILE_OUTPUT].min(),
            where[isa.RESIDUAL] + (outputs - 1) * where[isa.RESIDUAL_STEP] + tiles[:, isa.TILE_OUTPUT].max() + floats,
        )
    _check_masks(where, tiles, floats)
    return tiles


def _mask(where, tile, floats, part):
    at = tile[isa.TILE_MASKS] - where.constants[0] + part * floats
    return where.program.constants.view(np.int32)[at : at + floats]


def _check_masks(where, tiles, floats):
    """Lanes that would cross the edge of a row are those that are masked, and masks are all or nothing."""
    row = where[isa.SOURCE_ROW]
    for tile in tiles:
        x = (tile[isa.TILE_INPUT] + np.arange(floats)) % row
        for part, kept in ((0, x != row - 1), (1, x != 0)):
            mask = _mask(where, tile, floats, part)
            _require(np.isin(mask, (0, -1)).all(), "a mask of some bits")
            _require(((mask == -1) == kept).all(), f"{where.step.name}: sums cross the edge of a row")


def _check_stores(where, tiles, vectors):
    """Stores stay within the target's own planes, change nothing but its pixels, and leave none of these out."""
    step, floats = where.step, vectors * LANES
    place, row = placed(step.target), where[isa.TARGET_ROW]
    _require((step.height, step.width) == (place.height, place.width), "a convolution of another size than its target")
    room = place.step - place.top * place.row  # where the next plane, with the zeros above it, begins
    seen = np.zeros(room, bool)
    for tile in tiles:
        _require(0 <= tile[isa.TILE_VECTORS] < 1 << vectors, "more vectors than a tile has")
        for i in range(vectors):
            if not tile[isa.TILE_VECTORS] >> i & 1:
                continue
            low = int(tile[isa.TILE_OUTPUT]) + i * LANES
            _require(low >= 0 and low + LANES <= room, f"{step.name}: stores at {low} of a plane of {room}")
            lanes = np.arange(low, low + LANES)
            wanted = (lanes % row < place.width) & (lanes // row < place.height)
            mask = _mask(where, tile, floats, 2)[i * LANES : (i + 1) * LANES] == -1
            _require(
                ((mask | (not where[isa.FLAGS] & isa.MASK_OUTPUT)) == wanted).all(), f"{step.name}: what is no pixel"
            )
            seen[lanes] |= wanted
    wanted = np.zeros(room, bool)
    for y in range(place.height):
        wanted[y * row : y * row + place.width] = True
    _require((seen == wanted).all(), f"{step.name}: pixels that no tile makes")


def _check_pooled(where, tiles, vectors):
    """The same of what is pooled, and of the scratch between."""
    step, group, row = where.step, where[isa.GROUP], where[isa.SOURCE_ROW]
    place = placed(step.target)
    room = place.step - place.top * place.row
    _require(row % LANES == 0, "a row of parts of vectors")
    _require(place.row >= row // 2, f"{step.name}: rows that are too long for those they are pooled into")
    seen = np.zeros(place.height, int)
    for n, tile in enumerate(tiles):
        rows = int(tile[isa.TILE_ROWS])
        _require(tile[isa.TILE_VECTORS] == (1 << vectors) - 1, "scratch that is left as it was")
        _require(rows % 2 == 0 and rows * row == where[isa.POOLED_FLOATS], f"{step.name}: rows beyond the scratch")
        _require(tile[isa.TILE_OUTPUT] == n % group * vectors * LANES, "scratch in another order")
        first = tiles[n - n % group]
        _require(tile[isa.TILE_INPUT] == first[isa.TILE_INPUT] + tile[isa.TILE_OUTPUT], "rows in another order")
        if n % group:
            continue
        low = int(tile[isa.TILE_POOLED])
        _require(low % place.row == 0 and low >= 0, "a pooled row between two")
        _require(low + (rows // 2 - 1) * place.row + row // 2 <= room, f"{step.name}: pooled rows beyond the plane")
        _require(tile[isa.TILE_INPUT] == 2 * (low // place.row) * row, f"{step.name}: pooled into another row")
        seen[low // place.row : low // place.row + rows // 2] += 1
        lanes = np.arange(rows * row)
        inside = (lanes % row < step.width) & (tile[isa.TILE_INPUT] // row + lanes // row < step.height)
        mask = np.concatenate([_mask(where, t, vectors * LANES, 2) for t in tiles[n : n + group]]) == -1
        _require(((mask | (not where[isa.FLAGS] & isa.MASK_OUTPUT)) == inside).all(), f"{step.name}: what is no pixel")
    _require((seen == 1).all(), f"{step.name}: pooled rows that are made twice or not at all")


def _check_winograd(where, inner):
    step, program, span = where.step, where.program, where[isa.SPAN_STEP]
    channels, vectors = isa.MICROKERNELS[inner[isa.MICROKERNEL]]
    tiles, inputs, outputs = vectors * LANES, where[isa.INPUTS], where[isa.SPAN_OUTPUTS]
    _require(outputs >= where[isa.CHANNELS], "outputs that have no products")
    _require(isinstance(step, Convolution) and where[isa.SPAN_TILES] == tiles, "tiles that are no vectors")
    _require(span % LANES == 0 and span >= tiles and 6 * where[isa.SPAN_PITCH] >= 32 * LANES, "too little room")
    # Scratch: factors, products, lines, in this order.
    _require(where[isa.SPAN_PRODUCTS] >= 36 * inputs * span, "products over factors")
    _require(where[isa.SPAN_LINES] >= where[isa.SPAN_PRODUCTS] + 36 * outputs * span, "lines over products")
    _require(where[isa.SPAN_LINES] + 6 * where[isa.SPAN_PITCH] <= program.scratch, "lines beyond the scratch")
    _check_products(where, inner, channels, vectors)
    _check_tiles_read(where)
    _check_tiles_written(where)


def _check_products(where, inner, channels, vectors):
    program, tiles, span = where.program, vectors * LANES, where[isa.SPAN_STEP]
    plain = (isa.SOURCE, isa.RIGHT, isa.LEFT, isa.FLAGS, isa.POOLED_FLOATS)
    _require(not any(inner[column] for column in plain) and inner[isa.RESIDUAL] == -1, "products of another kind")
    parts = isa.BLOCKS, isa.GROUP, isa.GROUPS, isa.CHUNKS
    _require([inner[c] for c in parts] == [1, 1, 1, 1], "products in parts")
    _require((inner[isa.TARGET], inner[isa.TARGET_STEP]) == (where[isa.SPAN_PRODUCTS], span), "products elsewhere")
    count = 36 * where[isa.SPAN_OUTPUTS]
    _require(inner[isa.CHANNELS] == count and where[isa.SPAN_OUTPUTS] % channels == 0, "products that are no tiles")
    pointers = program.pointers[inner[isa.POINTERS] : inner[isa.POINTERS] + count // channels + 1].astype(np.int64)
    _require(inner[isa.POINTERS] >= 0 and len(pointers) == count // channels + 1, "row pointers beyond their end")
    _require(pointers[0] == 0 and (np.diff(pointers) >= 0).all(), "row pointers that go backwards")
    records = program.records[inner[isa.RECORDS] : inner[isa.RECORDS] + pointers[-1] * (1 + channels)]
    _require(inner[isa.RECORDS] >= 0 and len(records) == pointers[-1] * (1 + channels), "records beyond their end")
    offsets = records.reshape(-1, 1 + channels)[:, 0].astype(np.int64)
    planes, rest = np.divmod(offsets, 4 * span)
    _require((rest == 0).all() and planes.min() >= 0, f"{where.step.name}: factors before their planes")
    # Each of the 36 products has planes of its own.
    product = np.repeat(np.arange(count // channels) * channels // where[isa.SPAN_OUTPUTS], np.diff(pointers))
    _require((planes // where[isa.INPUTS] == product).all(), f"{where.step.name}: factors of another product")
    first = inner[isa.TILES]
    _require(0 <= first < len(program.tiles), "tiles beyond their end")
    tile = program.tiles[first]
    _require(tile[[isa.TILE_INPUT, isa.TILE_OUTPUT]].tolist() == [0, 0], "a tile elsewhere")
    _require(tile[isa.TILE_VECTORS] == (1 << vectors) - 1, "sums that are not stored")
    inner.reads_constant(tile[isa.TILE_MASKS], 3 * tiles)
    inner.reads_constant(inner[isa.BIAS], count)
    inner.reads_constant(inner[isa.BOUNDS], 2 + channels)


def _quads(where):
    count = where[isa.UNITS] * where[isa.SPAN_TILES] * 4 // LANES
    quads = where.program.tiles[where[isa.TILES] : where[isa.TILES] + count]
    _require(where[isa.TILES] >= 0 and len(quads) == count > 0, "tiles beyond their end")
    return quads


def _check_tiles_read(where):
    """Pixels come from the source or are zeros, and lines have room for them, one run of tiles after the other."""
    place, pitch, quarter = placed(where.step.source), where[isa.SPAN_PITCH], LANES // 4
    extents = where[isa.INPUTS], where[isa.INPUT_HEIGHT], where[isa.INPUT_WIDTH]
    where.reads_planes(where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)
    _require(extents == where.step.source.shape, f"{where.step.name}: pixels left out")
    last = place.position + (place.channels - 1) * place.step + (place.height - 1) * place.row + place.width
    where.reads(place.position, last + LANES)
    where.reads_constant(where[isa.ZEROS], extents[2] + LANES)
    zeros = where[isa.ZEROS] - where.constants[0]
    _require(not where.program.constants[zeros : zeros + extents[2] + LANES].any(), "zeros that are none")
    across = where[isa.ACROSS]
    _require(across >= 1 and across % quarter == 0, "tiles of two rows in one vector")
    for unit in _quads(where).reshape(where[isa.UNITS], -1, isa.TILE_COLUMNS):
        _require(unit[0, isa.TILE_INPUT] == 0, "lines that do not begin")
    tile = np.arange(len(_quads(where))) * quarter
    places = _quads(where)[:, isa.TILE_INPUT]
    # From one vector of a line to the next, or, with what lies behind it, to that of the next run.
    same = (tile[1:] % across != 0) & (tile[1:] % where[isa.SPAN_TILES] != 0)
    steps = np.diff(places)
    _require((steps[same] == LANES).all(), "a run of tiles with gaps")
    fresh = ~same & (tile[1:] % where[isa.SPAN_TILES] != 0)
    _require((steps[fresh] >= LANES + 2).all(), "runs of tiles that overlap")
    # What is written in whole vectors ends less than one vector behind the two columns more that are read.
    _require(places.min() >= 0 and places.max() + 2 * LANES + 2 <= pitch, "lines beyond their end")


def _check_tiles_written(where):
    """Every pixel is made once, in its own place, and nothing but pixels and the zeros beside them."""
    step, quads = where.step, _quads(where)
    place, pooled = placed(step.target), where[isa.POOLED_FLOATS] > 0
    _require(pooled == step.pooled and not (pooled and where[isa.RESIDUAL] >= 0), "pools what it must not")
    wide, high = (LANES // 2, 2) if pooled else (LANES, 4)
    seen = np.zeros((place.height, place.row), int)
    for at, position, rows in quads[:, [isa.TILE_OUTPUT, isa.TILE_MASKS, isa.TILE_ROWS]].tolist():
        _require(0 <= rows <= high, "rows that no tile has")
        where.reads_constant(position, wide)
        y, x = divmod(at, place.row)
        if rows == 0:
            continue
        _require(
            at >= 0 and y + rows <= place.height and x + wide <= place.row, f"{step.name}: stores beside the plane"
        )
        first = position - where.constants[0]
        mask = where.program.constants.view(np.int32)[first : first + wide]
        _require(((mask == -1) == (np.arange(x, x + wide) < place.width)).all(), f"{step.name}: what is no pixel")
        _require(np.isin(mask, (0, -1)).all(), "a mask of some bits")
        seen[y : y + rows, x : x + wide] += 1
    _require((seen[:, : place.width] == 1).all() and (seen <= 1).all(), f"{step.name}: pixels made twice or not at all")
    where.reads_constant(where[isa.BIAS], where[isa.CHANNELS])
    where.reads_constant(where[isa.BOUNDS], 2 * LANES)
    if where[isa.RESIDUAL] >= 0:
        _require(step.second is not None, f"{step.name}: adds what is not there")
        _require(where[isa.RESIDUAL] != where[isa.TARGET], "adds what it writes")
        second = placed(step.second)
        found = where[isa.RESIDUAL], where[isa.RESIDUAL_STEP], where[isa.TARGET_ROW]
        _require(found == (second.position, second.step, second.row), f"{step.name}: adds another tensor")
        _require(second.height == place.height and second.channels == place.channels, "adds another shape")


def _check_matrix(where):
    step, program = where.step, where.program
    _require(isinstance(step, Matrix), "a matrix that is none")
    first, outputs = where[isa.ROW_POINTERS], where[isa.CHANNELS]
    rows = program.rows[first : first + outputs + 1].astype(np.int64)
    _require(first >= 0 and len(rows) == outputs + 1, "row pointers beyond their end")
    _require((np.diff(rows) >= 0).all() and rows[0] >= 0, "row pointers that go backwards")
    _require(rows[-1] <= len(program.values) == len(program.columns), "values beyond their end")
    place = placed(step.source)
    _require(step.source.compact and place.position == where[isa.SOURCE], "another vector")
    columns = program.columns[rows[0] : rows[-1]]
    _require(len(columns) == 0 or 0 <= columns.min() <= columns.max() < math.prod(step.source.shape), "columns beyond")
    where.reads_constant(where[isa.BIAS], outputs)
    _require(placed(step.target).step == 1, "a vector with gaps")


def _check_copy(where):
    step = where.step
    phases, lines = where[isa.PHASES], where[isa.KERNEL_ROWS]
    _require(phases >= 1 and lines >= 1 and phases % lines == 0, "phases that do not divide")
    _require(min(where[isa.ROW_STRIDE], where[isa.COLUMN_STRIDE]) >= 1, "a stride of nothing")
    # Whole vectors of two phases at once: as many as two vectors of the source make.
    pairs = where[isa.SOURCE_WIDTH] // (2 * LANES) * LANES if phases // lines == where[isa.COLUMN_STRIDE] == 2 else 0
    _require(pairs <= where[isa.WIDTH] and min(where[isa.ROW_START], where[isa.COLUMN_START]) >= 0, "beside the phases")
    planes = -(-where[isa.CHANNELS] // phases)
    extents = planes, where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]
    if step.source is None:
        needed = (planes - 1) * where[isa.SOURCE_STEP] + (extents[1] - 1) * where[isa.SOURCE_ROW] + extents[2]
        _require(where[isa.SOURCE] == 0 and needed <= where.pixels, f"{step.name}: {needed} of {where.pixels} pixels")
        _require(where[isa.SOURCE_ROW] >= extents[2], "rows of the image that overlap")
    else:
        where.reads_planes(step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)


def _check_pool(where):
    step = where.step
    extents = where[isa.CHANNELS], where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]
    where.reads_planes(step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)
    _require(extents[2] <= where.program.scratch, f"{step.name}: a row of {extents[2]} in scratch")
    axes = (
        (isa.ROW_START, isa.ROW_STRIDE, isa.KERNEL_ROWS, isa.SOURCE_HEIGHT, isa.HEIGHT),
        (isa.COLUMN_START, isa.COLUMN_STRIDE, isa.KERNEL_COLUMNS, isa.SOURCE_WIDTH, isa.WIDTH),
    )
    for columns in axes:
        start, stride, kernel, extent, count = (where[c] for c in columns)
        for n in (0, count - 1):
            low, high = max(start + n * stride, 0), min(start + n * stride + kernel, extent)
            _require(low < high, f"{step.name}: a window beside the image")
    if [where[c] for c in (isa.KERNEL_ROWS, isa.KERNEL_COLUMNS, isa.ROW_STRIDE, isa.COLUMN_STRIDE)] == [2] * 4:
        # Whole vectors at once.
        _require(extents[2] // LANES * LANES // 2 <= where[isa.WIDTH], f"{step.name}: squares beside the target")


def _check_global_pool(where):
    extents = where[isa.CHANNELS], where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]
    where.reads_planes(where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)


def _own_extents(where):
    return where[isa.CHANNELS], where[isa.HEIGHT], where[isa.WIDTH]


def _check_same(where):
    where.reads_planes(
        where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], _own_extents(where)
    )


def _check_unary(where):
    _check_same(where)
    where.reads_constant(where[isa.PARAMETERS], 2)


def _check_channelwise(where):
    _check_same(where)
    where.reads_constant(where[isa.PARAMETERS], where[isa.CHANNELS])
    where.reads_constant(where[isa.MORE_PARAMETERS], where[isa.CHANNELS])


def _check_binary(where):
    _check_same(where)
    planes, height, width = _own_extents(where)
    row, step, second = where[isa.SECOND_ROW], where[isa.SECOND_STEP], where.step.second
    if second is None:
        _require(min(row, step) >= 0, "a constant that is read backwards")
        last = (planes - 1) * step + (height - 1) * row + (width if row else 1)
        where.reads_constant(where[isa.SECOND], last)
        _require(last == where.step.constant.size, f"{where.step.name}: a part of a constant, or more")
        return
    # One plane that all planes of the target share has no next one.
    extents = (planes if step else 1, height if row else 1, width if row else 1)
    where.reads_planes(second, where[isa.SECOND], step or placed(second).step, row, extents)
    _require(second.shape in {(c, *s) for c in (1, planes) for s in ((1, 1), (height, width))}, "another shape")


def _check_interleave(where):
    rows, columns, phases = where[isa.ROW_STRIDE], where[isa.COLUMN_STRIDE], where[isa.PHASES]
    _require(min(rows, columns) >= 1 and phases in (1, rows * columns), "phases that are not those of the strides")
    planes, height, width = _own_extents(where)
    extents = planes * phases, -(-height // rows), -(-width // columns)
    where.reads_planes(where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)


def _check_resample(where):
    """Every place is -1 or inside; the second of a blend lies right behind the first, or is the same."""
    extents = where[isa.CHANNELS], *where.step.source.shape[1:]
    where.reads_planes(where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)
    _require(where[isa.SOURCE_WIDTH] == extents[2] <= where.program.scratch, "a row of another length, or no scratch")
    _require(where[isa.KIND] in (isa.PLACE, isa.LINEAR_BLEND), "another kind")
    where.reads_constant(where[isa.PARAMETERS], 1)
    height, width = where[isa.HEIGHT], where[isa.WIDTH]
    where.reads_constant(where[isa.MORE_PARAMETERS], 3 * (height + width))
    rows = where[isa.MORE_PARAMETERS] - where.constants[0]
    for at, count, extent in ((rows, height, extents[1]), (rows + 3 * height, width, extents[2])):
        first, second, weight = where.program.constants[at : at + 3 * count].reshape(3, count)
        _require((first == first.astype(np.int64)).all() and (second == second.astype(np.int64)).all(), "half a place")
        _require((first >= (-1 if where[isa.KIND] == isa.PLACE else 0)).all() and (first < extent).all(), "beside it")
        _require(np.isin(second - first, (0, 1)).all() and (second < extent).all(), "no neighbour")
        _require(((weight >= 0) & (weight <= 1)).all(), "a weight beyond one")


def _check_normalize(where):
    _check_same(where)
    planes, each = where[isa.CHANNELS], where[isa.GROUP_CHANNELS]
    _require(each >= 1 and planes % each == 0 and where[isa.UNITS] <= planes // each, "no groups of channels")
    where.reads_constant(where[isa.PARAMETERS], planes + 1)
    where.reads_constant(where[isa.MORE_PARAMETERS], planes)


def _check_turn(where):
    place = placed(where.step.source)
    distances = where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], where[isa.COLUMN_STRIDE]
    counts = where[isa.CHANNELS], where[isa.HEIGHT], where[isa.WIDTH]
    # Of each axis with more than one place: the axis of the source whose neighbours are as far apart, and as many.
    axes = [(place.step, place.channels), (place.row, place.height), (1, place.width)]
    used = [pair for pair in zip(distances, counts, strict=True) if pair[1] > 1]
    _require(where[isa.SOURCE] == place.position, "another source")
    _require(all(pair in axes for pair in used), f"{used} of {axes}")
    _require(math.prod(counts) == math.prod(where.step.source.shape), "values left out")


def _check_normalize_pixels(where):
    _check_same(where)
    where.reads_constant(where[isa.PARAMETERS], where[isa.CHANNELS] + 1)
    where.reads_constant(where[isa.MORE_PARAMETERS], where[isa.CHANNELS])
    _require(where.program.scratch >= 2 * PIXELS, "sums beyond the scratch")


def _check_conversion(where, of_bytes, of_floats):
    """Quantising and dequantising: channels in floats, as many words of four."""
    place = placed(where.step.source)
    found = where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW]
    _require(found == (place.position, place.step, place.row), f"{where.step.name}: reads another tensor")
    _require((of_bytes.fill is None, of_floats.fill is None) == (False, True), "words for floats")
    _require(of_bytes.shape[1:] == of_floats.shape[1:], f"{where.step.name}: another shape")
    _require(where[isa.SCALES] == of_floats.channels and of_bytes.channels == -(-of_floats.channels // 4), "channels")
    where.reads_constant(where[isa.PARAMETERS], 2)


def _check_quantize(where):
    _check_conversion(where, where.step.target, where.step.source)


def _check_dequantize(where):
    _check_conversion(where, where.step.source, where.step.target)


def _check_copy_bytes(where):
    _require(where[isa.ROW_START] == where[isa.COLUMN_START] == 0, "beside the phases")
    _check_copy(where)
    across = where[isa.PHASES] // where[isa.KERNEL_ROWS]
    _require(where[isa.CHANNELS] % across == 0, "columns of which some have no plane")
    if across == where[isa.COLUMN_STRIDE] == 2:
        # Two columns at a time, in whole vectors, of which the last ones reach beyond a row.
        vectors = -(-where[isa.WIDTH] // LANES)
        _require(vectors * LANES <= where[isa.TARGET_ROW], "vectors that end in the next row")
        source = placed(where.step.source)
        last = source.position + (source.channels - 1) * source.step + (source.height - 1) * source.row
        where.reads(source.position, last + 2 * LANES * vectors)


def _check_pool_bytes(where):
    extents = where[isa.CHANNELS], where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]
    where.reads_planes(where.step.source, where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW], extents)
    # Squares are read in whole vectors, whose last ones reach beyond a row.
    last = where[isa.SOURCE] + (extents[0] - 1) * where[isa.SOURCE_STEP] + extents[1] * where[isa.SOURCE_ROW]
    where.reads(where[isa.SOURCE], last + 2 * WORDS)
    if (where[isa.KERNEL_ROWS], where[isa.KERNEL_COLUMNS]) == (where[isa.SOURCE_HEIGHT], where[isa.SOURCE_WIDTH]):
        _require(where[isa.SOURCE_WIDTH] <= where.program.scratch, "a row beyond the scratch")


def _check_add_bytes(where):
    step = where.step
    _require(step.source.fill is not None and step.second.fill is not None, f"{step.name}: adds what are no bytes")
    _require(step.source.shape == step.second.shape == step.target.shape, f"{step.name}: another shape")
    _check_binary(where)
    _require(where[isa.SECOND_STEP] == placed(step.second).step, f"{step.name}: one plane for all")
    where.reads_constant(where[isa.PARAMETERS], 8)


def _check_interleave_bytes(where):
    _require(where.step.source.fill is not None, f"{where.step.name}: joins what are no bytes")
    _check_interleave(where)


def _check_requantize(where):
    source, first, channels = where.step.source, where[isa.FIRST_BYTE], where[isa.SCALES]
    _require(None not in (source.fill, where.step.target.fill), f"{where.step.name}: requantises what are no bytes")
    planes, *extents = _own_extents(where)
    fits = 0 <= first < 4 and (source.channels, planes) == (-(-channels // 4), -(-(first + channels) // 4))
    _require(fits and source.shape[1:] == tuple(extents), f"{where.step.name}: another shape")
    places = where[isa.SOURCE], where[isa.SOURCE_STEP], where[isa.SOURCE_ROW]
    where.reads_planes(source, *places, (source.channels, *extents))
    # Whole words are read and written in whole vectors, whose last ones reach beyond a row of pixels.
    row = -(-extents[1] // max(WORDS, LANES)) * max(WORDS, LANES)
    _require(first or row <= min(placed(source).row, placed(where.step.target).row), "rows that end within a vector")
    where.reads_constant(where[isa.PARAMETERS], 256 // 4)


_CHECKS = {
    isa.QUANTIZE: _check_quantize,
    isa.DEQUANTIZE: _check_dequantize,
    isa.COPY_BYTES: _check_copy_bytes,
    isa.POOL_BYTES: _check_pool_bytes,
    isa.ADD_BYTES: _check_add_bytes,
    isa.INTERLEAVE_BYTES: _check_interleave_bytes,
    isa.REQUANTIZE: _check_requantize,
    isa.INPUT: _check_copy,
    isa.COPY: _check_copy,
    isa.POOL: _check_pool,
    isa.GLOBAL_POOL: _check_global_pool,
    isa.UNARY: _check_unary,
    isa.BINARY: _check_binary,
    isa.CHANNELWISE: _check_channelwise,
    isa.INTERLEAVE: _check_interleave,
    isa.SOFTMAX: _check_same,
    isa.RESAMPLE: _check_resample,
    isa.NORMALIZE: _check_normalize,
    isa.TURN: _check_turn,
    isa.NORMALIZE_PIXELS: _check_normalize_pixels,
}
