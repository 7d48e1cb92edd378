"""Resize, Pad and normalisation compute what ONNX Runtime does, or are refused by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.measurement.parity import TOLERANCE
from tests.direct.bounds import OutOfBoundsError, check_program
from tests.direct.checks import SOME, close_in_every_way, dense, noise, reason_against, stays_inside
from tests.direct.graphs import Prepared, Sketch, activate, distance, expected

COORDINATES = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def as_onnx_runtime_does(graph, image):
    """Run a graph in some ways, and see that it stays inside its buffers."""
    prepared = Prepared(graph)
    reference = dense(graph)(image)
    for choices in prepared.ways(2):
        for got, wanted in zip(prepared.runner(choices)(image), reference, strict=True):
            assert distance(got, wanted) <= TOLERANCE
    assert stays_inside(graph, 2)
    return prepared


def codes(prepared):
    return [step.code for step in prepared.lowered.operations]


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 24)),
    st.tuples(st.sampled_from((0.25, 0.5, 0.7, 1, 1.5, 2, 2.2, 3, 4)), st.sampled_from((0.5, 1, 1.3, 2, 3, 5))),
    st.tuples(*map(st.sampled_from, (("nearest", "linear"), COORDINATES, ROUNDINGS))), st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_resize(size, scales, how, by_size):
    mode, coordinates, rounding = how
    sketch = Sketch(1, 3, *size)
    name = activate(sketch, "x", "Sigmoid")
    sizes = [int(n * s) for n, s in zip(size, scales, strict=True)]
    assume(min(sizes) >= 1)
    if by_size:
        operands = ["", "", sketch.constant([1, 3, *sizes], np.int64)]
    else:
        operands = ["", sketch.constant([1, 1, *scales])]
    given = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    name = sketch.node("Resize", name, *operands, **given)
    graph = dataclasses.replace(sketch.graph(), opset=18)
    reason = reason_against(graph)
    if reason is None:
        as_onnx_runtime_does(graph, noise(*sketch.shape))
        return
    whole = all(s in (1, 2, 3, 4, 5) for s in scales)
    assert "rounding decides" in reason
    assert not (mode == "linear" and (whole or by_size))
    assert not (mode == "nearest" and whole)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("corners", [False, True])
def test_resize_is_that_of_float64(mode, corners):
    """Between many pixels float32 coordinates would be too coarse: the reference is exact."""
    sketch = Sketch(1, 2, 40, 300)
    how = "align_corners" if corners else "half_pixel"
    if corners and mode == "nearest":
        return
    scales = sketch.constant([1, 1, 2, 3])
    sketch.node("Resize", "x", "", scales, mode=mode, coordinate_transformation_mode=how)
    image = noise(*sketch.shape)
    (got,) = Prepared(sketch.graph()).runner({})(image)
    if corners:
        import torch

        size = (80, 900)
        wide = torch.from_numpy(image).double()
        reference = torch.nn.functional.interpolate(wide, size, mode="bilinear", align_corners=True).numpy()
    else:
        reference = expected(sketch.graph(), image)[0]
    assert distance(got, reference) <= 1e-6


def test_pixels_that_are_repeated_need_no_places():
    for scale in (2, 3, 5):
        for coordinates in ("asymmetric", "half_pixel"):
            sketch = Sketch(1, 3, 4, 19)
            given = {"coordinate_transformation_mode": coordinates, "nearest_mode": "floor"}
            if coordinates == "half_pixel":
                given["nearest_mode"] = "round_prefer_floor"
            sketch.node("Resize", "x", "", sketch.constant([1, 1, scale, 1]), **given)
            assert isa.RESAMPLE not in codes(as_onnx_runtime_does(sketch.graph(), noise(*sketch.shape)))


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "cubic"}, {"antialias": 1}, {"keep_aspect_ratio_policy": "not_larger"}, {"exclude_outside": 1},
        {"coordinate_transformation_mode": "tf_crop_and_resize"}, {"nearest_mode": "simple"},
    ],
)  # fmt: skip
def test_other_ways_to_resize_are_refused(change):
    sketch = Sketch(1, 3, 4, 6)
    sketch.node("Resize", "x", "", sketch.constant([1, 1, 2, 2]), **change)
    (value,) = change.values()
    assert f"direct-csr: Resize at node resize0: {next(iter(change))} {value}" in reason_against(sketch.graph())


def test_axes_that_are_resized_may_be_named():
    sketch = Sketch(1, 3, 4, 6)
    sketch.node("Resize", "x", "", sketch.constant([3, 2]), axes=[3, 2], mode="linear")
    graph = dataclasses.replace(sketch.graph(), opset=18)
    (got,) = as_onnx_runtime_does(graph, noise(*sketch.shape)).runner({})(noise(*sketch.shape))
    assert got.shape == (1, 3, 8, 18)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 24)), st.lists(st.integers(-3, 9), min_size=4, max_size=4),
    st.sampled_from(("constant", "edge", "reflect")), st.floats(-2, 2, width=32), st.booleans(),
)  # fmt: skip
@SOME
def test_padding(size, pads, mode, value, named):
    sizes = [n + pads[a] + pads[a + 2] for a, n in enumerate(size)]
    assume(min(sizes) >= 1)
    if mode != "constant":
        pads = [max(pad, 0) for pad in pads]
    sketch = Sketch(1, 2, *size)
    name = activate(sketch, "x", "Relu")
    whole = pads if named else [0, 0, *pads[:2], 0, 0, *pads[2:]]
    operands = [sketch.constant(whole, np.int64), sketch.constant(value)]
    sketch.node("Pad", name, *operands, *([sketch.constant([2, 3], np.int64)] if named else []), mode=mode)
    graph = dataclasses.replace(sketch.graph(), opset=18)
    if mode == "reflect" and any(pads[a] >= size[a % 2] for a in range(4)):
        assert "mirrored" in reason_against(graph)
    else:
        assert "constant" in graph.nodes[-1].inputs[1]
        as_onnx_runtime_does(graph, noise(*sketch.shape))


def test_zeros_around_what_a_convolution_reads_are_its_padding():
    for reads_twice in (False, True):
        sketch = Sketch(1, 3, 9, 20)
        padded = sketch.node("Pad", "x", sketch.constant([0, 0, 1, 2, 0, 0, 0, 3], np.int64))
        name = sketch.conv(padded, noise(4, 3, 3, 3), noise(4), pads=[1, 0, 1, 0], strides=[2, 1])
        graph = sketch.graph(sketch.node("Relu", name), *([padded] if reads_twice else []))
        assert (isa.RESAMPLE in codes(as_onnx_runtime_does(graph, noise(*sketch.shape)))) == reads_twice


@pytest.mark.parametrize(
    ("pads", "given", "said"),
    [
        ([0, 1, 0, 0, 0, 0, 0, 0], {}, "around (1, 3, 4, 6)"), ([0, 0, 0, 0, 1, 0, 0, 0], {}, "around (1, 3, 4, 6)"),
        ([0, 0, 1, 1, 0, 0, 1, 1], {"mode": "wrap"}, "mode wrap"), ([0, 0, -2, 0, 0, 0, -2, 0], {}, "around"),
        ([1, 1], {}, "for axes"),
    ],
)  # fmt: skip
def test_other_padding_is_refused(pads, given, said):
    sketch = Sketch(1, 3, 4, 6)
    sketch.node("Pad", "x", sketch.constant(pads, np.int64), **given)
    assert said in reason_against(sketch.graph())


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 40)), st.integers(1, 4), st.integers(1, 3), st.booleans(),
    st.sampled_from((0.0, 3.0, 100.0)),
)  # fmt: skip
@SOME
def test_normalisation_of_groups_of_channels(size, groups, each, by_group, shift):
    """Also where the mean is far larger than what is left of it."""
    assume(size[0] * size[1] * each > 3)
    sketch = Sketch(1, groups * each, *size)
    name = activate(sketch, "x", "Relu")
    count = groups if by_group else groups * each
    operands = [sketch.constant(noise(count, seed=n)) for n in (1, 2)]
    sketch.node("GroupNormalization", name, *operands, num_groups=groups, epsilon=1e-2)
    graph = dataclasses.replace(sketch.graph(), opset=18 if by_group else 21)
    image = noise(*sketch.shape) + np.float32(shift)
    prepared = Prepared(graph)
    assert stays_inside(graph)
    (got,) = prepared.runner({})(image)
    if by_group:
        sketch.constants |= {name: np.repeat(sketch.constants[name], each) for name in operands}
    reference = expected(sketch.graph(), image)[0]
    assert distance(got, reference) <= TOLERANCE * (1 + shift)


@pytest.mark.parametrize("shape", [(1, 5, 6, 21), (1, 2, 1, 9)])
def test_normalisation_of_each_channel(shape):
    sketch = Sketch(*shape)
    name = sketch.conv("x", noise(4, shape[1], 1, 1), noise(4))
    sketch.node("InstanceNormalization", name, *(sketch.constant(noise(4, seed=n)) for n in (1, 2)), epsilon=1e-3)
    close_in_every_way(sketch.graph(), noise(*shape))
    as_onnx_runtime_does(sketch.graph(), noise(*shape))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("affine", [True, False, None])
def test_groups_as_exporters_write_them_are_one_step(groups, affine):
    """With factors and terms, without, and with what is read elsewhere too."""
    sketch = Sketch(1, 6, 4, 21)
    flat = sketch.node("Reshape", "x", sketch.constant([0, groups, -1], np.int64))
    operands = [sketch.constant(noise(groups, seed=n)) for n in (1, 2)]
    inner = sketch.node("InstanceNormalization", flat, *operands, epsilon=1e-3)
    name = sketch.node("Reshape", inner, sketch.constant([1, 6, 4, 21], np.int64))
    if affine:
        name = sketch.node("Mul", name, sketch.constant(noise(6, 1, 1)))
        name = sketch.node("Add", sketch.constant(noise(1, 6, 1, 1)), name)
    graph = sketch.graph(name, *([inner] if affine is None else []))
    prepared = as_onnx_runtime_does(graph, noise(*sketch.shape))
    assert codes(prepared).count(isa.NORMALIZE) == 1
    assert (len(prepared.lowered.operations) == 2) == (affine is not None)


def test_programs_that_are_wrong_are_seen_as_such():
    """The helper itself: what leads out of the buffers must be noticed."""
    sketch = Sketch(1, 4, 6, 20)
    large = sketch.node("Resize", "x", "", sketch.constant([1, 1, 1.5, 2]), mode="linear")
    norm = sketch.node(
        "InstanceNormalization", large, *(sketch.constant(noise(4, seed=n)) for n in (1, 2)), epsilon=0.1
    )
    one, _ = sketch.split(norm, [1, 3])
    sketch.node("Sub", sketch.node("Mul", norm, one), sketch.constant(noise(9, 40)))
    prepared = stays_inside(sketch.graph())
    program = prepared.program({})
    columns = {
        isa.RESAMPLE: (
            isa.PARAMETERS, isa.MORE_PARAMETERS, isa.SOURCE_WIDTH, isa.SOURCE,
            isa.SOURCE_STEP, isa.SOURCE_ROW, isa.KIND,
        ),
        isa.NORMALIZE: (isa.GROUP_CHANNELS, isa.PARAMETERS, isa.MORE_PARAMETERS, isa.SOURCE, isa.UNITS),
        isa.BINARY: (isa.SECOND, isa.SECOND_STEP, isa.SECOND_ROW, isa.SOURCE),
    }  # fmt: skip
    for code, named in columns.items():
        rows = np.flatnonzero(program.table[:, isa.OP] == code)
        assert len(rows)
        for row in rows:
            for column in named:
                changed = dataclasses.replace(program, table=program.table.copy())
                changed.table[row, column] += 10**6
                with pytest.raises(OutOfBoundsError):
                    check_program(changed, prepared.lowered.operations, 1, 4 * 6 * 20)
    (row,) = program.table[program.table[:, isa.OP] == isa.RESAMPLE]
    at = row[isa.MORE_PARAMETERS] - program.constants_at
    for place, value in ((0, 6), (0, -1), (0, 0.5), (9, 7), (18, 1.5), (27, 20), (66, 1)):
        changed = dataclasses.replace(program, constants=program.constants.copy())
        changed.constants[at + place] = value
        with pytest.raises(OutOfBoundsError):
            check_program(changed, prepared.lowered.operations, 1, 4 * 6 * 20)
