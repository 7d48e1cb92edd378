"""`run --scheduler`: what is refused in one line."""

from __future__ import annotations

import pytest

from sparsemark.cli import main
from tests.toy_study.place import place


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(place(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "text", ["local:0", "local:two", "local", "tcp://nowhere", "udp://192.0.2.1:8786", "192.0.2.1"]
)
def test_a_scheduler_of_another_form_is_refused(here, capsys, text):
    pytest.importorskip("distributed")
    assert main(["run", "toy.toml", "--scheduler", text]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"sparsemark run: --scheduler {text}: expected local:N with N from 1, or the address of a scheduler"
    )
    assert said.count("\n") == 1


def test_a_quick_look_needs_no_scheduler(here, capsys):
    pytest.importorskip("distributed")
    assert main(["run", "toy.toml", "--scheduler", "local:1", "--quick"]) == 2
    assert "--quick --scheduler: expected one of them" in capsys.readouterr().err


def test_without_dask_the_package_to_install_is_named(here, capsys, monkeypatch):
    monkeypatch.setattr("sparsemark.registry.missing", lambda modules: f"{modules[0]} is not installed")
    assert main(["run", "toy.toml", "--scheduler", "local:2"]) == 2
    assert capsys.readouterr().err == (
        "sparsemark run: --scheduler local:2: distributed is not installed: pip install 'sparsemark[sweep]'\n"
    )
