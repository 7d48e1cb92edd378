"""Every address that a program can touch lies where it may, worked out by its tables alone."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.kernels.operations import OPERATIONS
from sparsemark.direct.target import LANES
from tests.direct import bounds
from tests.direct.bounds import OutOfBoundsError, check_places, check_program
from tests.direct.checks import stays_inside
from tests.direct.graphs import (
    Layer,
    Sketch,
    activate,
    grown_networks,
    layers,
    sizes,
    whole_numbers,
)


@given(layers())
@example(Layer(2, 4, 1, 1, (7, 7), pads=(6, 6, 6, 6)))
@example(Layer(3, 4, 2, 16 * LANES + 1, (3, 7), pads=(0, 3, 2, 3)))
@example(Layer(40, 4, 3, 16 * LANES, (5, 5), pads=(2, 2, 2, 2), density=1.0))
@settings(max_examples=80, deadline=None)
def test_layer_stays_within_its_buffers(layer):
    sketch = layer.sketch()
    layer.onto(sketch)
    stays_inside(sketch.graph())


@given(sizes(), st.sampled_from((1, 3, 5)), st.sampled_from((1, 2, 4, 24)), st.booleans(), st.booleans())
@example((16, 32), 3, 4, True, True)
@example((2, 16 * LANES), 3, 4, True, False)
@settings(max_examples=60, deadline=None)
def test_layer_that_adds_and_pools_stays_within_its_buffers(size, kernel, channels, adds, pools):
    layer = Layer(channels, channels, *size, (kernel, kernel), pads=(kernel // 2,) * 4, density=0.2)
    sketch = layer.sketch()
    skip = activate(sketch, "x", "Relu")
    name = layer.onto(sketch, skip)
    name = sketch.node("Relu", sketch.node("Add", name, skip) if adds else name)
    if pools and min(size) > 1:
        sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    assert stays_inside(sketch.graph())


@given(grown_networks())
@settings(max_examples=100, deadline=None)
def test_network_stays_within_its_buffers(graph):
    assert stays_inside(graph, 4)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 40)), st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_transposed_convolution_stays_within_its_buffers(size, kernel, strides, pads, extra):
    sketch = Sketch(1, 2, *size)
    weight = sketch.constant(np.ones((2, 3, *kernel)))
    attributes = {"strides": list(strides), "pads": pads, "output_padding": extra}
    sketch.node("ConvTranspose", "x", weight, kernel_shape=list(kernel), **attributes)
    stays_inside(sketch.graph())


def test_every_operation_has_its_addresses_checked():
    assert set(bounds._CHECKS) == {*OPERATIONS, isa.INPUT}


def spoiled(program, column, change, code=isa.CONVOLVE):
    copied = copy.deepcopy(program)
    rows = copied.table[:, isa.OP] == code
    copied.table[rows, column] += change
    return copied


def notices_spoiled_records(program, steps, pixels):
    """Offsets of records that lead out of the arena, or to where nothing is aligned."""
    for by in (4 * 10**7, -4 * 10**7, 1):
        changed = copy.deepcopy(program)
        changed.records[0] += by
        with pytest.raises(OutOfBoundsError):
            check_program(changed, steps, 1, pixels)


def test_programs_that_are_wrong_are_seen_as_such():
    """The helper itself: every number that is changed must be noticed."""
    sketch = Sketch(1, 40, 16, 64)
    skip = activate(sketch, "x", "Relu")
    layer = Layer(40, 8, 16, 64, (5, 5), pads=(2, 2, 2, 2), density=0.3)
    name = sketch.node("Relu", layer.onto(sketch, skip))
    name = sketch.conv(name, whole_numbers(layer.generator(), (8, 8, 3, 3), 9), np.ones(8), pads=[1, 1, 1, 1])
    sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    prepared = stays_inside(sketch.graph())
    assert [step.pooled for step in prepared.convolutions] == [False, True]
    steps, pixels = prepared.lowered.operations, 40 * 16 * 64
    columns = (
        isa.POINTERS, isa.RIGHT, isa.LEFT, isa.BLOCKS, isa.TILES, isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.TARGET,
        isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS, isa.FLAGS, isa.POOLED_FLOATS,
    )  # fmt: skip
    plain = [choices for choices in prepared.ways() if not any(choice.winograd for choice in choices.values())]
    for choices in plain:
        program = prepared.program(choices)
        for column in columns:
            with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                check_program(spoiled(program, column, 10**6), steps, 1, pixels)
        for column in (isa.SOURCE, isa.BIAS, isa.BOUNDS, isa.RESIDUAL, isa.RECORDS):
            for change in (10**7, -(10**7)):
                if column != isa.RESIDUAL or change > 0:
                    with pytest.raises(OutOfBoundsError):
                        check_program(spoiled(program, column, change), steps, 1, pixels)
        for column, by in itertools.product(range(6), (LANES, -LANES, 10**6)):
            changed = copy.deepcopy(program)
            changed.tiles[:, column] += by
            if (column, by) == (isa.TILE_INPUT, -LANES) or (column == isa.TILE_POOLED and by == LANES):
                continue  # inside, and caught where the results are compared
            if column == isa.TILE_POOLED:
                # Only pooled rows have it.
                first = program.table[-1, isa.TILES]
                assert (program.tiles[first:, column] >= 0).all()
            with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                check_program(changed, steps, 1, pixels)
        notices_spoiled_records(program, steps, pixels)


@pytest.mark.parametrize(("pools", "height"), [(False, 12), (False, 14), (True, 14)])
def test_programs_of_winograds_tiles_that_are_wrong_are_seen_as_such(pools, height):
    """The same for convolutions by tiles."""
    sketch = Sketch(1, 8, height, 40)
    skip = activate(sketch, "x", "Relu")
    name = sketch.conv(skip, whole_numbers(np.random.default_rng(0), (8, 8, 3, 3), 9), np.ones(8), pads=[1, 1, 1, 1])
    if pools:
        sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    else:
        sketch.node("Add", name, skip)
    prepared = stays_inside(sketch.graph())
    steps, pixels = prepared.lowered.operations, 8 * height * 40
    both = [isa.UNITS, isa.BIAS, isa.BOUNDS, isa.TILES, isa.TARGET, isa.TARGET_STEP, isa.CHANNELS]
    outer = [
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.TARGET_ROW, isa.INPUTS, isa.INPUT_HEIGHT,
        isa.INPUT_WIDTH, isa.ZEROS, isa.ACROSS, isa.SPAN_TILES, isa.SPAN_STEP, isa.SPAN_OUTPUTS, isa.SPAN_PRODUCTS,
        isa.SPAN_LINES, isa.SPAN_PITCH, isa.RESIDUAL,
    ]  # fmt: skip
    inner = [
        isa.RECORDS, isa.POINTERS, isa.RIGHT, isa.LEFT, isa.FLAGS, isa.BLOCKS, isa.GROUP, isa.GROUPS, isa.CHUNKS,
        isa.RESIDUAL, isa.POOLED_FLOATS, isa.SOURCE,
    ]  # fmt: skip
    (step,) = prepared.convolutions
    winograd = [choice for choice in prepared.options[step] if choice.winograd]
    assert winograd
    for choice in winograd:
        program = prepared.program({step: choice})
        for code, columns in ((isa.WINOGRAD, both + outer), (isa.NOTHING, both + inner)):
            for column in columns:
                with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                    check_program(spoiled(program, column, 10**6, code), steps, 1, pixels)
        for column, by in itertools.product((isa.TILE_INPUT, isa.TILE_OUTPUT, isa.TILE_MASKS), (1, -1, 10**6)):
            changed = copy.deepcopy(program)
            changed.tiles[:, column] += by
            with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                check_program(changed, steps, 1, pixels)
        notices_spoiled_records(program, steps, pixels)


def test_tensors_that_share_memory_are_seen_as_such():
    sketch = Sketch(1, 3, 8, 8)
    first = activate(sketch, "x", "Relu")
    sketch.node("Add", activate(sketch, first, "Tanh"), first)
    prepared = stays_inside(sketch.graph())
    steps = prepared.lowered.operations
    steps[2].target.placed = steps[1].target.placed
    with pytest.raises(OutOfBoundsError, match="share memory"):
        check_places(prepared.lowered, prepared.floats)
