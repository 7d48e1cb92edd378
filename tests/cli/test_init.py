"""`sparsemark init` writes files that run as they are, and replaces none."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.cli.init import STARTER, starter_files
from sparsemark.formats import FORMATS
from sparsemark.records.measurement import MEASURED
from sparsemark.records.run import Run
from sparsemark.specs import Protocol

RECORD = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([os.getcwd(), sys.argv[1:]]), file=calls)
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A repository into which `init` wrote its files, all committed."""
    folder = tmp_path_factory.mktemp("project")
    assert main(["init", str(folder)]) == 0
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *command], check=True, cwd=folder)
    return folder


@pytest.fixture
def here(started, monkeypatch):
    """These tests are not about time."""
    few = Protocol(pairs=4, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: dataclasses.replace(few, threads=threads))
    monkeypatch.setattr("sparsemark.study.file._protocol", lambda table: few)
    monkeypatch.chdir(started)
    return started


def test_every_file_is_written_and_named_and_the_next_commands_are_the_last_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "a folder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [path.name for path in STARTER.iterdir() if path.is_file() and path.name != "__init__.py"]
    assert {"model.py", "task.py", "simple_task.py", "study.toml", "ci.sh", "ci-github.yml"} <= set(names)
    assert lines[: len(names)] == [f"wrote a folder/{name}" for name in sorted(names)]
    for name in names:
        assert (tmp_path / "a folder" / name).read_bytes() == (STARTER / name).read_bytes()
    assert os.access(tmp_path / "a folder" / "ci.sh", os.X_OK)
    assert any("shapes.py and simple_task.py can go then" in line for line in lines)
    commands = [line.strip() for line in lines if line.startswith("  ")]
    assert (commands[0], commands[-1]) == ("cd 'a folder'", "sparsemark run study.toml")
    assert lines[-1] == f"  {commands[-1]}"


def test_extras_that_the_next_commands_need_are_installed_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sparsemark.registry.missing", lambda modules: f"{modules[0]} is not installed")
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    commands = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert commands[0] == "pip install 'sparsemark[direct,plots]'", "and no cd into the folder that one is in"


@pytest.mark.parametrize("name", [path.name for path in starter_files()])
def test_a_file_that_is_there_is_not_replaced_and_nothing_is_written(name, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"sparsemark init: {tmp_path / name}: is there already, and nothing was written")
    assert len(captured.err.splitlines()) == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_that_cannot_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"sparsemark init: {tmp_path / 'file'}/")


def test_the_command_that_is_shown_runs_on_the_example(here, capsys):
    """Dense is good, a fifth of it fine-tuned is too, and the files to deploy are named."""
    command = (
        "bench model.py:build --task task.py --prune magnitude:0.8,0.9 --prune channels:0.5:16 --engine onnxruntime "
        "--engine direct-csr --artifacts deploy"
    )
    assert f"sparsemark {command}" in shown_by_init(here)
    assert main([*command.split(), "--epochs", "2", "--json", "bench.json"]) == 0
    rows = {m.name: m for m in Run.load(Path("bench.json")).measurements}
    assert {m.status for m in rows.values()} == {MEASURED}, [m.reason for m in rows.values()]
    accuracy = {name: m.scores["accuracy"] for name, m in rows.items()}
    assert accuracy["build-dense-seed0-onnxruntime"].value > 0.9
    masked = accuracy["build-magnitude80-seed0-onnxruntime"]
    assert masked.value > max(0.9, masked.raw), "fine-tuned"
    kept = {
        f"build-{label}-seed0.{form}"
        for label in ("dense", "magnitude80", "magnitude90", "channels50r16")
        for form in ("onnx", "csr")
    }
    assert {path.name for path in Path("deploy").iterdir()} == kept
    assert {m.finetuning_epochs for m in rows.values() if m.method != "none"} == {2}
    assert {m.finetuning_epochs for m in rows.values() if m.method == "none"} == {None}
    out = capsys.readouterr().out
    assert "\n  - pruned networks were fine-tuned for 2 epochs, the dense one not\n" in out
    assert "parity, and agreement (the share of equal decisions), on EXAMPLE: all 200 inputs (200 generated pic" in out
    assert "too narrow for" not in out
    assert "wrote bench.json" in out
    assert all(f"wrote deploy/{name}" in out for name in kept)


YOURS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 4 * 8, 5))
"""


def test_the_study_runs_on_a_network_of_ones_own_after_the_lines_that_are_marked(tmp_path, monkeypatch):
    """Another channel count, other sizes, another number of classes; only lines marked YOURS were changed."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    Path("model.py").write_text(YOURS)
    task = Path("task.py").read_text().splitlines()
    whole = "\n".join(task).replace("draw(COUNT, SEEDS[part])[0]", "noise(COUNT, SEEDS[part])[0]")
    whole = whole.replace("draw(COUNT, SEEDS[part])[1]", "noise(COUNT, SEEDS[part])[1]").replace("draw(32", "noise(32")
    Path("shapes.py").unlink()  # as init says
    Path("simple_task.py").unlink()
    noise = (
        "import numpy as np\n"
        "def noise(count, seed):\n"
        "    random = np.random.default_rng(seed)\n"
        "    return random.normal(size=(count, 3, 6, 10)).astype(np.float32), random.integers(0, 5, count)\n"
    )
    Path("task.py").write_text(whole.replace("from shapes import draw", noise))
    study = Path("study.toml").read_text()
    line = next(line for line in study.splitlines() if line.startswith("input = "))
    assert "YOURS" in line
    Path("study.toml").write_text(study.replace(line, "input = [1, 3, 6, 10]").replace("0.8, 0.9", "0.8"))
    study = Path("study.toml").read_text().replace(', "direct-csr"', "").replace("onnxruntime", "torch")
    Path("study.toml").write_text(study)  # an export takes seconds, and is not what this is about
    few = Protocol(pairs=4, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
    monkeypatch.setattr("sparsemark.study.file._protocol", lambda table: few)
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",)))
    assert main(["run", "study.toml", "--quick"]) == 0
    (path,) = Path("results").glob("*/example-quick.json")
    (masked,) = (m for m in Run.load(path).measurements if m.method == "magnitude")
    assert (masked.status, masked.finetuning_epochs) == (MEASURED, 2), masked.reason


def shown_by_init(folder):
    from sparsemark.cli.init import _next

    return [line.strip() for line in _next(folder, ())]


def test_the_simple_task_scores_and_does_not_fine_tune(here, monkeypatch):
    # PyTorch is the reference then: an export takes seconds.
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",)))
    command = ["bench", "model.py:build", "--task", "simple_task.py", "--prune", "magnitude:0.5", "--engine", "torch"]
    assert main([*command, "--json", "simple.json"]) == 0
    dense, masked = Run.load(Path("simple.json")).measurements
    assert dense.scores["score"].value > 0.9
    assert masked.scores["score"].value == masked.scores["score"].raw


def test_the_study_runs(here):
    assert main(["run", "study.toml"]) == 0
    (path,) = Path("results").glob("*/example.json")
    rows = Run.load(path).measurements
    assert len(rows) == 6
    assert {m.status for m in rows} == {MEASURED}, [m.reason for m in rows]
    assert all(m.data.caveat == "EXAMPLE" and m.scores["accuracy"].value > 0.8 for m in rows)


def test_the_commands_of_the_shell_workflow_run(here, tmp_path, monkeypatch):
    """The script calls them; what it calls is run in this process."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sparsemark").write_text(RECORD.format(python=sys.executable))
    (programs / "sparsemark").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    subprocess.run(["bash", "ci.sh", "HEAD"], check=True, env=os.environ | environment, capture_output=True)
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    folders, commands = zip(*calls, strict=True)
    assert [command[0] for command in commands] == ["bench", "bench", "gate"]
    assert folders[0] != folders[1] == folders[2] == str(here)
    for command in commands[:2]:
        assert main([*command, "--epochs", "1"]) == 0
    assert main(commands[2]) in {0, 1, 3}, "a verdict; which one is the machine's"
    assert {path.name for path in here.iterdir()} >= {"baseline.json", "candidate.json", "comment.md", "gate.xml"}
