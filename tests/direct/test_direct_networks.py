"""Whole networks: memory that is used again, files, shapes, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models import INPUT_SHAPE, NETWORKS
from sparsemark.direct import isa
from sparsemark.direct.ir import Convolution
from sparsemark.direct.runtime import machine_code
from sparsemark.engines import direct_csr
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr import graph as csr
from sparsemark.measurement.parity import TOLERANCE, check
from sparsemark.specs import ModelSpec, Protocol, Pruning
from sparsemark.study.file import own_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline
from tests import small_networks as networks
from tests.direct.checks import (
    alike,
    chain,
    close_in_every_way,
    exact_in_every_way,
    noise,
    opened,
    pyramid,
)
from tests.direct.graphs import (
    Prepared,
    Sketch,
    activate,
    distance,
    expected,
    grown_networks,
    whole_numbers,
    written,
)


@given(grown_networks(), st.data())
@settings(max_examples=150, deadline=None)
def test_network_is_right_and_remembers_no_earlier_image(graph, data):
    """Tensors take turns in memory: what an image leaves behind must not reach the next."""
    images = [noise(*graph.input_shape, seed=n) for n in range(2)]
    references = [expected(graph, image) for image in images]
    for image, reference in zip(images, references, strict=True):
        for wanted, single in zip(reference, expected(graph, image, torch.float32), strict=True):
            # Where torch itself is far off in float32, nothing is said about us.
            assume(np.isfinite(single).all() and distance(single.astype(np.float64), wanted) < TOLERANCE / 5)
    prepared = Prepared(graph)
    ways = list(prepared.ways())
    chosen = ways[data.draw(st.integers(0, len(ways) - 1))]
    run = prepared.runner(chosen)
    answers = [run(images[n]) for n in (0, 1, 0, 1)]
    for n, answer in zip((0, 1, 0, 1), answers, strict=True):
        fresh = prepared.runner(chosen)(images[n])
        for got, alone, wanted in zip(answer, fresh, references[n], strict=True):
            np.testing.assert_array_equal(got, alone)
            assert distance(got, wanted) <= TOLERANCE


def test_memory_is_used_again_and_answers_stay_right():
    short, long = Prepared(chain(4)), Prepared(chain(12))
    assert long.floats == short.floats
    images = [noise(*chain(1).input_shape, seed=n) for n in range(4)]
    for prepared, graph in ((short, chain(4)), (long, chain(12))):
        choices = next(prepared.ways())
        run = prepared.runner(choices)
        for image in (*images, *images[::-1]):
            assert distance(run(image)[0], expected(graph, image)[0]) <= TOLERANCE


def test_vectors_and_images_may_take_each_others_memory():
    """A decoder: linear layers make a vector, which becomes an image of as many values."""
    sketch = Sketch(1, 16)
    name = sketch.linear("x", noise(128, 16), noise(128))
    name = sketch.linear(name, noise(128, 128) / 11, noise(128))
    name = sketch.node("Reshape", name, sketch.constant([1, 8, 4, 4], np.int64))
    name = activate(sketch, name, "Sigmoid")
    sketch.conv(name, noise(3, 8, 3, 3), pads=[1, 1, 1, 1])
    close_in_every_way(sketch.graph(), noise(1, 16))


def test_copies_find_zeros_beside_them():
    """A stride splits an odd image into planes whose last row and column nobody writes: no used memory for these."""
    generator = np.random.default_rng(0)
    sketch = Sketch(1, 1, 15, 15)
    first = activate(sketch, "x", "Relu")
    weights = [whole_numbers(generator, shape, 3) for shape in ((4, 1, 3, 3), (4, 4, 2, 1), (4, 4, 2, 1), (4, 1, 3, 3))]
    name = sketch.conv(first, weights[0], pads=[1, 1, 1, 1], strides=[2, 2])
    name = sketch.conv(name, weights[1], pads=[1, 0, 0, 0])
    name = sketch.conv(name, weights[2], pads=[1, 0, 0, 0])
    again = sketch.conv(first, weights[3], pads=[1, 1, 1, 1], strides=[2, 2])
    image = np.abs(whole_numbers(generator, (1, 1, 15, 15), 9))
    prepared = exact_in_every_way(sketch.graph(name, again), image)
    for choices in prepared.ways():
        run = prepared.runner(choices)
        for _ in range(2):
            np.testing.assert_array_equal(run(image)[1], expected(sketch.graph(again), image)[0])


def test_pyramid_holds_every_operation():
    steps = Prepared(pyramid()).lowered.operations
    assert {step.code for step in steps} == {*range(11), isa.RESAMPLE, isa.NORMALIZE}
    assert any(step.pooled for step in steps if isinstance(step, Convolution))
    assert any(step.second for step in steps if isinstance(step, Convolution))
    close_in_every_way(pyramid(), noise(1, 3, 32, 32))


@pytest.mark.parametrize("threads", [1, 2])
def test_file_is_loaded_planned_and_run(threads, tmp_path, monkeypatch, no_contest, quick):
    machine_code.load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    graph = pyramid()
    path = written(graph, tmp_path / "pyramid.csr")
    image = noise(1, 3, 32, 32)
    for _ in range(2):
        predict = direct_csr.load(path, threads)
        alike(predict(image), expected(graph, image))
    assert len(list((tmp_path / "cache" / "sparsemark" / "direct").glob("*.json"))) == 1


EXPORTED = (("unet", "magnitude:0.9"), ("mobile", "none"), ("odd", "none"), ("grouped", "magnitude:0.9"))


@pytest.mark.parametrize(("name", "prune"), EXPORTED)
def test_exported_network_agrees_without_the_help_of_the_dense_engine(name, prune, no_contest, quick):
    run = opened(csr.load_csr(networks.artifact(name, prune, "csr").path), 1)
    check(run, networks.batches(name), networks.reference(name, prune))
    assert not any(plan.decision.dense for plan in run._plans.values())


def test_file_of_these_tests_is_that_of_the_format(tmp_path):
    graph, read = pyramid(), csr.load_csr(written(pyramid(), tmp_path / "pyramid.csr"))
    assert (read.inputs, read.outputs, read.shapes, read.input_shape) == (
        graph.inputs, graph.outputs, graph.shapes, graph.input_shape,
    )  # fmt: skip
    assert [node.op for node in read.nodes] == [node.op for node in graph.nodes]
    for name, matrix in graph.matrices.items():
        np.testing.assert_array_equal(read.matrices[name].toarray(), matrix.toarray())


def test_network_of_several_outputs_takes_batches(no_contest, quick):
    graph = pyramid()
    batch = noise(3, 3, 32, 32)
    got = opened(graph, 1)(batch)
    singles = [expected(graph, batch[n : n + 1]) for n in range(3)]
    alike(got, [np.concatenate(same) for same in zip(*singles, strict=True)])


def test_image_of_another_shape_is_planned_when_it_comes(no_contest, quick):
    graph = chain(3)
    run = opened(graph, 1)
    for shape in ((1, 4, 12, 20), (1, 4, 7, 33), (2, 4, 12, 21), (1, 4, 12, 20)):
        image = noise(*shape)
        alike(run(image), expected(graph, image))


def test_image_of_another_shape_also_where_there_is_a_contest(quick):
    """The dense engine must not insist on the shape that the file names."""
    graph = chain(3)
    run = opened(graph, 1)
    for shape in ((1, 4, 7, 33), (2, 4, 12, 20)):
        image = noise(*shape)
        alike(run(image), expected(graph, image))


def test_image_that_does_not_fit_is_a_reason(no_contest, quick):
    run = opened(chain(2), 1)
    for shape in ((1, 3, 12, 20), (1, 4, 12), (1, 4)):
        with pytest.raises(UnsupportedError, match="direct-csr: "):
            run(noise(*shape))


def test_file_for_several_images_a_call_is_a_reason_that_says_so(no_contest, quick):
    sketch = Sketch(2, 4, 1, 1)
    sketch.node("Reshape", sketch.node("Relu", "x"), sketch.constant([2, 4], np.int64))
    with pytest.raises(UnsupportedError, match="for 2 images a call, direct-csr runs one"):
        opened(sketch.graph(), 1)


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int64])
def test_image_of_another_type_or_not_in_order(kind, no_contest, quick):
    graph = chain(2)
    image = whole_numbers(np.random.default_rng(0), graph.input_shape, 5)
    run = opened(graph, 1)
    alike(run(image.astype(kind)), expected(graph, image))
    turned = np.ascontiguousarray(image.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    alike(run(turned), expected(graph, image))


def test_empty_batch_is_answered_as_such(no_contest, quick):
    (got,) = opened(chain(2), 1)(noise(0, 4, 12, 20))
    assert got.shape == (0, 4, 12, 20)


def test_answers_stay_as_they_are_and_the_image_too(no_contest, quick):
    graph = pyramid()
    run = opened(graph, 2)
    first, second = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    before = first.copy()
    answer = run(first)
    kept = [output.copy() for output in answer]
    run(second)
    np.testing.assert_array_equal(first, before)
    for output, copy in zip(answer, kept, strict=True):
        np.testing.assert_array_equal(output, copy)
    for output, copy in zip(run(first), kept, strict=True):
        np.testing.assert_array_equal(output, copy)


PRUNED = [
    *(("cnn3", prune) for prune in ("none", "magnitude:0.5")),
    *(("cnn9", prune) for prune in ("magnitude:0.9", "channels:0.5")),
    *((name, "channels:0.9+magnitude:0.7") for name in ("resnet3_max", "unet")),
    ("unet_head", "magnitude:0.9"),
]


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """A folder of measured decisions that tests share."""
    machine_code.load()  # not again for the empty cache
    return tmp_path_factory.mktemp("cache")


@pytest.mark.usefixtures("quick", "no_contest")
@pytest.mark.parametrize(("name", "prune"), PRUNED)
def test_networks_of_the_study_agree_with_float64_dense_masked_cut_and_composed(
    name, prune, compiled_once, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiled_once))
    model = ModelSpec(name, NETWORKS[name], INPUT_SHAPE)
    study = own_study(model, [Pruning.parse(prune)], ["direct-csr"], Protocol(images=4))
    pipeline, cell = open_pipeline(study, Places(tmp_path / "weights", tmp_path)), study.cells[-1]
    artifact = pipeline.export(pipeline.prepare(cell.variant), cell.format)
    assert pipeline.verify(cell, artifact).parity.max_rel <= TOLERANCE
