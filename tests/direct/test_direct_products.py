"""Products of all weights of convolutions of one pixel: where they are a way, what they compute, what they touch."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.estimate import promising
from sparsemark.direct.target import LANES
from tests.direct.bounds import OutOfBoundsError, check_program
from tests.direct.checks import close_in_every_way, exact_in_every_way, noise, stays_inside
from tests.direct.graphs import Layer, Prepared, Sketch, activate, expected, whole_numbers

FEWEST, MOST = sorted(channels for channels, _ in isa.PRODUCT_KERNELS)


def products(prepared):
    """Ways to run each convolution that are products."""
    return {step: [way for way in ways if way.product] for step, ways in prepared.options.items()}


def has_products(graph):
    """Whether the last convolution may be a product."""
    return bool(list(products(Prepared(graph)).values())[-1])


@given(
    st.sampled_from((1, 2, 3, 16, 31)), st.sampled_from((FEWEST, FEWEST + 1, MOST, MOST + 1, 2 * MOST, 40)),
    st.integers(1, 9), st.sampled_from((1, 3, LANES - 1, LANES, 2 * LANES, 7 * LANES // 2, 5 * LANES + 1)),
    st.booleans(), st.sampled_from((None, "Relu", "Clip", "HardSwish")), st.sampled_from((0.4, 1.0)),
)  # fmt: skip
@example(31, MOST + 1, 7, LANES - 1, True, "HardSwish", 1.0)
@example(3, 40, 9, 5 * LANES + 1, True, "Clip", 0.4)
@example(1, FEWEST, 1, 1, False, None, 1.0)
@settings(max_examples=40, deadline=None)
def test_products_give_the_right_sums_at_any_width(inputs, outputs, height, width, adds, after, density):  # noqa: PLR0917
    """With what is added to sums and what becomes of them; whole numbers, so that not one bit may differ."""
    layer = Layer(inputs, outputs, height, width, (1, 1), density=density)
    sketch = layer.sketch()
    name = layer.onto(sketch)
    if adds:
        name = sketch.node("Add", name, Layer(inputs, outputs, height, width, (1, 1), seed=1).onto(sketch))
    name = activate(sketch, name, after) if after else name
    check = close_in_every_way if after == "HardSwish" else exact_in_every_way  # a sixth is no whole number
    prepared = check(sketch.graph(), layer.image())
    stays_inside(sketch.graph(), 4)
    for last in prepared.convolutions[-1:]:  # a single pixel is a vector
        if len(last.taps.weight) * 4 < inputs * outputs:
            continue
        assert len(products(prepared)[last]) == 1 + (outputs >= MOST)


def test_layers_of_few_weights_of_larger_kernels_and_those_that_pool_are_no_products():
    def alone(density=1.0, kernel=1, outputs=24, **options):
        layer = Layer(24, outputs, 8, 2 * LANES, (kernel, kernel), density=density, **options)
        sketch = layer.sketch()
        return sketch, layer.onto(sketch)

    assert has_products(alone()[0].graph())
    assert not has_products(alone(density=0.1)[0].graph())
    assert not has_products(alone(group=8)[0].graph())
    assert not has_products(alone(outputs=FEWEST - 1)[0].graph())
    assert not has_products(alone(kernel=3, pads=(1, 1, 1, 1))[0].graph())
    assert not has_products(alone(pads=(1, 0, 0, 0))[0].graph())
    sketch, name = alone()
    sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    assert not has_products(sketch.graph())


def test_products_are_the_most_promising_way_of_dense_layers_and_not_of_sparse_ones():
    def first(density):
        layer = Layer(64, 96, 28, 28, (1, 1), density=density)
        sketch = layer.sketch()
        layer.onto(sketch)
        (found,) = Prepared(sketch.graph()).options.items()
        return promising(*found)[0]

    assert first(1.0).product
    assert not first(0.26).product


def test_products_of_a_strided_convolution_of_some_channels_and_of_pixels_with_channels_last():
    """Phases of a stride, planes in the midst of others or further apart, and a product over the last axis."""
    sketch = Sketch(1, 12, 9, 2 * LANES)
    source = activate(sketch, "x", "Relu")
    weights = [whole_numbers(np.random.default_rng(n), (14, 12, 1, 1), 9) for n in range(2)]
    part = sketch.conv(sketch.slice(source, [3], [9], [1]), weights[0][:, :6], np.ones(14))
    apart = sketch.conv(sketch.slice(sketch.shuffle(source, 2, (12, 9, 2 * LANES)), [0], [4], [1]), weights[0][:, :4])
    strided = sketch.conv(source, weights[1], strides=[2, 2])
    last = sketch.node("Transpose", source, perm=[0, 2, 3, 1])
    last = sketch.linear(last, whole_numbers(np.random.default_rng(2), (15, 12), 9), np.ones(15))
    last = sketch.node("Transpose", last, perm=[0, 3, 1, 2])
    graph = sketch.graph(part, apart, strided, last)
    prepared = exact_in_every_way(graph, whole_numbers(np.random.default_rng(3), (1, 12, 9, 2 * LANES), 9))
    assert all(products(prepared).values())
    stays_inside(graph)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_share_a_product_whose_weights_are_more_than_the_second_cache(threads):
    layer = Layer(250, 330, 9, 2 * LANES, (1, 1), density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    prepared = Prepared(sketch.graph())
    (reference,) = expected(sketch.graph(), layer.image())
    for step, ways in products(prepared).items():
        for way in ways:
            program = prepared.program({step: way}, threads)
            row = program.table[-1]
            assert row[isa.CHUNKS] > 1
            assert row[isa.GROUPS] > 1
            (got,) = prepared.runner({step: way}, threads)(layer.image())
            np.testing.assert_array_equal(got, reference)
            check_program(program, prepared.lowered.operations, threads, 250 * 9 * 2 * LANES)


def test_what_is_not_a_number_is_not_hidden_by_a_weight_of_zero():
    sketch = Sketch(1, 6, 2, LANES)
    weight = np.zeros((12, 6, 1, 1), np.float32)
    weight[:, :4] = 1
    sketch.conv("x", weight)
    image = noise(1, 6, 2, LANES)
    image[0, 5, 1, 3] = np.inf
    prepared = Prepared(sketch.graph())
    for step, ways in products(prepared).items():
        (got,) = prepared.runner({step: ways[0]})(image)
        assert np.isnan(got[0, :, 1, 3]).all()
        assert np.isnan(got).sum() == 12


def test_programs_of_products_that_are_wrong_are_seen_as_such():
    sketch = Sketch(1, 8, 9, 3 * LANES)
    skip = activate(sketch, "x", "Relu")
    name = sketch.conv(skip, whole_numbers(np.random.default_rng(0), (8, 8, 1, 1), 9), np.ones(8))
    sketch.node("Relu", sketch.node("Add", name, skip))
    prepared = stays_inside(sketch.graph())
    steps, pixels = prepared.lowered.operations, 8 * 9 * 3 * LANES
    columns = (
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS,
        isa.INPUTS, isa.UNITS, isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.RECORDS, isa.TILES, isa.BIAS, isa.BOUNDS,
        isa.RESIDUAL, isa.FLAGS, isa.MICROKERNEL, isa.POOLED_FLOATS,
    )  # fmt: skip
    for step, ways in products(prepared).items():
        for way in ways:
            program = prepared.program({step: way})
            rows = program.table[:, isa.OP] == isa.PRODUCT
            assert rows.sum() == 1
            for column in columns:
                changed = copy.deepcopy(program)
                changed.table[rows, column] += 10**6
                with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                    check_program(changed, steps, 1, pixels)
            for column, by in itertools.product(range(4), (LANES, -LANES, 10**6)):
                if (column, by) == (isa.TILE_INPUT, -LANES):
                    continue  # inside, and caught where the results are compared
                changed = copy.deepcopy(program)
                changed.tiles[:, column] += by
                with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                    check_program(changed, steps, 1, pixels)
