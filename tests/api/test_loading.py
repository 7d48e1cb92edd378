"""`sparsemark.load`: answers, checks, callers from several threads and processes, many calls."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import sparsemark
from sparsemark.measurement.parity import TOLERANCE
from tests.small_networks import artifact, images, reference

CALLS = 10_000
_STATUS = Path("/proc/self/status")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def path_of(form, name="unet", prune="magnitude:0.9"):
    return artifact(name, prune, form).path


@pytest.fixture(params=["csr", "onnx"])
def form(request, direct):
    return request.param


@pytest.fixture
def network(form):
    return sparsemark.load(path_of(form))


def same(got, wanted):
    return len(got) == len(wanted) and all(np.array_equal(*pair) for pair in zip(got, wanted, strict=True))


def ends_well(child):
    """Run a function in a forked process; whether it returned True, and did not hang."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if child() else 1)
        finally:
            os._exit(2)
    for _ in range(3000):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


def test_answers_are_those_of_the_network_in_float64(network, form):
    assert network.engine == {"csr": "direct-csr", "onnx": "onnxruntime"}[form]
    wanted = reference("unet", "magnitude:0.9")
    for position, index in enumerate(wanted.chosen):
        outputs = network(images("unet")[index])
        assert isinstance(outputs, tuple)
        for got, all_images in zip(outputs, wanted.outputs, strict=True):
            expected = all_images[position : position + 1]
            np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * np.abs(all_images).max())


def test_what_it_takes_and_gives_can_be_asked(direct):
    csr, onnx = (sparsemark.load(str(path_of(form))) for form in ("csr", "onnx"))
    assert csr.input_shape == (None, 3, 16, 12)
    assert onnx.input_shape == (1, 3, 16, 12)
    for network in (csr, onnx):
        assert [one.dtype for one in network.inputs] == ["float32"]
        assert len(network.outputs) == len(network(images("unet")[0])) == 2
        assert repr(network.input_shape).replace("None", "N") in repr(network)


def test_batch_is_answered_image_by_image_and_an_empty_one_too(direct):
    network, batch = sparsemark.load(path_of("csr")), np.concatenate(images("unet"))
    for whole, *parts in zip(network(batch), *(network(batch[n : n + 1]) for n in range(len(batch))), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert [len(output) for output in network(batch[:0])] == [0, 0]


@pytest.mark.parametrize("shape", [(3, 16, 12), (1, 3, 16, 13), (1, 1, 3, 16, 12), (12,), ()])
def test_another_shape_is_an_error_that_names_both(network, form, shape):
    first = {"csr": "N", "onnx": "1"}[form]
    message = f"input has shape {shape}, expected ({first}, 3, 16, 12)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$") as error:
        network(np.zeros(shape, np.float32))
    assert isinstance(error.value, sparsemark.UserError)


@pytest.mark.parametrize("dtype", ["float64", "uint8", "float16", "int64", ">f4", "object"])
def test_another_dtype_is_an_error_that_names_both(network, dtype):
    with pytest.raises(sparsemark.InputError, match=f"^input has dtype {np.dtype(dtype)}, expected float32$"):
        network(np.zeros((1, 3, 16, 12), dtype))


def test_another_number_of_inputs_is_an_error(network):
    image = images("unet")[0]
    with pytest.raises(sparsemark.InputError, match=r"^2 inputs, expected 1$"):
        network(image, image)


def test_image_that_is_not_contiguous_is_answered_and_left_alone(network):
    image = images("unet")[0]
    turned = np.asfortranarray(image)
    before = turned.copy()
    assert same(network(turned), network(image))
    np.testing.assert_array_equal(turned, before)


def test_outputs_belong_to_the_caller(network):
    one, other = images("unet")[:2]
    kept = network(one)
    copies = [output.copy() for output in kept]
    network(other)
    assert same(kept, copies)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.csr", "no such file"),
        ("absent.onnx", "no such file"),
        ("folder.csr", "no such file"),
        ("text.csr", "damaged, or no CSR file"),
        ("text.onnx", "onnxruntime: "),
        ("net.safetensors", "expected a .csr or .onnx file"),
    ],
)
def test_file_that_cannot_be_loaded_is_named(direct, tmp_path, name, message):
    (tmp_path / "folder.csr").mkdir()
    for text in ("text.csr", "text.onnx"):
        (tmp_path / text).write_text("hello")
    with pytest.raises((sparsemark.UserError, sparsemark.UnsupportedError), match=re.escape(message)) as error:
        sparsemark.load(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_is_checked(threads):
    with pytest.raises(sparsemark.UserError, match=f"^threads {threads}: "):
        sparsemark.load("net.csr", threads)


def test_operator_that_the_sparse_engine_lacks_is_run_by_onnx_runtime(direct, tmp_path):
    from tests.direct.checks import chain, noise
    from tests.direct.graphs import expected, written

    graph = chain(1)
    sine = dataclasses.replace(graph.nodes[-1], op="Sin")
    graph = dataclasses.replace(graph, nodes=(*graph.nodes[:-1], sine))
    network, image = sparsemark.load(written(graph, tmp_path / "sine.csr")), noise(1, 4, 12, 20)
    assert network.engine == "direct-csr", "but for that one"
    relu = dataclasses.replace(graph, nodes=graph.nodes[:-1], outputs=graph.nodes[-1].inputs)
    np.testing.assert_allclose(network(image)[0], np.sin(expected(relu, image)[0]), rtol=0, atol=1e-5)


def test_callers_run_at_the_same_time(direct, monkeypatch):
    """Both callers are inside of the engine at once, or neither would pass the barrier."""
    from sparsemark.direct.runtime.runner import Runner

    monkeypatch.setattr("sparsemark.direct.runtime.callers.allowed_cpus", lambda: [0, 1])
    network = sparsemark.load(path_of("csr"))
    pictures = images("unet")[:2]
    alone = [network(image) for image in pictures]
    barrier, share = threading.Barrier(2, timeout=30), Runner.share

    def both(self, thread):
        barrier.wait()
        share(self, thread)

    monkeypatch.setattr(Runner, "share", both)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            for got, wanted in zip(pool.map(network, pictures), alone, strict=True):
                assert same(got, wanted)


def test_many_callers_get_their_own_answers(network):
    pictures = images("unet", 8)
    alone = [network(image) for image in pictures]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            for got, wanted in zip(pool.map(network, pictures), alone, strict=True):
                assert same(got, wanted)


def test_other_threads_of_python_run_during_a_call(direct, monkeypatch):
    """The native call releases the interpreter's lock: nothing else here lets another thread in."""
    from sparsemark.direct.runtime import runner

    counted, during, done = [0], [], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)

    native = runner.load()

    def execute(*operands):
        before = counted[0]
        found = native(*operands)
        during.append(counted[0] - before)
        return found

    monkeypatch.setattr(runner, "load", lambda: execute)
    network = sparsemark.load(path_of("csr"))
    image = np.concatenate(images("unet") * 20)
    network(image[:1])
    during.clear()
    interval, other = sys.getswitchinterval(), threading.Thread(target=count)
    sys.setswitchinterval(1e6)  # no thread is made to give way
    try:
        other.start()
        while not any(during) and len(during) < 100_000:
            network(image)
    finally:
        done.set()
        sys.setswitchinterval(interval)
        other.join()
    assert any(during)


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_process_answers_too(form, threads):
    network, pictures = sparsemark.load(path_of(form), threads), images("unet", 4)
    wanted = [network(image) for image in pictures]

    def child():
        with ThreadPoolExecutor(4) as pool:
            return all(map(same, pool.map(network, pictures), wanted))

    assert ends_well(child)
    assert same(network(pictures[0]), wanted[0])


@needs_fork
def test_process_that_is_forked_while_others_call_answers_too(direct):
    """Locks that other threads hold at that moment are held in the child, where nobody could release them."""
    from sparsemark.direct.network import Network

    network, image = sparsemark.load(path_of("csr"), 2), images("unet")[0]
    wanted = network(image)
    direct_network = network._run
    assert isinstance(direct_network, Network)
    from sparsemark.machine import forks

    locks = [
        lock
        for one in list(forks._HOLDERS)
        for name in ("_one_call", "_planning")
        if (lock := getattr(one, name, None))
    ]
    for lock in locks:
        assert lock.acquire(timeout=30)
    try:
        assert ends_well(lambda: same(network(image), wanted))
    finally:
        for lock in locks:
            lock.release()
    assert same(network(image), wanted)


@pytest.mark.skipif(not _STATUS.exists(), reason="this system does not tell the memory of a process")
def test_ten_thousand_calls_give_the_same_answer_and_keep_no_memory(form):
    def resident():
        return int(re.search(r"^VmRSS:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)[1])

    network, image = sparsemark.load(path_of(form, "mlp", "none")), images("mlp")[0]
    wanted = network(image)
    for _ in range(CALLS // 10):  # until allocators have what they keep
        network(image)

    def growth():
        before = resident()
        assert all(same(network(image), wanted) for _ in range(CALLS))
        return resident() - before

    # An output of a few bytes a call would be as much again, each time; so would a lock or a Python object. What else
    # this process does takes memory once.
    assert any(growth() < 0.05 * CALLS for _ in range(3))
