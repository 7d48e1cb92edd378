"""Names lead to implementations, sparsemark's own and other packages', and whatever is missing is a reason."""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sparsemark import registry
from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats import FORMATS, export
from sparsemark.formats.base import Format, Source
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.registry import availability, find, missing
from sparsemark.specs import ModelSpec, PruneSpec

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


def test_missing_imports_nothing():
    import sys

    assert missing(("antigravity",)) is None
    assert "antigravity" not in sys.modules
    assert missing(("sys", "no_such_module", "neither")) == "no-such-module is not installed"


@pytest.mark.parametrize("own", [PRUNERS, FORMATS, ENGINES])
def test_everything_that_sparsemark_brings_says_what_it_requires(own):
    for name, one in own.items():
        assert name == name.lower()
        assert all(isinstance(module, str) for module in one.requires)


def test_every_engine_reads_a_format_that_exists():
    assert {engine.format for engine in ENGINES.values()} <= set(FORMATS)


@pytest.mark.parametrize("name", [name for name, pruner in PRUNERS.items() if pruner.requires])
def test_pruner_without_its_library_is_a_reason(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UnsupportedError, match="is not installed"):
        prune(None, Request(PruneSpec(name, 0.5), None))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.requires])
def test_format_without_its_library_is_a_reason(name, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    source = Source(ModelSpec("m", "m:f", (1,)), tmp_path / "m.safetensors")
    with pytest.raises(UnsupportedError, match="is not installed"):
        export(source, name, tmp_path / "m")
