"""Names lead to implementations, sparsemark's own and other packages', and whatever is missing is a reason."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sparsemark import registry
from sparsemark.engines import ENGINES
from sparsemark.engines.base import Engine, Look
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats import FORMATS, export
from sparsemark.formats.base import Format
from sparsemark.networks.source import Source
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.registry import availability, find, missing, why_not
from sparsemark.specs import ModelSpec, Pruning

OWN = {"magnitude": Format(".a", print, print), "random": Format(".b", print, print, requires=("no_such_module",))}


@pytest.fixture
def others(monkeypatch):
    """Implementations that another package registers: one good, one that cannot be loaded."""
    entries = [
        EntryPoint("theirs", "sparsemark.formats.dense:count", "sparsemark.things"),
        EntryPoint("broken", "no_such_package_of_theirs:engine", "sparsemark.things"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda **which: EntryPoints(entries).select(**which))


def test_own_name_comes_first():
    assert find("magnitude", OWN, "thing") is OWN["magnitude"]


def test_name_of_another_package_is_loaded(others):
    from sparsemark.formats.dense import count

    assert find("theirs", OWN, "thing") is count


def test_other_package_that_cannot_be_loaded_is_one_line(others):
    with pytest.raises(UserError, match=r"thing 'broken': loading no_such_package_of_theirs:engine failed: ModuleNotF"):
        find("broken", OWN, "thing")


def test_unknown_name_gets_the_nearest_of_all(others):
    with pytest.raises(UserError, match=r"unknown thing 'their'; did you mean 'theirs'\? \(known: broken, magnitude"):
        find("their", OWN, "thing")


def test_availability_lists_all_with_reasons(others):
    rows = {row.name: row.absent for row in availability(OWN, "thing")}
    assert rows["magnitude"] is None
    assert rows["random"] == "no-such-module is not installed"
    assert rows["broken"].startswith("ModuleNotFoundError")
    assert set(rows) == {"magnitude", "random", "theirs", "broken"}


def test_availability_holds_the_label_of_what_has_one(monkeypatch):
    rows = {row.name: row.label for row in availability(ENGINES, "engine")}
    assert rows["onnxruntime"] == "ONNX Runtime"
    assert {row.label for row in availability(FORMATS, "format")} == {""}


SCRATCH = """
from sparsemark.engines.base import Engine, Look


def load(path, threads):
    return lambda image: (image,)


ENGINE = Engine(("onnx",), load, requires=(), label="Scratch Engine", look=Look("#123456", "x", ":"))
"""


@pytest.fixture
def scratch(tmp_path):
    """A folder with an installed package that registers an engine, one whose module is missing, and one of no kind."""
    (tmp_path / "scratch_engine.py").write_text(SCRATCH)
    info = tmp_path / "scratch_engine-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-engine\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[sparsemark.engines]\nscratch = scratch_engine:ENGINE\ngone = scratch_engine_of_old:ENGINE\n"
        "bare = scratch_engine:load\n"
    )
    return tmp_path


def test_engine_of_another_package_comes_with_its_label_and_look(scratch, monkeypatch):
    monkeypatch.syspath_prepend(str(scratch))
    rows = {row.name: row for row in availability(ENGINES, "engine")}
    assert (rows["scratch"].label, rows["scratch"].absent) == ("Scratch Engine", None)
    assert rows["gone"].absent.startswith("ModuleNotFoundError")
    assert rows["bare"].absent.startswith("AttributeError")
    engine = find("scratch", ENGINES, "engine")
    assert isinstance(engine, Engine)
    assert (engine.label, engine.look) == ("Scratch Engine", Look("#123456", "x", ":"))
    assert list(rows)[: len(ENGINES)] == list(ENGINES)
    del sys.modules["scratch_engine"]


def test_engine_of_another_package_is_listed_under_its_name_and_label(scratch):
    paths = [str(scratch), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "sparsemark.cli", "list"],
        check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "engine scratch Scratch Engine available" in lines
    assert any(line.startswith("engine onnxruntime ONNX Runtime ") for line in lines)
    assert any(line.startswith("engine gone ModuleNotFoundError") for line in lines)


def test_missing_imports_nothing():
    import sys

    assert missing(("antigravity",)) is None
    assert "antigravity" not in sys.modules
    assert missing(("sys", "no_such_module", "neither")) == "no-such-module is not installed"


NEEDS = ["numpy>=2", "numba>=0.61; extra == 'all'", 'numba>=0.61; extra == "direct"', "numbas; extra == 'other'"]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("numba", "numba is not installed: pip install 'sparsemark[direct]'"),
        ("numpy", "numpy is not installed"),
        ("nobody", "nobody is not installed"),
    ],
)
def test_what_an_extra_brings_is_named_with_the_extra(module, line, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: NEEDS)
    assert why_not(dataclasses.replace(ENGINES["direct-csr"], requires=(module,))) == line


@pytest.mark.parametrize("own", [PRUNERS, FORMATS, ENGINES])
def test_everything_that_sparsemark_brings_says_what_it_requires(own):
    for name, one in own.items():
        assert name == name.lower()
        assert all(isinstance(module, str) for module in one.requires)


def test_every_engine_reads_a_format_that_exists():
    assert {name for engine in ENGINES.values() for name in engine.formats} <= set(FORMATS)


@pytest.mark.parametrize("name", [name for name, pruner in PRUNERS.items() if pruner.requires])
def test_pruner_without_its_library_is_a_reason(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UnsupportedError, match="is not installed"):
        prune(None, Request(Pruning.of(name, 0.5), None))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.requires])
def test_format_without_its_library_is_a_reason(name, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    source = Source(ModelSpec("m", "m:f", (1,)), tmp_path / "m.safetensors")
    with pytest.raises(UnsupportedError, match="is not installed"):
        export(source, name, tmp_path / "m")
