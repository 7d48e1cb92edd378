"""Each stage runs once for the same input: what is done for a variant does not grow with its cells."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

import pytest

from sparsemark import formats, paths
from sparsemark.formats.base import Format
from sparsemark.networks import checkpoint
from sparsemark.records.journal import Journal
from sparsemark.study import expected, pipeline, prepare
from sparsemark.study.file import load_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import measure_cells, open_pipeline, prepare_variants
from tests.toy_study.place import place

MORE_ENGINES = """
[[prune]]
method = "magnitude"
sparsity = [0.5]
engines = ["onnxruntime", "torch-csr", "scipy-csr"]
"""


class Counts:
    """Calls by what was done to which file."""

    def __init__(self):
        self.calls = collections.Counter()

    def watch(self, patch, owner, name, what, key=lambda *arguments: Path(arguments[0]).name):
        plain = getattr(owner, name)

        def counted(*arguments, **more):
            self.calls[what, key(*arguments)] += 1
            return plain(*arguments, **more)

        patch.setattr(owner, name, counted)

    def of(self, what):
        return {name: count for (kind, name), count in self.calls.items() if kind == what}


@pytest.fixture
def counts(monkeypatch):
    found = Counts()
    for module in (prepare, formats):
        found.watch(monkeypatch, module, "content_hash", "hash")
    found.watch(monkeypatch, checkpoint, "_open", "read")
    found.watch(monkeypatch, expected, "float64_outputs", "float64", lambda source, *_: source.path.name)
    found.watch(monkeypatch, pipeline.engines, "load", "load", lambda artifact, engine, _: (artifact.path.name, engine))
    for name, form in formats.FORMATS.items():
        assert isinstance(form, Format)

        def export(source, path, form=form):
            found.calls["export", path.name] += 1
            form.export(source, path)

        def count(path, form=form):
            found.calls["count", path.name] += 1
            return form.count(path)

        monkeypatch.setitem(formats.FORMATS, name, dataclasses.replace(form, export=export, count=count))
    return found


def run(folder):
    study = load_study(folder / "toy.toml")
    work = paths.study_work(study.name)
    opened = open_pipeline(study, Places(paths.WEIGHTS, work))
    prepare_variants(opened, study.variants, lambda items, what, kinds: items)
    return measure_cells(opened, study.cells, Journal(paths.journal(work)), lambda items, what, kinds: items)


def test_nothing_is_hashed_exported_counted_or_loaded_twice(tmp_path, monkeypatch, counts):
    monkeypatch.chdir(place(tmp_path))
    study = tmp_path / "toy.toml"
    study.write_text(study.read_text() + MORE_ENGINES)
    measured = run(tmp_path)
    assert {m.status for m in measured.measurements} == {"measured"}
    assert len(measured.measurements) == 9
    for what in ("hash", "export", "count", "float64", "load"):
        found = counts.of(what)
        assert found, what
        assert set(found.values()) == {1}, (what, {name: n for name, n in found.items() if n > 1})


SMALL = """
name = "toy"
hooks = "hooks.py:open_task"
[protocol]
pairs = 1
block = 2
warmup_calls = 1
warmup_seconds = 0.0
[[model]]
name = "toy"
reference = "network.py:build"
input = [1, 1, 16, 16]
[[prune]]
method = "none"
engines = ["onnxruntime", "torch-csr", "scipy-csr"]
"""


def test_weights_are_not_read_more_often_for_more_engines_of_a_format(tmp_path, monkeypatch, counts):
    read = []
    for name, study in (("few", SMALL.replace(', "scipy-csr"', "")), ("many", SMALL)):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(place(folder))
        (folder / "toy.toml").write_text(study)
        counts.calls.clear()
        assert {m.status for m in run(folder).measurements} == {"measured"}
        read.append(counts.of("read")["toy-dense-seed0.safetensors"])
    assert read[0] == read[1]


def test_a_finished_study_reads_no_weights_and_exports_nothing(tmp_path, monkeypatch, counts):
    monkeypatch.chdir(place(tmp_path))
    run(tmp_path)
    counts.calls.clear()
    again = run(tmp_path)
    assert {m.status for m in again.measurements} == {"measured"}
    assert not counts.of("export")
    assert not counts.of("count")
    assert not counts.of("float64")
    assert not counts.of("load")
    assert set(counts.of("hash").values()) == {1}
    assert set(counts.of("read").values()) == {1}, "the header of each checkpoint"
