"""Dense form of a convolution of bytes: the bytes of the sparse one, and chosen where it is faster."""

from __future__ import annotations

import copy
import ctypes
import itertools
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir

from sparsemark.direct import autotune, dense_bytes, isa
from sparsemark.direct.blocks import Blocks
from sparsemark.direct.dense_bytes import PIXELS, TILES, TOGETHER, pack_dense
from sparsemark.direct.explain import explain
from sparsemark.direct.ir import BlockConvolution
from sparsemark.direct.kernels.dense_bytes import emit_dense_tile
from sparsemark.direct.kernels.wide import WideTile
from sparsemark.direct.layout import Layout
from sparsemark.direct.network import Network
from sparsemark.direct.schedule import Schedule, byte_options
from sparsemark.direct.target import PROCESSOR
from tests.direct.bounds import OutOfBoundsError, check_places, check_program
from tests.direct.checks import SOME
from tests.direct.graphs import Prepared
from tests.direct.test_direct_bytes import Quantised, image_of, quantised_layers

runs_here = pytest.mark.skipif(not dense_bytes.RUNS_HERE, reason="needs AVX-512 with VNNI")

FULL = Quantised(20, 33, (19, 37), (3, 3), (1, 1), (1, 1), (1,) * 4, 1, (5, 9), 64, 1.0, None, 3)

BY_BLOCKS, DENSE = Schedule(0), Schedule(0, product=True)


def prepared_as(layer, schedule=DENSE):
    """A layer with its place in memory, and how its convolution of bytes is to run."""
    prepared = Prepared(layer.graph()[0])
    (step,) = (step for step in prepared.lowered.operations if isinstance(step, BlockConvolution))
    return prepared, step, {step: schedule}


@runs_here
@SOME
@given(quantised_layers())
def test_bytes_are_those_of_plain_loops_however_few_blocks_there_are(layer):
    prepared, _, choices = prepared_as(layer)
    image = image_of(layer)
    check_places(prepared.lowered, prepared.floats)
    for threads in (1, 3):
        program = prepared.program(choices, threads)
        assert isa.CONVOLVE_DENSE_BYTES in program.table[:, isa.OP]
        check_program(program, prepared.lowered.operations, threads, image.size)
    (found,) = prepared.runner(choices)(image)
    np.testing.assert_array_equal(found, layer.expected(image))


@runs_here
@pytest.mark.parametrize(("rows", "vectors"), TILES)
def test_every_size_of_a_tile_gives_the_bytes_of_plain_loops(rows, vectors):
    layer = replace(FULL, size=(rows, PIXELS * vectors - 3), most=127)
    prepared, _, choices = prepared_as(layer)
    tiles = prepared.program(choices).tiles
    assert tiles[:, isa.TILE_VECTORS].tolist() == [TILES.index((rows, vectors))]
    image = image_of(layer)
    (found,) = prepared.runner(choices)(image)
    np.testing.assert_array_equal(found, layer.expected(image))


@runs_here
def test_threads_share_a_dense_layer():
    prepared, _, choices = prepared_as(FULL)
    image, run = image_of(FULL), prepared.runner(choices, 3)
    for number in range(4):
        (found,) = run(image + number)
        np.testing.assert_array_equal(found, FULL.expected(image + np.float32(number)))


@runs_here
def test_the_dense_form_is_tried_where_most_blocks_are_present():
    for density, wanted in ((1.0, [BY_BLOCKS, DENSE]), (0.02, [BY_BLOCKS]), (0.0, [BY_BLOCKS])):
        _, step, _ = prepared_as(replace(FULL, density=density))
        assert byte_options(step) == wanted
    # Four output channels that read four groups share no load.
    _, step, _ = prepared_as(replace(FULL, channels=32 * 4, outputs=32, group=32))
    assert byte_options(step) == [BY_BLOCKS]


def test_a_processor_without_the_instructions_keeps_the_sparse_form(monkeypatch):
    monkeypatch.setattr(dense_bytes, "RUNS_HERE", False)
    _, step, _ = prepared_as(FULL)
    assert byte_options(step) == [BY_BLOCKS]


@runs_here
@pytest.mark.parametrize("faster", [BY_BLOCKS, DENSE])
def test_the_faster_form_is_chosen_and_remembered(faster, tmp_path, monkeypatch):
    timed = []

    def time_operation(operation, schedules, *_, **__):
        timed.append(schedules[operation])
        return 1.0 if schedules[operation] == faster else 2.0

    monkeypatch.setattr(autotune, "time_operation", time_operation)
    networks = [Network(FULL.graph()[0], 1, tmp_path) for _ in range(2)]
    assert set(timed) == {BY_BLOCKS, DENSE}
    assert len(timed) == 4  # twice each, by the first network
    image = image_of(FULL)
    for network in networks:
        assert list(network.plan(image.shape).schedules.values()) == [faster]
        np.testing.assert_array_equal(network(image)[0], FULL.expected(image))


@SOME
@given(st.integers(0, 2**16), st.integers(1, 9), st.sampled_from([0.1, 0.6, 1.0]), st.integers(8, 30))
def test_records_hold_every_block_once(seed, outputs, density, row):
    """Also where two taps of a plane lie at one offset: a row's last neighbour is the next one's first."""
    random = np.random.default_rng(seed)
    all_places = np.array(list(itertools.product(range(outputs), range(3), (-1, 0, 1), (-8, 0, 8))))
    out, plane, dy, dx = all_places[random.random(len(all_places)) < density].T
    weights = random.integers(-128, 128, (len(out), 4)).astype(np.int8)
    layout = Layout(3, 5, 9, row, 1, 1, 600, 30)
    padded = TOGETHER * -(-outputs // TOGETHER)
    packed = pack_dense(Blocks(out, plane, dy, dx, weights), layout, padded)
    found, wanted = np.zeros((padded, 4000, 4), np.int64), np.zeros((padded, 4000, 4), np.int64)
    np.add.at(wanted, (out, 1000 + plane * 600 + dy * row + dx), weights)
    assert len(packed.pointers) == padded // TOGETHER + 1
    for quad, (first, last) in enumerate(itertools.pairwise(packed.pointers)):
        for record in packed.records[first:last].reshape(-1, 1 + TOGETHER):
            four = record[1:].copy().view(np.int8).reshape(TOGETHER, 4)
            assert four.any() or not weights.all()
            found[TOGETHER * quad : TOGETHER * (quad + 1), 1000 + record[0] // 4] += four
    np.testing.assert_array_equal(found, wanted)
    assert packed.pointers[-1] == packed.records.size


def compiled_tile(emit, rows, vectors, cpu, features):
    """Module with one tile, optimised for a processor, and its target."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 10), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit(WideTile(builder, rows, vectors), function.args)
    builder.ret_void()
    target = llvm.Target.from_triple(module.triple).create_target_machine(cpu=cpu, features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    return parsed, target


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86"), reason="instructions of x86-64")
def test_a_load_serves_four_products():
    module, target = compiled_tile(emit_dense_tile, 1, 4, "cascadelake", "")
    lines = target.emit_assembly(module).splitlines()
    products = [line for line in lines if "vpdpbusd" in line]
    assert len(products) == 4 * TOGETHER
    assert all("zmm" in line and "(" not in line for line in products)
    assert not [line for line in lines if "zmm" in line and "(%rsp)" in line]


@runs_here
def test_a_tile_writes_what_surrounds_the_image_beside_its_pixels():
    """Nobody else need do so: sums of the first two channels are their bias, 7 and 300, of which a byte holds 255."""
    module, target = compiled_tile(emit_dense_tile, 1, 2, PROCESSOR.name, PROCESSOR.features)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    tile = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)(engine.get_function_address("tile"))
    made = np.zeros(3 * PIXELS, np.int32)
    pixels, none, pointers = np.zeros(2 * PIXELS, np.int32), np.zeros(1, np.int32), np.zeros(2, np.int32)
    bias, scales, levels = np.array([7, 300, 2, 1], np.int32), np.ones(4, np.float32), [3, 5, 255, 0x09090909]
    masks = -(np.arange(2 * PIXELS) < 2 * PIXELS - 5).astype(np.int32)
    arrays = none, pointers, bias, scales, np.array(levels, np.int32), masks, made
    tile(pixels.ctypes.data, 0, *(one.ctypes.data for one in arrays), 0)
    found = made.view(np.uint8).reshape(-1, 4).tolist()
    assert found == [[10, 255, 5, 5]] * (2 * PIXELS - 5) + [[9] * 4] * 5 + [[0] * 4] * PIXELS


@runs_here
def test_spoiled_programs_of_the_dense_form_are_seen_as_such():
    prepared, _, choices = prepared_as(FULL)
    program, steps, pixels = prepared.program(choices), prepared.lowered.operations, 20 * 19 * 37
    check_program(program, steps, 1, pixels)
    mine = program.table[:, isa.OP] == isa.CONVOLVE_DENSE_BYTES
    columns = (
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS,
        isa.RECORDS, isa.POINTERS, isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.UNITS, isa.TILES, isa.BIAS, isa.SCALES,
        isa.LEVELS,
    )  # fmt: skip
    for column in columns:
        spoiled = copy.deepcopy(program)
        spoiled.table[mine, column] += 10**6
        with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
            check_program(spoiled, steps, 1, pixels)
    for column, by in itertools.product((isa.TILE_INPUT, isa.TILE_OUTPUT, isa.TILE_VECTORS), (1, -1, 10**6)):
        spoiled = copy.deepcopy(program)
        spoiled.tiles[:, column] += by
        with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
            check_program(spoiled, steps, 1, pixels)
    for by in (1, 4 * 10**7, -4 * 10**7):
        spoiled = copy.deepcopy(program)
        spoiled.records[0] += by
        with pytest.raises(OutOfBoundsError):
            check_program(spoiled, steps, 1, pixels)


@runs_here
def test_a_dense_layer_is_explained_as_such():
    plan = Network(FULL.graph()[0], 1).plan((1, 20, 19, 37))
    (step,) = (step for step in plan.lowered.operations if isinstance(step, BlockConvolution))
    for schedule, kernel in ((DENSE, "int8, all blocks"), (BY_BLOCKS, "int8 blocks of four")):
        (layer,) = (one for one in explain(replace(plan, schedules={step: schedule})) if one.dense)
        assert layer.kernel.startswith(kernel)
        assert layer.dense == 33 * 20 * 9 * 19 * 37
        assert layer.products == (layer.dense if schedule == DENSE else layer.multiply_adds)
