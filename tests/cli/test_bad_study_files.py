"""A mistake in a study file is one line that names the field and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.small_bench import study


def test_there_is_no_such_study(here, refused):
    assert "nowhere.toml: cannot be read" in refused("run", "nowhere.toml")


def test_the_study_is_a_folder(here, refused):
    assert f"{here}: cannot be read" in refused("run", here)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b'name = "a"\nname = "b"'])
def test_the_study_is_not_toml(content, here, refused):
    Path("bad.toml").write_bytes(content)
    assert "bad.toml: not TOML" in refused("run", "bad.toml")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"text": "[extra]\n"}, "extra: unknown field 'extra'"),
        ({"text": "[[prune]]\nsparsty = [0.5]\n"}, "sparsty: unknown field 'sparsty'; did you mean 'sparsity'?"),
        ({"pairs": "pears = 6"}, "protocol.pears: unknown field 'pears'; did you mean 'pairs'?"),
        ({"reference": 'refrence = "network.py:build"'}, "model[0].refrence: unknown field"),
        ({"reference": ""}, "model[0].reference: missing"),
        ({"name": ""}, "name: missing, expected text"),
        ({"name": 'name = "a/b"'}, "name: 'a/b', expected letters"),
        ({"name": "name = 3"}, "name: 3, expected text"),
        ({"text": '[[prune]]\nmethod = "none"\nmodel = ["tyo"]\n'}, "model: unknown model 'tyo'; did you mean 'toy'?"),
        ({"text": '[[prune]]\nmethod = "none"\nmodel = "toy"\n'}, "model: 'toy', expected a list"),
        ({"method": 'method = "magnitud"'}, "prune[0].method: unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        ({"engines": 'precision = ["int4"]'}, "prune[0]: precision 'int4': expected one of fp32, int8"),
        ({"engines": 'engines = ["torhc"]'}, "prune[0].engines: unknown engine 'torhc'; did you mean 'torch'?"),
        ({"controls": 'controls = ["onnx"]'}, "prune[0].controls: unknown engine 'onnx'; did you mean 'onnxruntime'?"),
        ({"sparsity": "sparsity = [1.0]"}, "prune[1]: sparsity 1 of 'magnitude': expected a fraction in [0, 1)"),
        ({"sparsity": "sparsity = [-0.1]"}, "prune[1]: sparsity -0.1"),
        ({"sparsity": "sparsity = [nan]"}, "prune[1]: sparsity nan"),
        ({"sparsity": "sparsity = 0.5"}, "prune[1].sparsity: 0.5, expected a list"),
        ({"sparsity": 'sparsity = ["half"]'}, "prune[1].sparsity[0]: 'half', expected a number"),
        ({"sparsity": ""}, "prune[1].sparsity: missing"),
        ({"sparsity": "sparsity = [0.5]\nround_to = 8"}, "prune[1]: round_to 8 of 'magnitude': expected none, only"),
        ({"pairs": "pairs = 0"}, "protocol pairs 0: expected a whole number from 1"),
        ({"pairs": "pairs = 2.5"}, "protocol.pairs: 2.5, expected a whole number"),
        ({"warmup_seconds": "warmup_seconds = nan"}, "protocol.warmup_seconds: nan, expected a number from 0"),
        ({"input": "input = [1, 0, 16, 16]"}, "(1, 0, 16, 16): expected positive sizes"),
        ({"input": 'input = "1,1,16,16"'}, "model[0].input: '1,1,16,16', expected a list"),
        ({"hooks": "hooks = 1"}, "hooks: 1, expected text"),
        ({"text": '[[model]]\nname = "toy"\nreference = "a.py:b"\ninput = [1]\n'}, "[1].name: 'toy' is there twice"),
    ],
)  # fmt: skip
def test_the_study_names_the_field_and_what_was_expected(changed, named, here, refused):
    line = refused("run", study(**changed))
    assert "toy.toml: " in line
    assert named in line
    assert not Path("toy.log").exists(), "nothing is trained before the whole file is understood"


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "at least one [[model]]"), ("model = []", "at least one [[model]]"), ("model = 3", "a list")],
)
def test_the_study_has_no_model(content, expected, here, refused):
    Path("empty.toml").write_text(f'name = "x"\n{content}')
    line = refused("run", "empty.toml")
    assert "model: " in line
    assert f"expected {expected}" in line


def test_images_for_a_study_without_hooks(here, refused):
    assert "toy names no hooks" in refused("run", study(hooks=""), "--data", "images")


def test_the_hooks_are_not_there(here, refused):
    assert "nowhere.py: no such file" in refused("run", study(hooks='hooks = "nowhere.py:open"'))
