"""More threads, memory or depth than there can be is one line before anything is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.small_bench import BENCH
from tests.toy_study.place import place


def test_more_threads_than_processors(here, quick, refused, monkeypatch):
    monkeypatch.setattr("sparsemark.machine.placement.allowed_cpus", lambda: [0, 1])
    assert refused(*BENCH, "--threads", "64") == (
        "sparsemark bench: --threads 64: this process may use 2 processors; expected at most 2"
    )
    study = place(here) / "toy.toml"
    study.write_text(study.read_text().replace("pairs = 6", "pairs = 6\nthreads = 64"))
    assert "toy.toml: protocol.threads: 64: this process may use 2 processors" in refused("run", "toy.toml")


@pytest.mark.parametrize("sizes", ["1,3,100000000,100000000", "1,99999999999999999999999999"])
def test_an_input_larger_than_the_memory(sizes, here, quick, refused):
    line = refused(*(sizes if one == "1,3,8,8" else one for one in BENCH))
    assert f"--input: 32 inputs of {sizes} take " in line
    assert "expected smaller sizes" in line
    study = place(here) / "toy.toml"
    study.write_text(study.read_text().replace("input = [1, 1, 16, 16]", f"input = [{sizes}]"))
    assert f"toy.toml: model[0].input: an input of {sizes} takes " in refused("run", "toy.toml")


MANY = 40_000
DEEP = {
    "lists": "a = " + "[" * MANY + "]" * MANY,
    "open lists": "a = " + "[" * MANY,
    "tables": "a = " + "{a=" * MANY + "1" + "}" * MANY,
    "keys": "a" + ".a" * 5000 + " = 1",
    "headers": "[a" + ".a" * 5000 + "]",
    "a model": "name = 'x'\n[[model" + ".a" * MANY + "]]",
    "a long value": f"name = 'x'\nmodel = '{'x' * 10**6}'",
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_deep_study_file_is_one_short_line(kind, here, quick, refused):
    Path("deep.toml").write_text(DEEP[kind])
    line = refused("run", "deep.toml")
    assert line.startswith("sparsemark run: deep.toml: ")
    assert len(line) < 500
