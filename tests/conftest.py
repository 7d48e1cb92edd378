"""Fixtures that tests of several folders need."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest

# Tests are no measurements: those of two workers need not wait for each other.
os.environ["SPARSEMARK_HOST_LOCK"] = f"{tempfile.gettempdir()}/sparsemark-tests-{os.getpid()}.lock"

# pytest-xdist marks the environment of its workers, which disables pytest-benchmark in a pytest that a test starts.
os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.fixture(scope="session", autouse=True)
def _in_this_process():
    """Commands measure in this process: a fresh one for each launch takes seconds. Tests of launches ask for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparsemark.cli.arguments.LAUNCHES", 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shelf(tmp_path_factory):
    """A folder for the networks of `tests.small_networks`, one for all workers: each is exported once."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_TESTRUNUID" in os.environ else own) / "shelf"
    folder.mkdir(exist_ok=True)
    os.environ["SPARSEMARK_TEST_SHELF"] = str(folder)


@pytest.fixture(scope="session")
def finished_study(_shelf):
    """A folder in which the toy study was run, once for all workers. Whoever changes it works in a copy."""
    from tests.small_networks import alone_with, shelf
    from tests.toy_study.place import place

    folder, done = shelf() / "toy", shelf() / "toy.done"
    with alone_with("toy"), pytest.MonkeyPatch.context() as patch:
        if not done.exists():
            from sparsemark.cli import main

            folder.mkdir()
            patch.chdir(place(folder))
            assert main(["run", "toy.toml"]) == 0
            done.touch()
    return folder


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
