"""Reference outputs that are damaged in any way are computed again, never used."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from sparsemark import paths
from sparsemark.networks.reference import Reference
from sparsemark.records.measurement import MEASURED
from sparsemark.specs import Cell, ModelSpec, Protocol, Variant
from sparsemark.study import expected, reference_outputs
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from tests.toy_study.place import HERE

OUTPUTS = (np.arange(6.0).reshape(3, 2), np.ones((3, 1, 2)))
REFERENCE = Reference(OUTPUTS, (0, 2, 1), ("a note",))


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "references" / "key.npz"
    reference_outputs.store(path, "key", REFERENCE)
    return path


def same(found):
    return (found.chosen, found.notes) == ((0, 2, 1), ("a note",)) and all(map(np.array_equal, found.outputs, OUTPUTS))


def test_what_was_stored_comes_back_under_its_key_only(stored, caplog):
    caplog.set_level("INFO")
    assert same(reference_outputs.load(stored, "key"))
    assert not caplog.records
    assert reference_outputs.load(stored, "another") is None
    assert reference_outputs.load(stored.with_name("nowhere.npz"), "key") is None


def test_the_steps_of_a_quantised_network_come_back(stored):
    quantised = dataclasses.replace(REFERENCE, steps=(0.5, 0.25), moved=(0.0, 0.75))
    reference_outputs.store(stored, "key", quantised)
    again = reference_outputs.load(stored, "key")
    assert (again.steps, again.moved) == ((0.5, 0.25), (0.0, 0.75))
    reference_outputs.store(stored, "key", REFERENCE)
    assert reference_outputs.load(stored, "key").steps == ()


def flipped(content, index):
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


def other(content):
    import io

    file = io.BytesIO()
    np.savez(file, *(output + 1 for output in OUTPUTS))
    return file.getvalue()


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbage": lambda content: bytes(range(256)) * 4,
    "longer": lambda content: content + b"\0",
    "a bit of a number": lambda content: flipped(content, content.index(b"\xf0?") if b"\xf0?" in content else 200),
    "another's": other,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_not_parsed(damage, stored, monkeypatch, caplog):
    caplog.set_level("INFO")
    stored.write_bytes(DAMAGES[damage](stored.read_bytes()))
    monkeypatch.setattr(reference_outputs.np, "load", lambda *arguments, **more: pytest.fail("parsed"))
    assert reference_outputs.load(stored, "key") is None
    assert f"{stored}: damaged; computed again" in caplog.text


@pytest.mark.parametrize("note", [None, b"", b"{}", b"garbage"])
def test_file_without_a_whole_digest_is_not_used(note, stored):
    beside = stored.with_name("key.npz.json")
    if note is None:
        beside.unlink()
    else:
        beside.write_bytes(note)
    assert reference_outputs.load(stored, "key") is None


def test_folder_in_place_of_the_file_is_not_used(stored):
    stored.unlink()
    stored.mkdir()
    assert reference_outputs.load(stored, "key") is None


def test_a_cell_is_measured_against_outputs_made_again(tmp_path, monkeypatch):
    """Outputs that were replaced by those of another network would fail parity, or worse, pass."""
    shutil.copy(HERE / "network.py", tmp_path)
    model = ModelSpec("toy", f"{tmp_path / 'network.py'}:build", (1, 1, 16, 16))
    cell = Cell(Variant(model), "dense", "torch")

    def row():
        made = Pipeline(lambda variant: None, Protocol(), Places(None, tmp_path), 0)
        return made.measure(cell, None)

    assert row().status == MEASURED
    (path,) = (paths.reference_outputs(tmp_path, "x").parent).glob("*.npz")
    whole, computed = path.read_bytes(), []
    plain = expected.float64_outputs

    def count(*arguments):
        computed.append(1)
        return plain(*arguments)

    monkeypatch.setattr(expected, "float64_outputs", count)
    assert row().status == MEASURED
    assert not computed, "whole ones are used"
    for damaged in (b"", whole[:100], b"garbage"):
        path.write_bytes(damaged)
        assert row().status == MEASURED
        assert computed.pop()
        assert reference_outputs.load(path, path.stem) is not None
