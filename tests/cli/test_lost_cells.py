"""A cell that was measured earlier is never lost in silence: the earlier file is kept, and the command says which."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.cli.terminal import check_measured
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.machine.fingerprint import machine_name
from sparsemark.records.measurement import ERROR, MEASURED, UNSUPPORTED, Measurement
from tests.cli.small_bench import MASKED, NAMES, statuses


def test_a_bench_that_loses_a_measured_cell_keeps_the_earlier_file_and_exits_2(here, quick, broken, refused):
    assert main(MASKED) == 0
    before = Path("out.json").read_bytes()
    broken("torch", RuntimeError("no kernel"), "magnitude")
    line = refused(*MASKED)
    assert line == (
        f"sparsemark bench: out.json: 1 cell was measured earlier and not now: {NAMES[1]} (error: "
        "RuntimeError: no kernel; its result is kept in out.previous.json)"
    )
    assert statuses() == {NAMES[0]: MEASURED, NAMES[1]: ERROR}
    assert Path("out.previous.json").read_bytes() == before
    assert refused(*MASKED) == line, "until it is measured again"


def test_a_cell_that_is_unsupported_now_is_said_and_kept_and_no_failure(here, quick, broken, capsys):
    """As where a package is missing that was there before."""
    assert main(MASKED) == 0
    before = Path("out.json").read_bytes()
    broken("torch", UnsupportedError("no operator"), "magnitude")
    capsys.readouterr()
    assert main(MASKED) == 0
    assert f"1 cell was measured earlier and not now: {NAMES[1]} (unsupported: no operator" in capsys.readouterr().out
    assert statuses() == {NAMES[0]: MEASURED, NAMES[1]: UNSUPPORTED}
    assert Path("out.previous.json").read_bytes() == before


def test_a_run_that_loses_a_measured_cell_keeps_the_earlier_file_and_exits_2(
    finished_study, tmp_path, broken, monkeypatch, capsys
):
    monkeypatch.chdir(shutil.copytree(finished_study, tmp_path / "toy"))
    result = paths.run(machine_name(), "toy")
    before = result.read_bytes()
    paths.journal(paths.study_work("toy")).unlink()
    broken("torch", RuntimeError("no kernel"))
    capsys.readouterr()
    assert main(["run", "toy.toml"]) == 2
    captured = capsys.readouterr()
    assert "cells were measured earlier and not now: toy-" in captured.err.splitlines()[-1]
    assert captured.out.splitlines()[-1].startswith("not everything was measured: 4 error of ")
    assert result.with_name("toy.previous.json").read_bytes() == before
    assert set(statuses(result).values()) == {MEASURED, ERROR}


def test_the_last_line_names_the_cell_that_broke(here, quick, broken, capsys):
    broken("torch", RuntimeError("no kernel"), "magnitude")
    assert main(MASKED) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"not everything was measured: 1 error of 2; the first: {NAMES[1]}: RuntimeError: no kernel"


def test_where_nothing_was_measured_what_broke_is_named_before_what_is_unsupported():
    unsupported = Measurement("net-dense-torch", "unsupported", "no module")
    broken = Measurement("net-dense-onnxruntime", "parity_failed", "max |d| is large")
    with pytest.raises(UserError, match=r"^nothing was measured: net-dense-onnxruntime: max \|d\| is large$"):
        check_measured([unsupported, broken])
    with pytest.raises(UserError, match=r"^nothing was measured: net-dense-torch: no module$"):
        check_measured([unsupported])
    check_measured([unsupported, broken, Measurement("net-dense-openvino", "measured")])
