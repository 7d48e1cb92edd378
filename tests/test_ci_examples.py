"""Examples for people who gate a model of their own: they run, and every command in them is one of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "src" / "sparsemark" / "starter"

# Parses its arguments as ours does, notes them with the model that stands in the folder, and writes what was asked for.
SPARSEMARK = """#!{python}
import json, os, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from sparsemark.cli.parser import _parser
options = _parser().parse_args(sys.argv[1:])
for name in ("json", "comment", "junit"):
    if getattr(options, name, None):
        getattr(options, name).write_text("written")
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([options.name, Path("model.py").read_text()]), file=calls)
sys.exit(int(os.environ["GATE"]) if options.name == "gate" else 0)
"""


@pytest.fixture
def project(tmp_path):
    """A user's repository with two versions of a model, and the programs that the examples call."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sparsemark").write_text(SPARSEMARK.format(python=sys.executable, source=str(ROOT / "src")))
    for name in ("pip", "gh"):
        (programs / name).write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for version in ("base", "change"):
        (folder / "model.py").write_text(version)
        git(folder, "add", ".")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", version)
    return folder


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], check=True, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip()


def bash(folder, *arguments, **more):
    path = f"{folder.parent / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CALLS": str(folder.parent / "calls"), "GATE": "0"} | more
    return subprocess.run(
        ["bash", *arguments], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )


def calls(folder):
    return [json.loads(line) for line in (folder.parent / "calls").read_text().splitlines()]


BOTH_AND_THE_GATE = [["bench", "base"], ["bench", "change"], ["gate", "change"]]


@pytest.mark.parametrize("code", [0, 1, 3, 5])
def test_the_script_times_both_commits_and_ends_as_the_gate(code, project):
    done = bash(project, str(EXAMPLES / "ci.sh"), "HEAD~1", GATE=str(code))
    assert done.returncode == code, done.stderr
    assert calls(project) == BOTH_AND_THE_GATE
    assert len(git(project, "worktree", "list").splitlines()) == 1
    assert {path.name for path in project.iterdir()} >= {"baseline.json", "candidate.json", "comment.md", "gate.xml"}


def test_the_script_stops_where_a_run_fails(project):
    (project.parent / "bin" / "sparsemark").write_text("#!/bin/sh\nexit 2\n")
    assert bash(project, str(EXAMPLES / "ci.sh"), "HEAD~1").returncode == 2
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_the_script_finds_its_folder_below_the_root_of_the_repository(project):
    inner = project / "models" / "net"
    inner.mkdir(parents=True)
    for version in ("base", "change"):
        (inner / "model.py").write_text(f"inner {version}")
        git(project, "add", ".")
        git(project, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", version)
    calls_of = project.parent / "calls"
    path = f"{project.parent / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CALLS": str(calls_of), "GATE": "0"}
    subprocess.run(["bash", EXAMPLES / "ci.sh", "HEAD~1"], check=True, cwd=inner, env=environment, capture_output=True)
    assert calls(project) == [["bench", "inner base"], ["bench", "inner change"], ["gate", "inner change"]]
    assert (inner / "baseline.json").exists()


def test_the_steps_of_the_workflow_run(project):
    workflow = yaml.safe_load((EXAMPLES / "ci-github.yml").read_text())
    (job,) = workflow["jobs"].values()
    values = {
        "${{ github.event.pull_request.base.sha }}": git(project, "rev-parse", "HEAD~1"),
        "${{ github.event.number }}": "1",
    }
    shutil.copy(EXAMPLES / "ci.sh", project)
    for script in (step["run"] for step in job["steps"] if "run" in step):
        for expression, value in values.items():
            script = script.replace(expression, value)  # noqa: PLW2901 - one after the other
        assert "${{" not in script
        done = bash(project, "-e", "-c", script)
        assert done.returncode == 0, done.stderr
    assert calls(project) == BOTH_AND_THE_GATE
    assert (project / "comment.md").exists()
    assert "--body-file comment.md" in (EXAMPLES / "ci-github.yml").read_text()


def test_workflows_are_short_and_linked():
    text = (ROOT / "bench" / "README.md").read_text()
    for name in ("ci.sh", "ci-github.yml"):
        assert len((EXAMPLES / name).read_text().splitlines()) <= 15
        assert f"(../src/sparsemark/starter/{name})" in text
