"""Convolutions of bytes over blocks of four: exact against plain loops, whatever the processor multiplies with."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir

from sparsemark.direct import dense_bytes, isa
from sparsemark.direct.block_forms import PAIRS, PLAIN, TILES, TOGETHER, VNNI, form_for
from sparsemark.direct.blocks import Blocks, pack_blocks
from sparsemark.direct.byte_tiles import tiles_of
from sparsemark.direct.ir import BlockConvolution
from sparsemark.direct.kernels.blocks import emit_tile
from sparsemark.direct.layout import WORDS, Layout, row_of_words
from sparsemark.direct.network import Network
from sparsemark.direct.target import FEATURES, PROCESSOR
from sparsemark.engines.direct_csr import open_dense
from sparsemark.formats.csr.densified import densified
from sparsemark.formats.csr.graph import load_csr
from tests.direct.bounds import check_places, check_program
from tests.direct.checks import MANY, SOME
from tests.direct.graphs import Prepared, Sketch, written


@dataclass(frozen=True)
class Quantised:
    """A convolution of bytes."""

    channels: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    group: int
    zeros: tuple[int, int]
    most: int
    density: float
    clip: tuple[float, float] | None
    seed: int

    def weight(self):
        random = np.random.default_rng(self.seed)
        shape = self.outputs, self.channels // self.group, *self.kernel
        weight = random.integers(-self.most - 1, self.most + 1, shape)
        return np.where(random.random(shape) < self.density, weight, 0).astype(np.int8)

    def graph(self, further=None):
        """Its graph, with what `further` makes of a sketch and the name of its result as outputs."""
        random = np.random.default_rng(self.seed + 1)
        sketch = Sketch(1, self.channels, *self.size)
        weight = self.weight()
        scales = random.uniform(0.5, 2.0, self.outputs).astype(np.float32)
        bias = random.integers(-500, 500, self.outputs)
        name = sketch.quantized("x", 0.5, self.zeros[0])
        operands = [name, sketch.block_weight(weight, scales), sketch.constant(bias * np.float32(0.5) * scales)]
        attributes = {"strides": list(self.strides), "dilations": list(self.dilations), "pads": list(self.pads)}
        name = sketch.node("Conv", *operands, group=self.group, kernel_shape=list(self.kernel), **attributes)
        if self.clip is not None:
            name = sketch.node("Clip", name, *map(sketch.constant, self.clip))
        step = np.float32(max(1.0, self.most * 64 * math.sqrt(weight[0].size * max(self.density, 0.1))) / 128)
        name = sketch.quantized(name, step, self.zeros[1])
        made = further(sketch, name) if further else name
        return sketch.graph(*(made if isinstance(made, tuple) else (made,))), scales, bias, step

    def expected(self, image):
        """Plain loops over integers; rounding in float32, as engines do it."""
        _, scales, bias, step = self.graph()
        levels = np.clip(np.rint(image[0] / np.float32(0.5)) + self.zeros[0], 0, 255).astype(np.int64) - self.zeros[0]
        top, left, bottom, right = self.pads
        padded = np.pad(levels, ((0, 0), (top, bottom), (left, right)))
        weight = self.weight().astype(np.int64)
        reach = [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]
        high, wide = (
            (extent - far - 1) // stride + 1
            for extent, far, stride in zip(padded.shape[1:], reach, self.strides, strict=True)
        )
        sums = np.zeros((self.outputs, high, wide), np.int64) + bias[:, None, None]
        each, own = self.outputs // self.group, self.channels // self.group
        for o in range(self.outputs):
            first = o // each * own
            for ky in range(self.kernel[0]):
                for kx in range(self.kernel[1]):
                    y, x = ky * self.dilations[0], kx * self.dilations[1]
                    seen = padded[first : first + own, y:, x:][:, :: self.strides[0], :: self.strides[1]]
                    sums[o] += (seen[:, :high, :wide] * weight[o, :, ky, kx][:, None, None]).sum(axis=0)
        factor = (np.float32(0.5) * scales) / step
        found = np.rint(sums.astype(np.float32) * factor[:, None, None]) + self.zeros[1]
        low, high = 0, 255
        if self.clip is not None:
            low, high = (np.clip(np.rint(np.float32(bound) / step) + self.zeros[1], 0, 255) for bound in self.clip)
        found = np.clip(found, low, high)
        return ((found - self.zeros[1]).astype(np.float32) * step)[None]


@st.composite
def quantised_layers(draw):
    group = draw(st.sampled_from([1, 1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
    least = [
        max(1, d * (k - 1) + 1 - pads[a] - pads[a + 2]) for a, (d, k) in enumerate(zip(dilations, kernel, strict=True))
    ]
    return Quantised(
        channels=group * draw(st.integers(1, 9)),
        outputs=group * draw(st.integers(1, 6)),
        size=(draw(st.integers(least[0], least[0] + 18)), draw(st.integers(least[1], least[1] + 70))),
        kernel=kernel,
        strides=draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 2)])),
        dilations=dilations,
        pads=pads,
        group=group,
        zeros=(draw(st.sampled_from([0, 3, 128, 255])), draw(st.sampled_from([0, 7, 128, 255]))),
        most=draw(st.sampled_from([1, 40, 64, 127])),
        density=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        clip=draw(st.sampled_from([None, None, (0.0, math.inf), (-100.0, 700.0)])),
        seed=draw(st.integers(0, 2**16)),
    )


def image_of(layer):
    """Floats that reach beyond both ends of what a byte can hold."""
    random = np.random.default_rng(layer.seed + 2)
    return random.uniform(-160, 160, (1, layer.channels, *layer.size)).astype(np.float32)


@MANY
@given(quantised_layers())
def test_bytes_are_those_of_plain_loops(layer):
    graph = layer.graph()[0]
    prepared, image = Prepared(graph), image_of(layer)
    assert any(isinstance(step, BlockConvolution) for step in prepared.lowered.operations)
    check_places(prepared.lowered, prepared.floats)
    for threads in (1, 3):
        check_program(prepared.program({}, threads), prepared.lowered.operations, threads, math.prod(graph.input_shape))
    (found,) = prepared.runner({})(image)
    np.testing.assert_array_equal(found, layer.expected(image))


def test_threads_share_a_layer_and_its_memory_may_hold_anything_before():
    layer = Quantised(20, 33, (19, 37), (3, 3), (1, 1), (1, 1), (1,) * 4, 1, (5, 9), 64, 0.5, None, 3)
    prepared, image = Prepared(layer.graph()[0]), image_of(layer)
    run = prepared.runner({}, 3)
    for number in range(4):
        (found,) = run(image + number)
        np.testing.assert_array_equal(found, layer.expected(image + np.float32(number)))


@pytest.mark.parametrize(("sizes", "pixels"), [(TILES, WORDS), (dense_bytes.TILES, dense_bytes.PIXELS)])
def test_every_pixel_is_in_a_tile_and_every_size_of_a_tile_is_used(sizes, pixels):
    used = set()
    for height in range(1, 20):
        for width in (1, 7, 8, 9, 16, 17, 40, 64, 100, 200):
            row = -(-row_of_words(width) // pixels) * pixels
            tiles, masks = tiles_of(height, width, row, row, sizes, pixels)
            seen = np.zeros((height, row), int)
            for out, mask, size in tiles[:, [isa.TILE_OUTPUT, isa.TILE_MASKS, isa.TILE_VECTORS]].tolist():
                rows, vectors = sizes[size]
                y, x = divmod(out, row)
                used.add((rows, vectors))
                seen[y : y + rows, x : x + pixels * vectors] += (masks[mask][: pixels * vectors] != 0).astype(int)
            assert (seen[:, :width] >= 1).all()
            assert not seen[:, width:].any()
    assert used == set(sizes)


@SOME
@given(st.integers(0, 2**16), st.integers(1, 6), st.sampled_from([1, 30, 64, 127]), st.sampled_from([0.1, 0.6, 1.0]))
def test_what_is_added_in_sixteen_bits_fits_and_nothing_is_lost(seed, outputs, most, density):
    random = np.random.default_rng(seed)
    count = int(60 * density)
    keys = random.choice(outputs * 9 * 3, size=min(count, outputs * 27), replace=False)
    out, plane, tap = keys // 27, keys // 9 % 3, keys % 9
    weights = random.integers(-most - 1, most + 1, (len(keys), 4)).astype(np.int8)
    blocks = Blocks(out, plane, tap // 3 - 1, tap % 3 - 1, weights)
    layout = Layout(3, 5, 9, 16, 1, 1, 200, 30)
    padded = 4 * -(-outputs // 4)
    offsets = 4 * (plane * 200 + (tap // 3 - 1) * 16 + tap % 3 - 1)
    wanted = {(o, at): w.tolist() for o, at, w in zip(out, offsets, weights, strict=True) if w.any()}
    for form in (PAIRS, PLAIN):
        packed = pack_blocks(blocks, layout, padded, form)
        found = {}
        for channel in range(padded):
            for kind, together in enumerate(TOGETHER):
                first, last = packed.pointers[3 * channel + kind : 3 * channel + kind + 2]
                for record in packed.records[first:last].reshape(-1, 2 * together):
                    group = record[together:].view(np.int8).reshape(together, 4).astype(int)
                    assert form == PAIRS or together == 1
                    for at, four in zip(record[:together], group, strict=True):
                        old = found.get((channel, at), [0] * 4)
                        found[channel, at] = [a + b for a, b in zip(old, four.tolist(), strict=True)]
                    if form == PAIRS:
                        pairs = group.reshape(together, 2, 2)
                        assert 255 * np.maximum(pairs, 0).sum(axis=(0, 2)).max() <= 32767
                        assert 255 * np.minimum(pairs, 0).sum(axis=(0, 2)).min() >= -32768
        assert {key: four for key, four in found.items() if any(four)} == wanted


def compiled_tile(form, rows, vectors, cpu, features):
    """Module with one tile, optimised for a processor, and its target."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 10)
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_tile(builder, rows, vectors, form, function.args)
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    target = llvm.Target.from_triple(module.triple).create_target_machine(cpu=cpu, features=features, opt=3)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, target


@pytest.mark.parametrize("form", [PLAIN, PAIRS] if FEATURES.get("avx2") else [PLAIN])
def test_every_form_that_runs_here_gives_the_same_bytes(form):
    """One tile of 2 x 4 vectors of 6 channels, with the largest weights there are, by each form of products."""
    random = np.random.default_rng(1)
    rows, vectors, channels = 2, 4, 6
    layout = Layout(2, rows, WORDS * vectors, row_of_words(WORDS * vectors), 1, 1, 400, 100)
    arena = np.full(1200, 0x09090909, np.int32)
    levels = random.integers(0, 256, (channels, rows, WORDS * vectors))
    around = np.full((channels, rows + 2, WORDS * vectors + 2), 9)
    around[:, 1:-1, 1:-1] = levels
    for c, y in np.ndindex(channels, rows):
        first = 4 * (100 + c // 4 * 400 + y * layout.row) + c % 4
        arena.view(np.uint8)[first : first + 4 * WORDS * vectors : 4] = levels[c, y]
    weight = random.choice([-128, -127, 127, 126, 0], (4, channels, 3, 3)).astype(np.int8)
    out, channel, ky, kx = np.nonzero(weight)
    blocks = Blocks.of_weights(out, channel, ky - 1, kx - 1, weight[out, channel, ky, kx])
    packed = pack_blocks(blocks, layout, 4, form)
    bias, scales = random.integers(-999, 999, 4).astype(np.int32), random.uniform(1e-4, 1e-3, 4).astype(np.float32)
    bounds, masks = np.array([100, 20, 250, 0x05050505], np.int32), np.full(WORDS * vectors, -1, np.int32)
    masks[-3:] = 0
    made = np.zeros(400, np.int32)
    module, target = compiled_tile(form, rows, vectors, PROCESSOR.name, PROCESSOR.features)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    tile = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)(engine.get_function_address("tile"))
    arrays = packed.records, packed.pointers, bias, scales, bounds, masks
    tile(
        arena.ctypes.data + 400, 4 * layout.row, *(one.ctypes.data for one in arrays), made.ctypes.data, 4 * layout.row
    )
    sums = np.zeros((4, rows, WORDS * vectors), np.int64) + bias[:, None, None]
    for dy, dx in np.ndindex(3, 3):
        seen = around[:, dy : dy + rows, dx : dx + WORDS * vectors]
        sums += np.einsum("oc,chw->ohw", weight[:, :, dy, dx].astype(np.int64), seen)
    wanted = np.clip(np.rint(sums.astype(np.float32) * scales[:, None, None]) + 100, 20, 250)
    wanted[:, :, -3:] = 5
    for y in range(rows):
        found = made[y * layout.row :][: WORDS * vectors].view(np.uint8).reshape(-1, 4).T
        np.testing.assert_array_equal(found, wanted[:, y])


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86"), reason="instructions of x86-64")
def test_a_processor_without_vnni_adds_in_sixteen_bits():
    features = {"avx2": True, "avx512bw": True, "avx512vnni": True}
    assert [form_for(features), form_for({"avx2": True}), form_for({})] == [VNNI, PAIRS, PLAIN]
    module, target = compiled_tile(PAIRS, 2, 4, "haswell", "")
    assembly = target.emit_assembly(module)
    assert (assembly.count("vpmaddubsw"), assembly.count("vpmaddwd")) == (8 * sum(TOGETHER), 8 * len(TOGETHER))


@SOME
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([(0, 0), (1, 1), (0, 1)]),
    st.tuples(st.integers(4, 13), st.integers(4, 40)),
    st.integers(1, 9),
)
def test_largest_bytes_of_windows(kernel, strides, padded, size, channels):
    pads = [(k - 1) * side for side in padded for k in kernel]
    sketch = Sketch(1, channels, *size)
    name = sketch.quantized("x", 0.25, 90)
    name = sketch.node("MaxPool", name, kernel_shape=list(kernel), strides=list(strides), pads=pads)
    prepared = Prepared(sketch.graph())
    assert isa.POOL_BYTES in [step.code for step in prepared.lowered.operations]
    check_program(prepared.program({}), prepared.lowered.operations, 1, math.prod(sketch.shape))
    image = np.random.default_rng(0).uniform(-30, 50, sketch.shape).astype(np.float32)
    levels = np.clip(np.rint(image / np.float32(0.25)), -90, 165) * np.float32(0.25)
    (found,) = prepared.runner({})(image)
    around = np.pad(levels, ((0, 0), (0, 0), *zip(pads[:2], pads[2:], strict=True)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(around, kernel, axis=(2, 3))
    wanted = windows[:, :, :: strides[0], :: strides[1]].max(axis=(4, 5))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("op", ["GlobalMaxPool", "ReduceMax"])
def test_largest_byte_of_a_channel(op):
    sketch = Sketch(1, 5, 7, 19)
    name = sketch.quantized("x", 0.25, 90)
    operands = [sketch.constant([-2, -1], np.int64)] if op == "ReduceMax" else []
    name = sketch.node(op, name, *operands, **({"keepdims": 0} if operands else {}))
    prepared = Prepared(sketch.graph(name))
    assert [step.code for step in prepared.lowered.operations].count(isa.POOL_BYTES) == 1
    check_program(prepared.program({}), prepared.lowered.operations, 1, math.prod(sketch.shape))
    image = np.random.default_rng(0).uniform(-30, 30, sketch.shape).astype(np.float32)
    for y, x in ((0, 0), (0, 18), (3, 9), (6, 0), (6, 18)):
        image[:, :, y, x] = 35
        (found,) = prepared.runner({})(image)
        levels = np.clip(np.rint(image / np.float32(0.25)), -90, 165) * np.float32(0.25)
        np.testing.assert_array_equal(found, levels.max(axis=(2, 3), keepdims=op == "GlobalMaxPool"))
        image[:, :, y, x] = -20


def residual_sketch(weight_scale=0.01):
    """A network of bytes and floats: a convolution, its sum with the image, SiLU, features."""
    random = np.random.default_rng(5)
    sketch = Sketch(1, 6, 9, 11)
    first = sketch.quantized("x", 0.02, 3)
    weight = sketch.block_weight(random.integers(-64, 65, (6, 6, 3, 3)), np.full(6, weight_scale))
    made = sketch.node("Conv", first, weight, sketch.constant(random.standard_normal(6)), pads=[1, 1, 1, 1])
    made = sketch.quantized(made, 0.1, 120)
    made = sketch.quantized(sketch.node("Add", made, first), 0.1, 130)
    made = sketch.quantized(sketch.node("Mul", made, sketch.node("Sigmoid", made)), 0.05, 6)
    flat = sketch.node("Flatten", sketch.node("AveragePool", made, kernel_shape=[3, 3], strides=[3, 3]))
    weight = sketch.block_weight(random.integers(-64, 65, (5, 54)), np.full(5, 0.003))
    made = sketch.node("Linear", sketch.quantized(flat, 0.02, 5), weight)
    return sketch, sketch.quantized(made, 0.05, 77)


def test_what_has_no_form_in_bytes_runs_in_float32_between_them(tmp_path, quick):
    sketch, name = residual_sketch()
    graph = load_csr(written(sketch.graph(name), tmp_path / "net.csr"))
    network = Network(graph, 1)
    (note,) = network.notes
    assert note.startswith("2 of 2 convolutions and linear layers in int8; ")
    assert all(op in note for op in ("AveragePool", "Sigmoid")), note
    dense = open_dense(densified(graph), 1)
    for seed in range(4):
        image = np.random.default_rng(seed).uniform(-3, 3, sketch.shape).astype(np.float32)
        (found,), (wanted,) = network(image), dense(image)
        assert np.abs(found - wanted).max() <= 1.001 * 0.05
        assert np.ptp(wanted) > 1


def test_a_layer_whose_sums_do_not_fit_runs_in_float32():
    sketch, name = residual_sketch(weight_scale=1e9)
    codes = [step.code for step in Prepared(sketch.graph(name)).lowered.operations]
    assert (codes.count(isa.CONVOLVE_BYTES), codes.count(isa.CONVOLVE)) == (1, 1)


@pytest.mark.parametrize(("bias", "in_bytes"), [(1.0, True), (1.01, True), (1.2, False)])
def test_a_bias_that_products_are_too_coarse_for_runs_in_float32(bias, in_bytes):
    """Products are multiples of 0.5 and results of 0.1: rounded to a product, 1.2 would move results by two steps."""
    sketch, image = Sketch(1, 4, 3, 5), np.linspace(-9, 9, 60, dtype=np.float32).reshape(1, 4, 3, 5)
    weight = np.eye(4, dtype=np.int8).reshape(4, 4, 1, 1)
    operands = [sketch.quantized("x", 0.5, 128), sketch.block_weight(weight, np.ones(4)), sketch.constant([bias] * 4)]
    prepared = Prepared(sketch.graph(sketch.quantized(sketch.node("Conv", *operands), np.float32(0.1), 128)))
    assert any(isinstance(one, BlockConvolution) for one in prepared.lowered.operations) == in_bytes
    (found,) = prepared.runner({step: ways[0] for step, ways in prepared.options.items()})(image)
    wanted = np.clip(np.rint(image * 2) / 2 + bias, -12.8, 12.7)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.051)
