"""Who may import whom, and what a command may load: the house stays as it was drawn."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparsemark
from sparsemark.records.run import Run
from tests.synthetic import study_run

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LONGEST = 400
"""Lines of a module beyond which it does two things."""

MODULES = sorted(
    [*SOURCE.rglob("*.py"), *(path for name in ("models", "training", "bench") for path in (ROOT / name).rglob("*.py"))]
)
STUDY = {"models", "training", "bench"}


def imports(path):
    """Top-level and dotted names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def tops(path):
    return {name.partition(".")[0] for name in imports(path)}


def named(path):
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check():
    assert len(MODULES) > 50


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_go_one_way(path):
    """The study knows the harness, never the other way round; networks know nothing of their training."""
    folder = path.relative_to(ROOT).parts[0]
    forbidden = {
        "src": STUDY | {"tests"},
        "models": {"training", "bench", "tests"},
        "training": {"bench", "tests"},
        "bench": {"tests"},
    }[folder]
    assert not tops(path) & forbidden


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(SOURCE)], ids=named)
def test_only_the_report_draws_and_only_the_command_line_prints(path):
    room = path.relative_to(SOURCE / "sparsemark").parts[0]
    if room != "report":
        assert not tops(path) & {"rich", "matplotlib"}
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not prints or room == "cli"


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(SOURCE)], ids=named)
def test_no_pickle(path):
    assert not tops(path) & {"pickle", "dill", "joblib", "shelve", "marshal"}
    assert "torch.load" not in path.read_text()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_is_short_and_says_what_it_is_for(path):
    text = path.read_text()
    assert len(text.splitlines()) < LONGEST
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "no docstring"


def test_the_public_names_are_there_and_sorted():
    assert sparsemark.__all__ == sorted(sparsemark.__all__)
    assert all(hasattr(sparsemark, name) for name in sparsemark.__all__)


@pytest.mark.parametrize("package", ["engines", "formats", "pruning", "report"])
def test_every_package_of_the_harness_can_be_imported(package):
    module = importlib.import_module(f"sparsemark.{package}")
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))


LOADED = """
import sys
from sparsemark.cli.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as exit_:
    code = exit_.code
assert code == 0, code
heavy = sorted({"torch", "onnx", "onnxruntime", "matplotlib", "pandas", "lightning"} & set(sys.modules))
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("bench", "--help"),
        ("report", "run.json"),
        ("report", "run.json", "--format", "html"),
        ("compare", "run.json", "run.json"),
        ("gate", "--baseline", "run.json", "run.json"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_commands_that_only_read_load_nothing_heavy(arguments, tmp_path):
    study_run().save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json").measurements
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        check=False, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_importing_sparsemark_loads_nothing_at_all():
    code = "import sys, sparsemark\nassert not {'torch', 'numpy', 'rich', 'pytest'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(SOURCE)})
