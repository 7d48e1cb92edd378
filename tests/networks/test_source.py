"""The key of a network's artifacts holds all that decides them: weights, the factory's file, the input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sparsemark.networks.source import Source, source_key
from sparsemark.specs import ModelSpec


def test_key_changes_with_weights_factory_and_input_and_with_nothing_else(tmp_path):
    code = tmp_path / "own.py"
    code.write_text("def build(): ...\n")
    model = ModelSpec("own", f"{code}:build", (1, 3, 8, 8))
    first = source_key(model, "a" * 64)
    assert source_key(dataclasses.replace(model, name="other"), "a" * 64) == first
    (tmp_path / "same.py").write_text(code.read_text())
    assert source_key(dataclasses.replace(model, reference=f"{tmp_path / 'same.py'}:build"), "a" * 64) == first
    assert source_key(model, "b" * 64) != first
    assert source_key(ModelSpec("own", model.reference, (1, 3, 8, 9)), "a" * 64) != first
    code.write_text("def build(): return 1\n")
    assert source_key(model, "a" * 64) != first


def test_key_of_a_factory_in_a_package_is_of_its_name(tmp_path):
    models = [ModelSpec("own", f"package.module:{name}", (1, 3)) for name in ("one", "two", "one")]
    first, second, third = (source_key(model, "a" * 64) for model in models)
    assert first == third != second


def test_onnx_file_is_told_from_a_checkpoint_by_its_name():
    model = ModelSpec("own", "own.py:build", (1, 3))
    assert Source(model, Path("net.onnx")).is_onnx
    assert not Source(model, Path("net.safetensors")).is_onnx
