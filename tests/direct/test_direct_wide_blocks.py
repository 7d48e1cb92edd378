"""Sparse form of a convolution of bytes with aligned loads: sums that move by a lane, and what moves in at edges."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.direct import dense_bytes, isa
from sparsemark.direct.blocks import Blocks
from sparsemark.direct.dense_bytes import PIXELS
from sparsemark.direct.kernels.wide_blocks import emit_wide_tile
from sparsemark.direct.layout import Layout, row_of_words
from sparsemark.direct.memory import placed
from sparsemark.direct.schedule import Schedule
from sparsemark.direct.wide_blocks import COLUMNS, POOLED_TILES, TILES, is_aligned, pack_wide, wide_tiles
from tests.direct.bounds import OutOfBoundsError, check_places, check_program
from tests.direct.checks import SOME
from tests.direct.graphs import Prepared
from tests.direct.test_direct_bytes import Quantised, image_of
from tests.direct.test_direct_dense_bytes import compiled_tile, prepared_as

runs_here = pytest.mark.skipif(not dense_bytes.RUNS_HERE, reason="needs AVX-512 with VNNI")

BY_BLOCKS = Schedule(0)

LAYER = Quantised(9, 6, (19, 37), (3, 3), (1, 1), (1, 1), (1,) * 4, 1, (5, 9), 127, 0.4, None, 3)


def check(layer, *, aligned):
    """Bytes are those of plain loops, and every address of them is in bounds."""
    prepared, step, choices = prepared_as(layer, BY_BLOCKS)
    assert is_aligned(step, placed(step.source)) == aligned
    image = image_of(layer)
    check_places(prepared.lowered, prepared.floats)
    program = prepared.program(choices)
    check_program(program, prepared.lowered.operations, 1, image.size)
    (found,) = prepared.runner(choices)(image)
    np.testing.assert_array_equal(found, layer.expected(image))
    return program, step


@runs_here
@pytest.mark.parametrize("missing", [0, 3, PIXELS - 1])
@pytest.mark.parametrize(("rows", "vectors"), TILES)
def test_every_size_of_a_tile_gives_the_bytes_of_plain_loops(rows, vectors, missing):
    layer = replace(LAYER, size=(rows, PIXELS * vectors - missing))
    program, _ = check(layer, aligned=True)
    assert {TILES[size][1] for size in program.tiles[:, isa.TILE_VECTORS]} == {vectors}
    assert TILES.index((rows, vectors)) in program.tiles[:, isa.TILE_VECTORS]


@runs_here
@SOME
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 100)),
    st.sampled_from([(1, 1), (3, 2), (2, 3), (3, 3)]),
    st.tuples(*[st.integers(0, 1)] * 4),
    st.tuples(st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0, 77, 255]), st.integers(0, 2**16)),
)
def test_neighbours_give_the_bytes_of_plain_loops(size, kernel, pads, values):
    """Also where an output channel has no blocks in some columns, and where the image has no border."""
    density, zero, seed = values
    size = size[0] + kernel[0], size[1] + kernel[1]
    layer = replace(LAYER, size=size, kernel=kernel, pads=pads, density=density, zeros=(zero, 9), seed=seed)
    _, step, _ = prepared_as(layer, BY_BLOCKS)
    check(layer, aligned=is_aligned(step, placed(step.source)))


@runs_here
@pytest.mark.parametrize(
    "layer",
    [
        replace(LAYER, kernel=(3, 5), pads=(1, 2, 1, 2), density=1.0),
        replace(LAYER, kernel=(1, 2), size=(5, 17), pads=(0,) * 4, density=1.0),  # the last sum reads a pixel behind it
        replace(LAYER, size=(3, PIXELS * 9 + 1)),
    ],
    ids=["far", "beyond", "broad"],
)
def test_loads_are_not_aligned_where_nobody_knows_what_would_move_in(layer):
    program, _ = check(layer, aligned=False)
    pointers = program.pointers[: 12 * 2 + 1].reshape(-1)
    assert (pointers[0:-1:3] == pointers[1::3]).all()
    assert (pointers[2:-1:3] == pointers[3::3]).all()


@runs_here
def test_every_pixel_is_in_a_tile():
    used = set()
    for height, width, aligned in itertools.product(
        range(1, 20), (1, 15, 16, 17, 48, 64, 100, 128, 224), (True, False)
    ):
        row = row_of_words(width)
        tiles, masks = wide_tiles(height, width, row, row, aligned=aligned)
        seen = np.zeros((height, row), int)
        for out, mask, size in tiles[:, [isa.TILE_OUTPUT, isa.TILE_MASKS, isa.TILE_VECTORS]].tolist():
            rows, vectors = TILES[size]
            y, x = divmod(out, row)
            assert x == 0 or not aligned
            used.add((rows, vectors))
            seen[y : y + rows, x : x + PIXELS * vectors] += (masks[mask][: PIXELS * vectors] != 0).astype(int)
        assert (seen[:, :width] >= 1).all()
        assert not seen[:, width:].any()
    assert used == set(TILES)


@SOME
@given(st.integers(0, 2**16), st.integers(1, 9), st.sampled_from([0.1, 0.6, 1.0]), st.booleans())
def test_records_hold_every_block_once(seed, outputs, density, aligned):
    random = np.random.default_rng(seed)
    all_places = np.array(list(itertools.product(range(outputs), range(3), (-1, 0, 1), COLUMNS)))
    out, plane, dy, dx = all_places[random.random(len(all_places)) < density].T
    weights = random.integers(-128, 128, (len(out), 4)).astype(np.int8)
    padded = 4 * -(-outputs // 4)
    packed = pack_wide(Blocks(out, plane, dy, dx, weights), Layout(3, 5, 9, 16, 1, 1, 600, 30), padded, aligned=aligned)
    wanted = {
        (o, x if aligned else 0, 4 * (600 * p + 16 * y + (0 if aligned else x))): four.tolist()
        for o, p, y, x, four in zip(out, plane, dy, dx, weights, strict=True)
    }
    found = {}
    for channel, (number, column) in itertools.product(range(padded), enumerate(COLUMNS)):
        first, last = packed.pointers[3 * channel + number : 3 * channel + number + 2]
        for offset, four in packed.records[first:last].reshape(-1, 2).tolist():
            assert (channel, column, offset) not in found
            found[channel, column, offset] = np.array([four], np.int32).view(np.int8).tolist()
    assert found == wanted
    assert packed.pointers[-1] == packed.records.size


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86"), reason="instructions of x86-64")
@pytest.mark.parametrize(("rows", "vectors"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_a_product_is_one_instruction_and_sums_stay_in_registers(rows, vectors):
    module, target = compiled_tile(emit_wide_tile, rows, vectors, "cascadelake", "")
    lines = target.emit_assembly(module).splitlines()
    products = [number for number, line in enumerate(lines) if "vpdpbusd" in line]
    assert len(products) == 2 * len(COLUMNS) * rows * vectors  # two channels, one after the other
    assert all("zmm" in lines[number] for number in products)
    loops = [lines[number - 8 : number] for number in products]
    assert not [line for line in itertools.chain(*loops) if "zmm" in line and "(%rsp" in line]


@runs_here
def test_spoiled_programs_are_seen_as_such():
    layer = replace(LAYER, density=1.0)
    program, _ = check(layer, aligned=True)
    prepared, _, _ = prepared_as(layer, BY_BLOCKS)
    steps, pixels = prepared.lowered.operations, 9 * 19 * 37
    mine = program.table[:, isa.OP] == isa.CONVOLVE_BYTES
    columns = (
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS,
        isa.RECORDS, isa.POINTERS, isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.UNITS, isa.TILES, isa.BIAS, isa.SCALES,
        isa.LEVELS,
    )  # fmt: skip
    refused = pytest.raises((OutOfBoundsError, IndexError, ValueError))
    for column in columns:
        spoiled = copy.deepcopy(program)
        spoiled.table[mine, column] += 10**6
        with refused:
            check_program(spoiled, steps, 1, pixels)
    for column, by in itertools.product((isa.TILE_INPUT, isa.TILE_OUTPUT, isa.TILE_VECTORS), (1, -1, 10**6)):
        spoiled = copy.deepcopy(program)
        spoiled.tiles[:, column] += by
        with refused:
            check_program(spoiled, steps, 1, pixels)
    for by in (1, 4 * 10**7, -4 * 10**7):
        spoiled = copy.deepcopy(program)
        spoiled.records[0] += by
        with refused:
            check_program(spoiled, steps, 1, pixels)
    # What moves in at the right edge, and what is added at the left one.
    bias = int(program.table[mine, isa.BIAS][0]) - prepared.floats
    for place in (bias, bias + 4, bias + 8):
        spoiled = copy.deepcopy(program)
        spoiled.constants.view(np.int32)[place] += 1
        with refused:
            check_program(spoiled, steps, 1, pixels)


def pooled_graph(layer, kernel=(2, 2), strides=(2, 2)):
    """A layer and the pooling of what it makes."""
    return layer.graph(lambda sketch, name: sketch.node("MaxPool", name, kernel_shape=kernel, strides=strides))[0]


def pooling_of(graph):
    """Codes of convolutions and pooling."""
    prepared = Prepared(graph)
    found = [step.code for step in prepared.lowered.operations]
    return prepared, [code for code in found if code not in (isa.INPUT, isa.QUANTIZE, isa.DEQUANTIZE)]


@runs_here
@pytest.mark.parametrize("missing", [0, 1, 2, PIXELS - 2])
@pytest.mark.parametrize(("rows", "vectors"), POOLED_TILES)
def test_a_convolution_makes_the_largest_bytes_of_squares(rows, vectors, missing):
    layer = replace(LAYER, size=(rows + missing % 2, PIXELS * vectors - missing), density=0.1, clip=(-100.0, 700.0))
    prepared, codes = pooling_of(pooled_graph(layer))
    assert codes == [isa.CONVOLVE_POOLED_BYTES]
    program, image = prepared.program({}), image_of(layer)
    check_places(prepared.lowered, prepared.floats)
    check_program(program, prepared.lowered.operations, 1, image.size)
    assert POOLED_TILES.index((rows, vectors)) in program.tiles[:, isa.TILE_VECTORS]
    (found,) = prepared.runner({})(image)
    before = layer.expected(image)[:, :, : layer.size[0] // 2 * 2, : layer.size[1] // 2 * 2]
    shape = 1, layer.outputs, layer.size[0] // 2, 2, layer.size[1] // 2, 2
    np.testing.assert_array_equal(found, before.reshape(shape).max(axis=(3, 5)))


@runs_here
def test_pooling_stays_by_itself_where_it_is_of_other_squares_or_something_else_reads_what_it_does():
    alone, sparse = [isa.CONVOLVE_BYTES, isa.POOL_BYTES], replace(LAYER, density=0.1)
    for kernel, strides in (((3, 3), (2, 2)), ((2, 2), (1, 1)), ((2, 1), (2, 2))):
        assert pooling_of(pooled_graph(sparse, kernel, strides))[1] == alone
    for layer in (replace(sparse, kernel=(3, 5), pads=(1, 2, 1, 2)), replace(sparse, size=(4, 300))):
        assert pooling_of(pooled_graph(layer))[1] == alone
    # A dense form may be the faster.
    assert pooling_of(pooled_graph(replace(LAYER, outputs=8, density=1.0)))[1] == alone

    def both(sketch, name):
        pooled = sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
        return sketch.node("MaxPool", pooled, kernel_shape=[2, 2], strides=[2, 2]), name

    prepared, codes = pooling_of(sparse.graph(both)[0])
    assert codes == [*alone, isa.POOL_BYTES]
    found = prepared.runner({})(image_of(sparse))
    np.testing.assert_array_equal(found[1], sparse.expected(image_of(sparse)))
