"""Arms: another revision's files and packages, and what is said where there are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.errors import UserError
from sparsemark.study import revision as module
from sparsemark.study.revision import of_revision, this_tree


def git(*arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


PROJECT = """
[project]
name = "mine"
version = "1"
dependencies = ["numpy"]
[project.optional-dependencies]
all = ["scipy"]
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits of a project; the second is this tree."""
    root = tmp_path / "project"
    (root / "src" / "mine").mkdir(parents=True)
    (root / "inner").mkdir()
    monkeypatch.chdir(root)
    git("init", "--quiet")
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "src" / "mine" / "__init__.py").write_text("WHICH = 'before'\n")
    (root / "inner" / "file").write_text("before")
    git("add", "--all")
    git("commit", "--quiet", "--message", "before")
    (root / "src" / "mine" / "__init__.py").write_text("WHICH = 'after'\n")
    (root / "inner" / "file").write_text("after")
    return root


@pytest.fixture
def installations(monkeypatch):
    """Environments that would be made, in place of making them."""
    made = []

    def run(command, **options):
        made.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    real = subprocess.run
    monkeypatch.setattr(
        module.subprocess, "run", lambda command, **options: (real if command[0] == "git" else run)(command, **options)
    )
    monkeypatch.setattr(module.Path, "touch", lambda self: self.parent.mkdir(parents=True, exist_ok=True))
    return made


def imported(arm):
    code = "import mine, sys; print(mine.WHICH); print(sys.executable)"
    ended = subprocess.run(
        [arm.python, "-P", "-c", code], cwd=arm.folder, env=arm.environment, capture_output=True, text=True, check=True
    )
    return ended.stdout.splitlines()[0]


def test_a_revision_has_its_own_files_and_modules_and_the_packages_of_this_process(repository, tmp_path):
    arm = of_revision("HEAD", tmp_path / "work")
    assert (arm.folder / "inner" / "file").read_text() == "before"
    assert (arm.python, imported(arm)) == (sys.executable, "before")
    here = this_tree()
    assert (here.folder, here.python) == (repository, sys.executable)
    assert (here.folder / "inner" / "file").read_text() == "after"


def test_a_folder_within_a_repository_is_the_same_folder_of_the_revision(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(repository / "inner")
    arm = of_revision("HEAD", tmp_path / "work")
    assert (arm.folder.name, (arm.folder / "file").read_text()) == ("inner", "before")


def test_it_is_checked_out_once(repository, tmp_path):
    first = of_revision("HEAD", tmp_path / "work")
    (first.folder / "kept").touch()
    assert (of_revision("HEAD", tmp_path / "work").folder / "kept").exists()
    assert not list((tmp_path / "work").rglob("tree.*")), "nothing in part is left"


@pytest.mark.parametrize(
    ("name", "content"),
    [("pyproject.toml", PROJECT.replace("numpy", "numpy<2")), ("requirements-dev.txt", "x"), ("uv.lock", "y")],
)
def test_other_requirements_are_installed_into_an_environment_of_its_own(
    repository, tmp_path, installations, name, content
):
    (repository / name).write_text(content)
    arm = of_revision("HEAD", tmp_path / "work")
    venv, pip = installations
    assert venv[1:3] == ["-m", "venv"]
    assert pip[-1] == f"{arm.folder}[all]"
    assert Path(arm.python).parent.parent == Path(venv[-1])


def test_an_installed_version_runs_the_files_of_this_tree(repository, tmp_path, installations):
    arm = of_revision("sparsemark==0.1.0", tmp_path / "work")
    assert installations[1][-1] == "sparsemark==0.1.0"
    assert (arm.folder, arm.python != sys.executable) == (repository, True)


def test_what_cannot_be_installed_is_one_line(repository, tmp_path, monkeypatch):
    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command, "", "a\n\nERROR: No matching distribution found\n")

    monkeypatch.setattr(module.subprocess, "run", fail)
    with pytest.raises(UserError, match="nobody==9: cannot be installed: ERROR: No matching distribution"):
        of_revision("nobody==9", tmp_path / "work")


@pytest.mark.parametrize("revision", ["nobody", "--help", "HEAD~9", "", "HEAD:inner/file"])
def test_a_revision_that_is_not_there_is_one_line(repository, tmp_path, revision):
    with pytest.raises(UserError, match="expected a revision that git knows") as caught:
        of_revision(revision, tmp_path / "work")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_outside_a_repository_git_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match=r"not a git repository|no such revision"):
        of_revision("HEAD", tmp_path / "work")


def test_without_git_it_is_said(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--against HEAD: git: No such file"):
        of_revision("HEAD", tmp_path / "work")
