"""Files that somebody made, or chance: each ends in a reason or an answer, and never beside its buffers."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from sparsemark.direct.runtime import machine_code
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats.csr.graph import load_csr
from tests.direct import mutations
from tests.direct.checks import opened, stays_inside
from tests.direct.graphs import (
    Prepared,
    Sketch,
    activate,
    content_of,
    distance,
    expected,
    signed,
    written,
)

MUTATIONS = int(os.environ.get("SPARSEMARK_MUTATIONS", "500"))


def refused_or_inside(graph):
    """See that a graph is refused, or else stays within its buffers; by the tables, for it could end this process."""
    stays_inside(graph)


def named(nodes, changes):
    """The nodes with some of the names in them changed."""
    changed = []
    for node in nodes:
        inputs, outputs = (tuple(changes.get(name, name) for name in names) for names in (node.inputs, node.outputs))
        changed.append(type(node)(node.op, node.name, inputs, outputs, node.attributes))
    return changed


def test_name_that_the_engine_uses_itself_cannot_be_taken(tmp_path):
    """A small tensor under the name of the phases of a transposed convolution would be read as if it were these."""
    sketch = Sketch(1, 3, 6, 6)
    small = activate(sketch, "x", "Relu")
    activate(sketch, small, "Relu")
    weight = sketch.constant(np.ones((3, 64, 2, 2)))
    made = sketch.node("ConvTranspose", "x", weight, strides=[2, 2], kernel_shape=[2, 2])
    sketch.nodes = named(sketch.nodes, {small: f"{made} by phase"})
    loaded_and_inside(sketch.graph(made), tmp_path)


def loaded_and_inside(graph, folder):
    """What a file of this graph leads to: a reason, or a program that stays within its buffers."""
    path = written(graph, folder / "hostile.csr")
    try:
        read = load_csr(path)
    except UserError:
        return
    refused_or_inside(read)


def test_name_of_the_image_cannot_be_given_to_something_larger(tmp_path):
    sketch = Sketch(1, 3, 16, 12)
    large = sketch.node("Resize", "x", "", sketch.constant([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric")
    sketch.conv(large, np.ones((2, 3, 3, 3), np.float32), pads=[0, 30, 0, 30])
    sketch.nodes = named(sketch.nodes, {large: "x"})
    loaded_and_inside(sketch.graph(), tmp_path)


@pytest.mark.parametrize("op", ["Relu", "GlobalAveragePool", "Flatten", "Sigmoid"])
def test_name_that_is_given_twice_is_refused_or_harmless(op, tmp_path):
    for wide in (False, True):
        sketch = Sketch(1, 3, 6, 6)
        first = sketch.node(op, "x")
        second = sketch.conv("x", np.ones((3, 3, 3, 3), np.float32), pads=[4, 4, 4, 4] if wide else [1, 1, 1, 1])
        third = sketch.node("Relu", second)
        fourth = sketch.conv("x" if wide else third, np.ones((3, 3, 1, 1), np.float32))
        for changes in ({second: first}, {third: first}, {fourth: first}, {second: "x"}, {third: "x"}):
            plain = sketch.graph(*sketch.nodes[-1].outputs)
            loaded_and_inside(type(plain)(**(vars(plain) | {"nodes": tuple(named(plain.nodes, changes))})), tmp_path)


def small_header():
    """Header and tensors of a small file that runs."""
    sketch = Sketch(1, 2, 4, 4)
    sketch.conv("x", np.ones((2, 2, 3, 3), np.float32), np.ones(2), pads=[1, 1, 1, 1])
    return content_of(sketch.graph())


HEADERS = {
    "no outputs": lambda h: h.update(outputs=[]),
    "input_shape 0": lambda h: h.update(input_shape=0),
    "input_shape false": lambda h: h.update(input_shape=False),
    "input_shape {}": lambda h: h.update(input_shape={}),
    "input_shape []": lambda h: h.update(input_shape=[]),
    "input_shape of one": lambda h: h.update(input_shape=[1]),
    "input_shape of floats": lambda h: h.update(input_shape=[1.0, 2.0, 4.0, 4.0]),
    "input_shape infinite": lambda h: h.update(input_shape=[1, 2, 4, math.inf]),
    "input_shape of another batch": lambda h: h.update(input_shape=[7, 2, 4, 4]),
    "input_shape negative": lambda h: h.update(input_shape=[1, -2, -4, 4]),
    "opset negative": lambda h: h.update(opset=-1),
    "opset huge": lambda h: h.update(opset=10**30),
    "opset infinite": lambda h: h.update(opset=math.inf),
    "operator no text": lambda h: h["nodes"][0].update(op=7),
    "operator a list": lambda h: h["nodes"][0].update(op=["Conv"]),
    "name a list": lambda h: h["nodes"][0].update(name=[1]),
    "name none": lambda h: h["nodes"][0].update(name=None),
    "attributes a list": lambda h: h["nodes"][0].update(attributes=[1]),
    "attribute an object": lambda h: h["nodes"][0]["attributes"].update(extra={"a": 1}),
    "attribute called name": lambda h: h["nodes"][0]["attributes"].update(name="x"),
    "attribute called inputs": lambda h: h["nodes"][0]["attributes"].update(inputs=[1]),
    "attribute mixed": lambda h: h["nodes"][0]["attributes"].update(extra=[1, "a"]),
    "group a float": lambda h: h["nodes"][0]["attributes"].update(group=1.0),
    "kernel_shape of another size": lambda h: h["nodes"][0]["attributes"].update(kernel_shape=[2, 2]),
    "pads of six": lambda h: h["nodes"][0]["attributes"].update(pads=[1] * 6),
    "two images": lambda h: h.update(inputs=["x", "y"]),
    "image a number": lambda h: h.update(inputs=[3]),
    "output the image": lambda h: h.update(outputs=["x"]),
    "output a constant": lambda h: h.update(outputs=["constant0"]),
    "output without a name": lambda h: h.update(outputs=[""]),
    "outputs alike": lambda h: h.update(outputs=h["outputs"] * 2),
    "node without outputs": lambda h: h["nodes"][0].update(outputs=[]),
    "node of three outputs": lambda h: h["nodes"][0].update(outputs=["a", "b", *h["outputs"]]),
    "header a list": lambda h: [h],
    "header a number": lambda h: 3,
}


@pytest.fixture
def calm(monkeypatch):
    """Timing that is not meant to find the fastest."""
    from sparsemark.direct import autotune, network

    monkeypatch.setattr(autotune, "_REPEATS", 1)
    monkeypatch.setattr(network, "_CONTEST", 1)


@pytest.mark.parametrize("name", HEADERS)
def test_header_that_means_nothing_is_a_reason_or_runs(name, tmp_path, calm):
    header, tensors = small_header()
    instead = HEADERS[name](header)
    path = signed(header if instead is None else instead, tensors, tmp_path / "hostile.csr")
    ends_well(path)


def ends_well(path):
    try:
        graph = load_csr(path)
        shape = (1, *graph.input_shape[1:]) if graph.input_shape else (1, 2, 4, 4)
        opened(graph, 1)(np.ones(shape, np.float32))
    except (UserError, UnsupportedError) as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_header_that_is_deep_is_a_reason(tmp_path):
    for content in ("[" * 100_000, '{"digest": ' * 50_000):
        path = tmp_path / "deep.csr"
        path.write_bytes(save(small_header()[1], metadata={"sparsemark-csr": content}))
        with pytest.raises(UserError):
            load_csr(path)


@pytest.mark.parametrize("target", [[1, -4, -8], [1, -1, -1, 32], [-1, -32], [1, 0, 0], [2, 16], [], [1, 2, 4, 4, 1]])
def test_shape_that_cannot_be_is_a_reason_or_runs(target, tmp_path, calm):
    sketch = Sketch(1, 2, 4, 4)
    sketch.node("Reshape", "x", sketch.constant(target, np.int64))
    ends_well(written(sketch.graph(), tmp_path / "hostile.csr"))


@pytest.mark.parametrize("axes", [[0, 0], [9], [-9], [], [0.5], [2**40]])
def test_axes_that_cannot_be_are_a_reason_or_run(axes, tmp_path, calm):
    for op in ("Unsqueeze", "Squeeze", "ReduceMean", "ReduceMax"):
        sketch = Sketch(1, 2, 4, 4)
        sketch.node(op, "x", sketch.constant(axes, np.float32 if 0.5 in axes else np.int64))
        ends_well(written(sketch.graph(), tmp_path / "hostile.csr"))


ROWS = {
    "back to zero": [0, 21, 0],
    "beyond the values": [0, 21, 1000],
    "huge and back": [0, 2**31 - 1, 0],
    "huge": [0, 2**31 - 1, 21],
    "negative at last": [0, 9, -(2**31)],
    "negative": [0, -5, 21],
    "not from zero": [3, 9, 21],
    "one too few": [0, 21],
    "none": [],
    "one too many": [0, 9, 21, 21],
}
"""Row pointers of two rows; scipy's own check passes over several of them."""


@pytest.mark.parametrize("name", ROWS)
def test_row_pointers_that_cannot_be_are_one_line(name, tmp_path):
    """Before anything follows them: what reads and writes along such pointers does not look where it goes."""
    header, tensors = small_header()
    tensors["matrix0.rows"] = np.array(ROWS[name], np.int32)
    with pytest.raises(UserError, match="damaged"):
        load_csr(signed(header, tensors, tmp_path / "hostile.csr"))


NEAR = st.one_of(st.integers(-3, 21), st.sampled_from((2**31 - 1, -(2**31), 0, 18)))


@given(
    st.one_of(st.tuples(st.just(0), NEAR, NEAR), st.lists(NEAR, max_size=4)), st.lists(NEAR, max_size=8),
    st.integers(0, 9), st.booleans(),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_matrix_that_is_read_is_whole(rows, columns, values, fits):
    """Whatever the three parts of a matrix are, those that are taken fit each other."""
    header, tensors = small_header()
    columns, values = (range(18), 18) if fits else (columns, values)
    tensors["matrix0.rows"] = np.array(rows, np.int32)
    tensors["matrix0.columns"] = np.array(columns, np.int32)
    tensors["matrix0.values"] = np.ones(values, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = signed(header, tensors, Path(folder) / "hostile.csr")
        try:
            matrix = load_csr(path).matrices["matrix0"]
        except UserError:
            return
    assert matrix.shape == (2, 18)
    pointers = matrix.indptr.astype(np.int64)
    assert len(pointers) == 3
    assert pointers[0] == 0
    assert (np.diff(pointers) >= 0).all()
    assert pointers[-1] <= len(matrix.indices) == len(matrix.data)
    assert not len(matrix.indices) or 0 <= matrix.indices.min() <= matrix.indices.max() < 18


def test_columns_that_come_twice_or_out_of_order_are_refused_or_added(tmp_path, calm):
    header, tensors = small_header()
    tensors["matrix0.columns"] = tensors["matrix0.columns"].copy()
    tensors["matrix0.columns"][:3] = [5, 2, 5]
    path = signed(header, tensors, tmp_path / "twice.csr")
    image = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    try:
        graph = load_csr(path)
    except UserError:
        return
    prepared = Prepared(graph)
    for choices in prepared.ways():
        assert distance(prepared.runner(choices)(image)[0], expected(graph, image)[0]) < 1e-5


def unused_matrix():
    header, tensors = small_header()
    header["shapes"]["huge"] = [1, 2**31 - 2]
    tensors |= {"huge.values": np.ones(1, np.float32), "huge.columns": np.zeros(1, np.int32)}
    return header, tensors | {"huge.rows": np.array([0, 1], np.int32)}


def largest_kernel():
    header, tensors = small_header()
    header["shapes"]["matrix0"] = [2, 2, 4096, 4096]
    header["nodes"][0]["attributes"].update(kernel_shape=[4096, 4096], pads=[4096, 4096, 4096, 4096])
    return header, tensors


def nearly_empty_kernel():
    """Nothing to us, and minutes to a dense engine."""
    header, tensors = small_header()
    header["shapes"]["matrix0"] = [2, 2, 4095, 31]
    header["nodes"][0]["attributes"].update(kernel_shape=[4095, 31], pads=[2047, 15, 2047, 15])
    tensors["matrix0.columns"] = (np.arange(36, dtype=np.int32) + 2047 * 31) % (2 * 4095 * 31)
    return header | {"input_shape": [1, 2, 256, 512]}, tensors


def largest_stride():
    sketch = Sketch(1, 1, 1, 1)
    weight = sketch.constant(np.ones((1, 1, 1, 1)))
    sketch.node("ConvTranspose", "x", weight, kernel_shape=[1, 1], strides=[4096, 4096])
    return content_of(sketch.graph())


def planes_of_one_pixel():
    sketch = Sketch(1, 2**25, 1, 1)
    activate(sketch, "x", "Relu")
    return content_of(sketch.graph())


def largest_padding():
    header, tensors = small_header()
    header["nodes"][0]["attributes"].update(pads=[4096, 4096, 4096, 4096])
    return header, tensors


def largest_image():
    header, tensors = small_header()
    return header | {"input_shape": [1, 2, 11_000, 11_000]}, tensors


def concatenations_within_one_another():
    sketch = Sketch(1, 1, 1, 1)
    name = first = activate(sketch, "x", "Relu")
    for _ in range(1500):
        name = sketch.node("Concat", name, first, axis=1)
    return content_of(sketch.graph())


COSTLY = (
    unused_matrix, largest_kernel, nearly_empty_kernel, largest_stride, planes_of_one_pixel, largest_padding,
    largest_image, concatenations_within_one_another,
)  # fmt: skip
"""Files of some hundred bytes that ask for much more than they have."""


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    """How each of these files ends, in a process of their own."""
    machine_code.load()  # compiled once, not again in that process
    folder = tmp_path_factory.mktemp("costly")
    return mutations.run_files({make.__name__: signed(*make(), folder / f"{make.__name__}.csr") for make in COSTLY})


@pytest.mark.parametrize("name", [make.__name__ for make in COSTLY])
def test_small_file_takes_neither_all_memory_nor_for_ever(name, endings):
    assert endings[name] in {"refused", "ran"}


# Files that chance makes.


@given(st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_mutation_of_a_number_is_always_the_same(number):
    with_files = [(b"a" * 100, *small_header())]
    one, other = (mutations.Mutator((number, 77)).mutated(with_files) for _ in range(2))
    if isinstance(one, bytes):
        assert one == other
    else:
        assert json.dumps(one[0]) == json.dumps(other[0])
        assert list(one[1]) == list(other[1])


def test_mutated_files_end_in_a_reason_or_an_answer(tmp_path):
    failures, counted = mutations.run_mutations(MUTATIONS, tmp_path)
    assert not failures, "\n".join(map(str, failures[:20]))
    assert sum(counted.values()) == MUTATIONS
    # Some of either, or nothing was tested.
    assert min(counted.values()) > MUTATIONS / 50
