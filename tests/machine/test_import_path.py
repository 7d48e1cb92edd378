"""Import path of sparsemark's own fresh processes: what is installed, and nothing of a user's."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import sparsemark
from sparsemark.machine.import_path import variables


def _folders():
    return [Path(one) for one in variables()["PYTHONPATH"].split(os.pathsep)]


def test_folders_of_users_are_left_out(tmp_path, monkeypatch):
    installed = tmp_path / "packages"
    (installed / "thing-1.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path, str(installed), str(tmp_path / "nothing")])
    assert not {tmp_path, Path(), tmp_path / "nothing"} & set(_folders())
    assert installed in _folders()


def test_order_is_that_of_this_process(monkeypatch):
    own, standard = Path(sparsemark.__file__).parents[1], Path(sysconfig.get_path("stdlib"))
    monkeypatch.setattr(sys, "path", [str(standard), str(own)])
    assert _folders() == [standard, own]


def test_sparsemark_is_found_where_it_was_found_here(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not (Path(entry) / "sparsemark").is_dir()])
    command = [sys.executable, "-P", "-S", "-c", "import sparsemark; print(sparsemark.__file__)"]
    ended = subprocess.run(command, env=variables(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == sparsemark.__file__
