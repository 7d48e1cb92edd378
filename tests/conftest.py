"""Fixtures that tests of several folders need."""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib.util
import os
import signal
import sys
import tempfile

import pytest

from tests.longest import LONGEST

# Tests are no measurements: those of two workers need not wait for each other.
os.environ["SPARSEMARK_HOST_LOCK"] = f"{tempfile.gettempdir()}/sparsemark-tests-{os.getpid()}.lock"

# pytest-xdist marks the environment of its workers, which disables pytest-benchmark in a pytest that a test starts.
os.environ.pop("PYTEST_XDIST_WORKER", None)


def pytest_collection_modifyitems(config, items):
    """Sort the files that take longest to the front, so that workers end together."""
    if hasattr(config, "workerinput"):
        order = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path.relative_to(config.rootpath / "tests").as_posix(), len(order)))


_LIBRARY = 100
"""Modules that are more than a test's own."""

_frozen = 0


def pytest_runtest_setup(item):
    """Leave libraries out of garbage collections: every measurement begins with one, which takes 0.5 s else."""
    global _frozen  # noqa: PLW0603 - one heap a process
    if len(sys.modules) > _frozen + _LIBRARY:
        gc.collect()  # what is no library is not kept for ever
        gc.freeze()
        _frozen = len(sys.modules)
        _remember_operators()


def _remember_operators():
    """Have torch's exporter translate its library of operators once: anew for each network, it takes a second."""
    registry = getattr(sys.modules.get("torch.onnx._internal.exporter._registration"), "ONNXRegistry", None)
    if registry is not None and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


@pytest.fixture(scope="session", autouse=True)
def _in_this_process():
    """Commands measure in this process: a fresh one for each launch takes seconds. Tests of launches ask for them.

    Nor is a second given to each cell's warm-up.
    """
    from sparsemark.specs import Protocol

    plain = Protocol.of_rounds

    def of_rounds(rounds, threads):
        return dataclasses.replace(plain(rounds, threads), warmup_seconds=0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparsemark.cli.arguments.LAUNCHES", 0)
        patch.setattr(Protocol, "of_rounds", of_rounds)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shelf(tmp_path_factory):
    """A folder for the networks of `tests.small_networks`, one for all workers: each is exported once."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_TESTRUNUID" in os.environ else own) / "shelf"
    folder.mkdir(exist_ok=True)
    os.environ["SPARSEMARK_TEST_SHELF"] = str(folder)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(_shelf):
    """Compile the machine code of `direct-csr` in one worker: another that needs it waits for the file."""
    if importlib.util.find_spec("llvmlite") is None:
        yield
        return
    from sparsemark.direct.runtime import machine_code

    plain, python = machine_code._compile, sys.executable

    def compiled():
        if sys.executable != python:  # a test whose subject is the compiler
            return plain()
        from tests.small_networks import alone_with, shelf

        path = shelf() / "execute.o"
        with alone_with("execute"):
            if not path.exists():
                path.write_bytes(plain())
            return path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine_code, "_compile", compiled)
        yield


@pytest.fixture(scope="session")
def finished_study(_shelf):
    """A folder in which the toy study was run, once for all workers. Whoever changes it works in a copy."""
    from tests.exports import remembered
    from tests.small_networks import alone_with, shelf
    from tests.toy_study.place import place

    folder, done = shelf() / "toy", shelf() / "toy.done"
    with alone_with("toy"), remembered(), pytest.MonkeyPatch.context() as patch:
        if not done.exists():
            from sparsemark.cli import main

            folder.mkdir()
            patch.chdir(place(folder))
            assert main(["run", "toy.toml"]) == 0
            done.touch()
    return folder


@pytest.fixture(scope="module")
def exported_once(_shelf):
    """Exports of the session in place of new ones, whose bytes would be the same."""
    from tests.exports import remembered

    with remembered():
        yield


@pytest.fixture
def interruptible():
    """Signals have their standard handlers, also in a shell's background job or under nohup, which ignore some."""
    standard = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in standard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
