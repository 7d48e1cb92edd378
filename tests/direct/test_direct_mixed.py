"""Mixed execution: what is not lowered runs in the dense engine between native calls."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sparsemark.direct import isa
from sparsemark.direct.ir import Convolution
from sparsemark.direct.lowering import lower
from sparsemark.direct.memory import place
from sparsemark.direct.mixed import in_words, lower_mixed
from sparsemark.direct.network import Network
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.parts import view
from sparsemark.direct.schedule import options
from sparsemark.engines import direct_csr
from sparsemark.engines.base import notes_of
from sparsemark.errors import UnsupportedError
from sparsemark.measurement.parity import TOLERANCE
from sparsemark.records.measurement import WHOLLY_DENSE
from tests.direct import mixed_graphs
from tests.direct.bounds import check_places, check_program
from tests.direct.checks import chain, dense, noise, opened
from tests.direct.graphs import distance, written

NAMES = sorted(mixed_graphs.ALL)
NATIVE_PARTS = {
    "middle": 1, "start": 1, "end": 1, "indices": 1, "branches": 2, "outputs": 2, "masked": 1, "turned": 1,
}  # fmt: skip
"""Dense parts of each network: parallel branches share one."""


def close(got, reference):
    assert len(got) == len(reference)
    for one, wanted in zip(got, reference, strict=True):
        if one.dtype.kind == "f":
            assert distance(one, wanted) <= TOLERANCE
        else:
            np.testing.assert_array_equal(one, wanted)


def images(graph, count=2):
    return [noise(*graph.input_shape, seed=n) for n in range(count)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_mixed_network_computes_what_float64_and_onnx_runtime_do(name, threads, no_contest, quick):
    graph = mixed_graphs.ALL[name]()
    run = opened(graph, threads)
    plan = run.plan(graph.input_shape)
    assert plan.lowered.operations
    assert not plan.decision.dense
    found = images(graph)
    kept = [run(image) for image in (*found, *found[::-1])]
    for image, got in zip((*found, *found[::-1]), kept, strict=True):
        close(got, mixed_graphs.exact(graph, image))
        close(got, [one.astype(np.float64) if one.dtype.kind == "f" else one for one in dense(graph)(image)])


@pytest.mark.parametrize("name", NATIVE_PARTS)
def test_parts_are_as_few_as_can_be(name):
    lowered, _ = lower_mixed(mixed_graphs.ALL[name](), mixed_graphs.ALL[name]().input_shape)
    assert len(lowered.dense) == NATIVE_PARTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_mixed_program_stays_inside_and_borders_share_no_memory_in_use(name):
    graph = mixed_graphs.ALL[name]()
    lowered, _ = lower_mixed(graph, graph.input_shape)
    floats = place(lowered)
    check_places(lowered, floats)
    chosen = {step: options(step)[0] for step in lowered.operations if hasattr(step, "taps")}
    for threads in (1, 3):
        program = assemble(lowered.operations, chosen, floats, threads)
        check_program(program, lowered.operations, threads, int(np.prod(graph.input_shape)))
        assert program.first_rows[-1] == len(program.table)
        starts = [program.table[row, isa.OP] for row in program.first_rows[:-1]]
        assert isa.NOTHING not in starts


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("indices", "outputs")])
def test_batch_is_the_single_images_one_after_the_other(name, no_contest, quick):
    graph = mixed_graphs.ALL[name]()
    run = opened(graph, 1)
    found = images(graph, 3)
    singles = [run(image) for image in found]
    together = run(np.concatenate(found))
    for index, got in enumerate(together):
        np.testing.assert_array_equal(got, np.concatenate([single[index] for single in singles]))


@pytest.mark.parametrize("name", ["indices", "outputs"])
def test_batch_of_what_has_none_is_refused(name, no_contest, quick):
    """Indices of each image would all say that it is the first."""
    graph = mixed_graphs.ALL[name]()
    run = opened(graph, 1)
    with pytest.raises(UnsupportedError, match="has no batch"):
        run(np.concatenate(images(graph)))
    run(images(graph)[0])


def test_outputs_are_the_callers_to_keep(no_contest, quick):
    graph = mixed_graphs.outputs()
    run = opened(graph, 1)
    one, other = images(graph)
    first = run(one)
    copies = [output.copy() for output in first]
    run(other)
    for output, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(output, copy)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_callers_at_once(threads, no_contest, quick):
    graph = mixed_graphs.branches()
    run = opened(graph, threads)
    found = images(graph, 4)
    wanted = [run(image) for image in found]
    wrong = []

    def call(first):
        for turn in range(30):
            index = (first + turn) % len(found)
            got = run(found[index])
            wrong.extend(index for a, b in zip(got, wanted[index], strict=True) if not np.array_equal(a, b))

    callers = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_borders_are_views_of_the_arena(no_contest, quick):
    """The dense engine reads and writes the arena itself."""
    graph, seen = mixed_graphs.middle(), []

    class Watched:
        def __init__(self, model, threads):
            self._session = direct_csr.open_dense(model, threads)

        def __call__(self, *inputs):
            return self._session(*inputs)

        def bind(self, inputs, outputs):
            seen.append((inputs, outputs))
            return self._session.bind(inputs, outputs)

    run = Network(graph, 1, None, Watched)
    (image,) = images(graph, 1)
    close(run(image), mixed_graphs.exact(graph, image))
    (inputs, outputs), *_ = seen
    (read,), (made,) = inputs.values(), outputs.values()
    assert read.base is not None
    assert read.flags.c_contiguous
    assert made.flags.writeable
    np.testing.assert_allclose(made, np.abs(np.sin(read)), rtol=1e-5, atol=1e-6)
    ((_, part),) = run.plan(graph.input_shape).lowered.dense
    assert [border.shape for border in part.sources.values()] == [read.shape]
    arena = np.arange(run.plan(graph.input_shape).floats, dtype=np.float32)
    assert np.shares_memory(view(arena, *part.results.values()), arena)


def test_what_a_dense_part_makes_not_finite_reaches_the_output(no_contest, quick):
    """Zero times infinity is not a number: weights of zero must not hide what a logarithm gave."""
    sketch = mixed_graphs.Sketch(1, 2, 4, 4)
    name = sketch.node("Log", sketch.node("Relu", sketch.conv("x", np.eye(2)[:, :, None, None])))
    name = sketch.conv(name, np.zeros((2, 2, 1, 1)), np.ones(2))
    graph = sketch.graph(sketch.node("Clip", sketch.node("Relu", name)))
    image = np.abs(noise(1, 2, 4, 4))
    run = opened(graph, 1)
    np.testing.assert_array_equal(run(image)[0], np.ones((1, 2, 4, 4)))
    image[0, 0, 1, 2] = 0
    np.testing.assert_array_equal(run(image)[0], dense(graph)(image)[0])
    assert np.isnan(dense(graph)(image)[0]).any()


def test_channels_last_need_no_dense_part():
    """ConvNeXt's Transpose, LayerNormalization and products over the last axis; no value is moved but by a turn."""
    graph = mixed_graphs.conv_next()
    steps = lower(graph, graph.input_shape).operations
    assert [step.code for step in steps].count(isa.TURN) == 0
    assert sum(isinstance(step, Convolution) for step in steps) == 4


def test_transformer_runs_its_perceptron_in_one_native_part():
    graph = mixed_graphs.vision_transformer()
    lowered, _ = lower_mixed(graph, graph.input_shape)
    dense = {node.op for _, part in lowered.dense for node in part.graph.nodes}
    assert not dense & {"Linear", "LayerNormalization", "Erf", "Conv"}
    assert len(lowered.dense) == 3
    assert "6 of 6" in in_words(graph, lowered)


def test_row_says_how_much_is_sparse(tmp_path, monkeypatch, no_contest, quick):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = written(mixed_graphs.middle(), tmp_path / "middle.csr")
    for _ in range(2):
        assert notes_of(direct_csr.load(path, 1)) == ("2 of 2 convolutions sparse; Sin, Abs dense",)
    assert notes_of(direct_csr.load(written(chain(2), tmp_path / "chain.csr"), 1)) == ()


def test_row_says_that_dense_runs_the_whole(monkeypatch, quick):
    monkeypatch.setattr(Network, "_contest", lambda *arguments: (2.0, 1.0))
    graph = mixed_graphs.middle()
    run = opened(graph, 1)
    assert run.notes == (f"0 of 2 convolutions sparse; {WHOLLY_DENSE}",)
    (image,) = images(graph, 1)
    np.testing.assert_array_equal(run(image)[0], dense(graph)(image)[0])


def test_network_without_anything_to_gain_runs_dense():
    sketch = mixed_graphs.Sketch(1, 3, 4, 4)
    graph = sketch.graph(sketch.node("Sin", sketch.node("Relu", "x")))
    run = opened(graph, 1)
    assert run.plan(graph.input_shape).decision.dense
    image = noise(1, 3, 4, 4)
    close(run(image), [np.sin(np.maximum(image, 0)).astype(np.float64)])


def test_refusal_without_the_dense_engine_names_all_operators(monkeypatch):
    graph = mixed_graphs.vision_transformer()
    with pytest.raises(UnsupportedError, match=r"MatMul at .* and 1 more"):
        Network(graph, 1)
    monkeypatch.setattr("sparsemark.direct.network.missing", lambda names: "onnxruntime is not installed")
    with pytest.raises(UnsupportedError) as caught:
        opened(graph, 1)
    assert "needs onnxruntime for " in str(caught.value)
    for operator in ("MatMul (2 nodes)", "Gather (4 nodes)"):
        assert operator in str(caught.value)


def test_operator_that_onnx_runtime_lacks_is_named(quick):
    sketch = mixed_graphs.Sketch(1, 3, 4, 4)
    name = sketch.node("NoSuchOperator", sketch.conv("x", noise(3, 3, 1, 1)))
    sketch.conv(name, noise(3, 3, 1, 1))
    with pytest.raises(UnsupportedError, match="NoSuchOperator"):
        opened(sketch.graph(), 1)
