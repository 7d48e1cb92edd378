"""A checkpoint that is damaged, or not the study's, is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from sparsemark import paths
from sparsemark.cli import main
from tests.cli.small_bench import study


def test_a_damaged_checkpoint_of_the_users_is_refused_and_one_in_the_work_folder_made_again(
    finished_study, tmp_path, monkeypatch, refused, capsys
):
    monkeypatch.chdir(shutil.copytree(finished_study, tmp_path / "toy"))
    path = paths.checkpoint(paths.WEIGHTS, "toy-magnitude50-seed0")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    capsys.readouterr()
    assert refused("run", "toy.toml").startswith(f"sparsemark run: {path}: damaged: its weights do not have the digest")
    path.write_bytes(whole)
    assert main(["run", "toy.toml"]) == 0


def test_a_foreign_checkpoint_lies_where_a_studys_weights_should(here, refused):
    path = study()
    weights = Path("models/weights/toy-dense-seed0.safetensors")
    weights.parent.mkdir(parents=True)
    save_file({"weight": np.zeros(3, np.float32)}, weights)
    assert f"{weights}: header.sparsemark: missing" in refused("run", path)
    weights.write_bytes(b"12345")
    assert f"{weights}: damaged, or not safetensors" in refused("run", path)
