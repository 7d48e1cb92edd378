"""Fixtures for tests of how commands end: a small bench, an engine that breaks, one line of refusal."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.engines import ENGINES
from sparsemark.formats import FORMATS
from sparsemark.records.run import Run
from sparsemark.specs import Protocol
from tests.cli.small_bench import NETWORKS
from tests.synthetic import accuracy, cell


@pytest.fixture(scope="module", autouse=True)
def _exported_once(exported_once):
    """These tests are not about exports."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with a file of networks in it."""
    monkeypatch.chdir(tmp_path)
    Path("networks.py").write_text(NETWORKS)
    return tmp_path


@pytest.fixture
def broken(monkeypatch):
    """Have an engine fail on files with these letters in their names: `broken("torch", error, "magnitude")`."""

    def spoil(name, error, letters=""):
        engine = ENGINES[name]

        def load(path, threads):
            if letters in path.name:
                raise error
            return engine.load(path, threads)

        monkeypatch.setitem(ENGINES, name, dataclasses.replace(engine, load=load))

    return spoil


@pytest.fixture
def refused(capsys):
    """Call the command line and return its one line on stderr."""

    def call(*arguments, code=2):
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.strip()]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.out + captured.err
        assert lines[0].startswith(f"sparsemark {arguments[0]}: ")
        return lines[0]

    return call


@pytest.fixture
def quick(monkeypatch):
    """Few calls, no warm-up, no export: these tests are not about time."""
    absent = dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(FORMATS, "onnx", absent)
    few = Protocol(pairs=2, block=2, warmup_calls=1, warmup_seconds=0.0, images=2)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: dataclasses.replace(few, threads=threads))


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells that were timed."""
    from sparsemark.study.pipeline import Pipeline

    names = []
    plain = Pipeline.measure

    def measure(self, cell, *more):
        names.append(cell.name)
        return plain(self, cell, *more)

    monkeypatch.setattr(Pipeline, "measure", measure)
    return names


@pytest.fixture
def run_file(here):
    Run((cell(scores=accuracy(0.9)),)).save(Path("run.json"))
    return Path("run.json")
