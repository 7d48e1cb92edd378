"""Parts of tensors are what ONNX says, and channels are views of their whole: no step copies them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.memory import placed
from tests.direct.checks import SOME, close_in_every_way, dense, exact_in_every_way, noise, reason_against, stays_inside
from tests.direct.graphs import Prepared, Sketch, activate, whole_numbers

SIZE = (9, 20)


def copies(prepared):
    return [step for step in prepared.lowered.operations if step.code == isa.COPY]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
@SOME
def test_split_into_convolutions(sizes, seed, equal):
    """Kernels read rows above and below their channels: those of their neighbours must be zeros there."""
    generator = np.random.default_rng(seed)
    sizes = [sizes[0]] * len(sizes) if equal else sizes
    sketch = Sketch(1, 3, *SIZE)
    whole = sketch.node("Relu", sketch.conv("x", whole_numbers(generator, (sum(sizes), 3, 3, 3), 3), pads=[1] * 4))
    parts = sketch.split(whole, sizes, as_operand=not equal)
    made = []
    for part, size, k in zip(parts, sizes, (3, 5, 1, 7), strict=False):
        weight = whole_numbers(generator, (4, size, k, k), 3, 0.5)
        made.append(sketch.conv(part, weight, pads=[k // 2] * 4))
    joined = sketch.node("Concat", *made, parts[-1], whole, axis=1)
    outputs = sketch.conv(joined, whole_numbers(generator, (2, 4 * len(made) + sizes[-1] + sum(sizes), 3, 3), 3, 0.1))
    graph = sketch.graph(outputs, parts[0])
    prepared = exact_in_every_way(graph, whole_numbers(generator, sketch.shape, 9), 3)
    assert stays_inside(graph, 3)
    assert len(copies(prepared)) <= 1 + (len(parts) == 1)  # of what is joined a second time


@given(
    st.tuples(st.integers(0, 7), st.integers(1, 8)), st.tuples(st.integers(-9, 8), st.integers(-8, 12)),
    st.integers(1, 4), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_slice_of_an_image(channels, columns, step, direct, negative):
    sketch = Sketch(1, 8, 9, 9)
    name = "x" if direct else activate(sketch, "x", "Relu")
    first, last = channels[0], 2**63 - 1 if channels[1] == 8 else channels[1]
    axes = [-3, -1] if negative else [1, 3]
    made = sketch.slice(name, [first, columns[0]], [last, columns[1]], axes, [1, step])
    graph = sketch.graph(activate(sketch, made, "Relu"), made)
    if first >= last or not range(9)[columns[0] : columns[1]]:
        assert "Slice at node slice" in reason_against(graph)
        return
    exact_in_every_way(graph, whole_numbers(np.random.default_rng(0), sketch.shape, 9))
    assert stays_inside(graph)


def test_slices_of_channels_are_not_copied():
    sketch = Sketch(1, 8, *SIZE)
    whole = activate(sketch, "x", "Relu")
    half = sketch.slice(whole, [4], [8], [1])
    quarter = sketch.slice(half, [-2], [2**31], [1])
    prepared = exact_in_every_way(sketch.graph(quarter, half), whole_numbers(np.random.default_rng(0), sketch.shape, 9))
    assert not copies(prepared)
    (one, _), (other, _) = prepared.lowered.outputs
    assert placed(one).position == placed(other).position + 2 * placed(other).step


def test_pixels_by_turns_become_channels():
    """What YOLO's first layer does."""
    sketch = Sketch(1, 3, 10, 36)
    parts = [sketch.slice("x", [y, x], [99, 99], [2, 3], [2, 2]) for y in (0, 1) for x in (0, 1)]
    joined = sketch.node("Concat", *parts, axis=1)
    sketch.conv(joined, whole_numbers(np.random.default_rng(0), (4, 12, 3, 3), 9, 0.5), pads=[1, 1, 1, 1])
    exact_in_every_way(sketch.graph(), whole_numbers(np.random.default_rng(1), sketch.shape, 9))


@pytest.mark.parametrize("shape", [(1, 12), (1, 12, 1, 1), (1, 6, 2, 5)])
def test_parts_of_vectors(shape):
    sketch = Sketch(*shape)
    name = sketch.node("Reshape", "x", sketch.constant([1, 6, -1], np.int64)) if shape[1] == 6 else "x"
    name = sketch.node("GlobalMaxPool", name) if len(shape) == 4 and shape[1] == 12 else name
    first, second = sketch.split(name, [2, shape[1] - 2])
    inner = sketch.slice(second, [1], [-1], [1])
    flat = sketch.node("Flatten", activate(sketch, inner, "Relu"))
    count = (shape[1] - 4) * int(np.prod(shape[2:]))
    linear = sketch.linear(flat, whole_numbers(np.random.default_rng(0), (3, count), 9, 0.5))
    graph = sketch.graph(linear, first, inner)
    exact_in_every_way(graph, whole_numbers(np.random.default_rng(0), shape, 9))
    assert stays_inside(graph)


@pytest.mark.parametrize("outputs", [2, 3])
def test_split_without_sizes_is_that_of_onnx(outputs):
    """With 7 channels the last part is the smallest."""
    sketch = Sketch(1, 7, 4, 5)
    sketch.split("x", [0] * outputs, as_operand=False)
    node = sketch.nodes[-1]
    sketch.nodes[-1] = dataclasses.replace(node, attributes={"axis": 1, "num_outputs": outputs})
    graph = dataclasses.replace(sketch.graph(), opset=18)
    image = noise(*sketch.shape)
    for got, wanted in zip(Prepared(graph).runner({})(image), dense(graph)(image), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_channels_that_are_shuffled(groups):
    sketch = Sketch(1, 6, *SIZE)
    name = sketch.shuffle(activate(sketch, "x", "Relu"), groups, (6, *SIZE))
    first, second = sketch.split(name, [3, 3])
    weight = whole_numbers(np.random.default_rng(0), (3, 1, 3, 3), 9)
    sketch.node("Concat", first, sketch.conv(second, weight, pads=[1] * 4, group=3), axis=1)
    prepared = exact_in_every_way(sketch.graph(), whole_numbers(np.random.default_rng(1), sketch.shape, 9), 3)
    assert len(copies(prepared)) == groups + 1
    assert stays_inside(sketch.graph(), 3)


def test_shuffle_of_another_order_or_shape_is_refused():
    for change in ({"perm": [0, 2, 1, 4, 3]}, {"shape": [1, 6, 20, 9]}, {"output": True}):
        sketch = Sketch(1, 6, *SIZE)
        made = sketch.shuffle("x", 2, (6, *SIZE))
        if "perm" in change:
            sketch.nodes[1] = dataclasses.replace(sketch.nodes[1], attributes=change)
        if "shape" in change:
            sketch.constants[sketch.nodes[2].inputs[1]] = np.array(change["shape"])
        outputs = [made, *(sketch.nodes[1].outputs if "output" in change else [])]
        assert "Transpose at node transpose1" in reason_against(sketch.graph(*outputs))


def test_blocks_of_channels_become_pixels():
    for scale in (1, 2, 3):
        sketch = Sketch(1, 2 * scale**2, 5, 19)
        sketch.node("DepthToSpace", activate(sketch, "x", "Tanh"), blocksize=scale, mode="CRD")
        close_in_every_way(sketch.graph(), noise(*sketch.shape))
        assert stays_inside(sketch.graph())
    sketch = Sketch(1, 8, 5, 19)
    sketch.node("DepthToSpace", "x", blocksize=2)
    assert "mode DCR" in reason_against(sketch.graph())


@pytest.mark.parametrize(
    ("sizes", "axis"), [([3, 4], 1), ([8, 0], 1), ([-1, 9], 1), ([4, 4], 2), ([4, 4], 9), ([2, 2, 4], 1)]
)
def test_split_that_cannot_be_is_refused(sizes, axis):
    sketch = Sketch(1, 8, 8, 8)
    sketch.split("x", [4, 4])
    sketch.nodes[-1] = dataclasses.replace(sketch.nodes[-1], attributes={"axis": axis})
    sketch.constants[sketch.nodes[-1].inputs[1]] = np.array(sizes)
    assert "direct-csr: Split at node split0: " in reason_against(sketch.graph())
