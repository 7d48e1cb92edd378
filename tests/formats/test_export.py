"""Each artifact is exported and counted once, and made again where its file is no longer what was written."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch

from sparsemark import formats
from sparsemark.formats import FORMATS
from sparsemark.networks.source import Source
from sparsemark.specs import Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from tests.small_networks import NETWORKS, artifact, source


def counted(monkeypatch):
    """Names of what is called from now on: exporters and counters of all formats, and torch's own exporter."""
    calls = []

    def noted(name, function):
        def call(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return call

    for name, form in FORMATS.items():
        export, count = noted(f"export {name}", form.export), noted(f"count {name}", form.count)
        monkeypatch.setitem(FORMATS, name, dataclasses.replace(form, export=export, count=count))
    monkeypatch.setattr(torch.onnx, "export", noted("torch", torch.onnx.export))
    return calls


@pytest.mark.parametrize("form", FORMATS)
def test_file_is_exported_and_counted_once(form, tmp_path, monkeypatch):
    origin = short(form)
    calls = counted(monkeypatch)
    first = formats.export(origin, form, tmp_path / "mlp")
    assert calls == [f"export {form}", f"count {form}"]
    assert formats.export(origin, form, tmp_path / "mlp") == first
    assert calls == [f"export {form}", f"count {form}"]


MLP = Variant(NETWORKS["mlp"], Pruning.of("magnitude", 0.5))


def pipeline(folder):
    """A new pipeline, as another process has it, over the same folder."""
    return Pipeline(lambda _: None, Protocol(), Places(folder / "weights", folder), 0)


@pytest.mark.parametrize("order", [("csr", "onnx"), ("onnx", "csr"), ("csr",)])
def test_torch_exports_once_for_onnx_and_csr(order, tmp_path, monkeypatch):
    """CSR is converted from the ONNX artifact, so the slow exporter runs once for both."""
    calls = counted(monkeypatch)
    made = {form: one.export(one.prepare(MLP), form) for one in [pipeline(tmp_path)] for form in order}
    assert sorted(calls) == ["count csr", "count onnx", "export csr", "export onnx", "torch"]
    assert len({(one.path.stem, one.weights) for one in made.values()}) == 1
    calls.clear()
    again = pipeline(tmp_path)
    assert {form: again.export(again.prepare(MLP), form) for form in order} == made
    assert calls == []


@pytest.mark.parametrize("form", FORMATS)
def test_artifact_holds_digest_size_and_weights_of_the_file(form, tmp_path):
    for made in (formats.export(short(form), form, tmp_path / "mlp") for _ in range(2)):
        content = made.path.read_bytes()
        assert made.sha256 == hashlib.sha256(content).hexdigest()
        assert (made.bytes, made.format) == (len(content), form)
        assert made.weights == FORMATS[form].count(made.path)


def short(form):
    """A source for which torch need not export: a checkpoint, or an ONNX file where the format is made from one."""
    origin = source("mlp")
    return origin if form == "dense" else Source(origin.model, artifact("mlp", "none", "onnx").path)


def flip(content):
    """The content with one bit of its middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {"a bit": flip, "torn": lambda content: content[:-1], "empty": lambda content: b"", "gone": None}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("form", FORMATS)
def test_damaged_artifact_is_exported_again(form, damage, tmp_path):
    first = formats.export(short(form), form, tmp_path / "mlp")
    content = first.path.read_bytes()
    if damage is None:
        first.path.unlink()
    else:
        first.path.write_bytes(damage(content))
    assert formats.export(short(form), form, tmp_path / "mlp") == first
    assert first.path.read_bytes() == content


@pytest.mark.parametrize(
    "note",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"sha256": "0", "weights": {"total": 1, "nonzeros": 1}}',
        b'{"sha256": 3, "weights": 4}',
        b'{"weights": {"total": 1, "nonzeros": 1}}',
    ],
)
def test_note_that_is_lost_or_damaged_is_made_again_with_its_file(note, tmp_path):
    first = formats.export(source("mlp"), "dense", tmp_path / "mlp")
    path = tmp_path / "mlp.safetensors.json"
    whole = path.read_bytes()
    if note is None:
        path.unlink()
    else:
        path.write_bytes(note)
    assert formats.export(source("mlp"), "dense", tmp_path / "mlp") == first
    assert path.read_bytes() == whole


def test_csr_is_made_from_a_whole_onnx_file_though_the_one_there_is_damaged(tmp_path):
    first = pipeline(tmp_path)
    made = first.export(first.prepare(MLP), "csr")
    content = made.path.read_bytes()
    made.path.unlink()
    exported = made.path.with_suffix(".onnx")
    exported.write_bytes(flip(exported.read_bytes()))
    again = pipeline(tmp_path)
    assert again.export(again.prepare(MLP), "csr") == made
    assert made.path.read_bytes() == content
