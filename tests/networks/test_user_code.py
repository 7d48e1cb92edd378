"""A key of a network's or task's code changes with every file that decides it, and with no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.networks import user_code
from sparsemark.networks.user_code import code_key, file_key, imported_files

FILES = {
    "model.py": "from blocks import Block\nimport numpy\ndef build():\n    import late\n    return Block()\n",
    "blocks.py": "from parts.inner import WIDTH\nclass Block: pass\n",
    "late.py": "",
    "parts/__init__.py": "",
    "parts/inner.py": "from . import FIRST\nfrom .sizes import WIDTH\nfrom ..outside import *\n",
    "parts/sizes.py": "WIDTH = 1\n",
    "plain/deep.py": "DEPTH = 2\n",
    "unused.py": "import model\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    # Another test's project may have a file of the same name, and what a process loaded from stays on its path.
    monkeypatch.setattr(sys, "path", [one for one in sys.path if not Path(one).is_relative_to(tmp_path.parents[1])])
    return tmp_path


def _names(folder: Path, file: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in imported_files(Path(file))}


def test_imports_are_followed_through_packages_and_functions(project):
    expected = {"blocks.py", "late.py", "parts/__init__.py", "parts/inner.py", "parts/sizes.py"}
    assert _names(project, "model.py") == expected


@pytest.mark.parametrize("file", ["model.py", "blocks.py", "late.py", "parts/__init__.py", "parts/sizes.py"])
def test_change_of_any_file_behind_a_factory_changes_its_key(project, file):
    before = code_key("model.py:build")
    # As many bytes: no size tells.
    path = project / file
    path.write_text(path.read_text().replace("1", "2") if "1" in path.read_text() else f"{path.read_text()}#")
    assert code_key("model.py:build") != before


def test_change_of_another_file_leaves_the_key(project):
    before = code_key("model.py:build")
    (project / "unused.py").write_text("x = 1\n")
    assert code_key("model.py:build") == before


def test_package_without_init_is_followed(project):
    (project / "model.py").write_text("import plain.deep\n")
    assert _names(project, "model.py") == {"plain/deep.py"}


def test_files_that_import_each_other_end(project):
    (project / "late.py").write_text("import model\n")
    assert "late.py" in _names(project, "model.py")


def test_import_that_cannot_be_parsed_counts_by_its_bytes(project):
    (project / "late.py").write_text("def (\n")
    before = code_key("model.py:build")
    (project / "late.py").write_text("def [\n")
    assert code_key("model.py:build") != before


def test_dotted_reference_has_the_key_of_its_files(project):
    before = code_key("parts.inner:build")
    (project / "parts/sizes.py").write_text("WIDTH = 2\n")
    after = code_key("parts.inner:build")
    (project / "parts/__init__.py").write_text("import late\n")
    assert len({before, after, code_key("parts.inner:build")}) == 3


def test_installed_package_counts_by_its_version(monkeypatch):
    before = code_key("torch.nn:Identity")
    monkeypatch.setattr(user_code.importlib.metadata, "version", lambda name: f"9 of {name}")
    assert code_key("torch.nn:Identity") != before


def test_own_and_installed_packages_are_not_followed(project):
    (project / "late.py").write_text("import torch, json, pytest, sparsemark.errors\n")
    assert _names(project, "late.py") == set()


def test_key_is_the_same_in_another_process_and_another_folder(project, tmp_path_factory):
    other = tmp_path_factory.mktemp("copy")
    for name in FILES:
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_bytes((project / name).read_bytes())
    program = "from sparsemark.networks.user_code import code_key; print(code_key('model.py:build'))"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=other, env=os.environ, capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == code_key("model.py:build")


def test_key_of_a_file_is_not_that_of_another_name_with_the_same_imports(project):
    assert file_key(Path("late.py")) != file_key(Path("plain/deep.py"))
