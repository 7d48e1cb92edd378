"""Structure of the code: the imports allowed between modules, and the libraries a command may load."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import sparsemark
from sparsemark.records.history import add_to_history, points_of
from sparsemark.records.run import Run
from tests.imports import circle, imported, names, siblings, tree
from tests.synthetic import study_run

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LONGEST = 400
"""Lines of a module beyond which it does two things."""

MOST_ENTRIES = 19
"""Files and folders at the top of `src/sparsemark`, `__init__.py`, `py.typed` and `starter` not counted."""

STARTER = SOURCE / "sparsemark" / "starter"
"""Files that users copy and make their own."""

MODULES = sorted(
    [*SOURCE.rglob("*.py"), *(path for name in ("models", "training", "bench") for path in (ROOT / name).rglob("*.py"))]
)
STUDY = {"models", "training", "bench"}


@functools.cache
def imports(path):
    """Top-level and dotted names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree(path)):
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


FORBIDDEN = {
    "src": STUDY | {"tests"},
    "models": {"training", "bench", "tests"},
    "training": {"bench", "tests"},
    "bench": {"tests"},
}


def test_imports_go_one_way():
    """The study knows the harness, never the other way round; networks know nothing of their training."""
    wrong = {named(path): tops(path) & FORBIDDEN[path.relative_to(ROOT).parts[0]] for path in MODULES}
    assert not {path: found for path, found in wrong.items() if found}


FILES = names(SOURCE, "sparsemark") | names(ROOT, "models", "training", "bench")
EDGES = sorted({(one, other) for one, path in FILES.items() for other in imported(path, FILES) if one != other})
LEVELS = siblings(EDGES)

ROOMS = (
    ("errors", "references", "specs", "files", "paths", "registry"),
    ("machine",),
    ("networks",),
    ("pruning",),
    ("formats",),
    ("direct",),
    ("engines",),
    ("records",),
    ("measurement", "analysis"),
    ("report",),
    ("study",),
    ("api",),
    ("cli", "pytest_plugin"),
)
"""A room imports only rooms to its left; the files of the ground floor know each other."""

RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
NARROW = {"direct": ("machine", "formats.csr"), "records": ()}
"""Rooms that know less than what lies to their left: beside the ground floor, these only."""


PUBLIC = "starter", "__init__"
"""What users start from knows sparsemark by its public names."""


def dotted(name):
    return ".".join(name)


def test_no_circle_between_files():
    edges = {}
    for one, other in EDGES:
        edges.setdefault(dotted(one), set()).add(dotted(other))
    assert circle(edges) is None


@pytest.mark.parametrize("folder", sorted(LEVELS), ids=lambda name: dotted(name) or "top")
def test_no_circle_between_siblings(folder):
    """Files and sub-folders of one folder, each sub-folder as one."""
    assert circle(LEVELS[folder]) is None


def may_import(one, other):
    """Whether the layers allow it, for two rooms of sparsemark."""
    if one == other or (RANKS[one], RANKS[other]) == (0, 0):
        return True
    return RANKS[other] < RANKS[one]


@pytest.mark.parametrize("room", [room for rooms in ROOMS for room in rooms])
def test_a_room_imports_only_rooms_to_its_left(room):
    inside = [(one, other) for one, other in EDGES if one[:2] == ("sparsemark", room) and other[0] == "sparsemark"]
    wrong = [
        f"{dotted(one)} imports {dotted(other)}"
        for one, other in inside
        if (other[1] not in RANKS or not may_import(room, other[1])) and (room, other[1]) != PUBLIC
    ]
    assert not wrong


@pytest.mark.parametrize("room", NARROW)
def test_a_room_that_knows_little_knows_no_more(room):
    allowed = (room, *ROOMS[0], *NARROW[room])
    wrong = [
        f"{dotted(one)} imports {dotted(other)}"
        for one, other in EDGES
        if one[:2] == ("sparsemark", room)
        and not any(f"{dotted(other[1:])}.".startswith(f"{prefix}.") for prefix in allowed)
    ]
    assert not wrong


def test_every_room_is_known_and_there_are_few():
    entries = {path.name.removesuffix(".py") for path in (SOURCE / "sparsemark").iterdir()}
    entries -= {"__init__", "__main__", "__pycache__", "py.typed", STARTER.name}
    assert entries <= set(RANKS)
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("path", sorted(STARTER.rglob("*.py")), ids=named)
def test_what_users_copy_knows_the_public_names_alone(path):
    public = {f"sparsemark.{name}" for name in sparsemark.__all__}
    assert not {name for name in imports(path) if name.startswith("sparsemark.")} - public


def test_the_search_for_circles_finds_them(tmp_path):
    """In functions, over several files, through a folder; not where only a type checker looks."""
    contents = {
        "house/a.py": "def later():\n    from house.b import x\n",
        "house/b.py": "import house.room.c\n",
        "house/room/__init__.py": "",
        "house/room/c.py": "from house import a\n",
        "house/room/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house import e\n",
        "house/e.py": "from house.room import d\nfrom house.room.d import y\n",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    known = names(tmp_path, "house")
    edges = {dotted(one): {dotted(other) for other in imported(path, known)} for one, path in known.items()}
    assert edges["house.e"] == {"house.room.d"}
    assert edges["house.room.d"] == set()
    assert circle(edges) == "house.a -> house.b -> house.room.c -> house.a"
    levels = siblings((one, other) for one, path in known.items() for other in imported(path, known))
    assert levels[("house",)] == {"a": {"b"}, "b": {"room"}, "room": {"a"}, "e": {"room"}}
    assert circle({"a": {"b"}, "b": {"c"}}) is None


HARNESS = [path for path in MODULES if path.is_relative_to(SOURCE)]


def prints(path):
    calls = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return any(isinstance(call, ast.Name) and call.id == "print" for call in calls)


def test_only_the_report_draws_and_only_the_command_line_prints():
    rooms = {path: path.relative_to(SOURCE / "sparsemark").parts[0] for path in HARNESS}
    assert not [named(path) for path, room in rooms.items() if room != "report" and tops(path) & {"rich", "matplotlib"}]
    assert not [named(path) for path, room in rooms.items() if room != "cli" and prints(path)]


def test_no_pickle():
    unsafe = {"pickle", "dill", "joblib", "shelve", "marshal"}
    assert not [named(path) for path in HARNESS if tops(path) & unsafe or "torch.load" in path.read_text()]


def test_a_module_is_short_and_says_what_it_is_for():
    assert not [named(path) for path in MODULES if len(path.read_text().splitlines()) >= LONGEST]
    assert not [named(path) for path in MODULES if path.stat().st_size and not ast.get_docstring(tree(path))]


def test_text_after_a_table_is_no_row_of_it():
    """Markdown reads a line right below a table as a row."""
    pages = [
        ROOT / "README.md",
        *(page for folder in (*STUDY, "results", "src") for page in ROOT.glob(f"{folder}/**/*.md")),
    ]
    swallowed = []
    for page in pages:
        lines = page.read_text().splitlines()
        swallowed += [
            f"{page}: {after}" for row, after in pairwise(lines) if row.startswith("|") and after[:1] not in ("", "|")
        ]
    assert not swallowed


def test_the_public_names_are_there_and_sorted():
    assert sparsemark.__all__ == sorted(sparsemark.__all__)
    assert all(hasattr(sparsemark, name) for name in sparsemark.__all__)


@pytest.mark.parametrize("package", ["engines", "formats", "pruning", "report"])
def test_every_package_of_the_harness_can_be_imported(package):
    module = importlib.import_module(f"sparsemark.{package}")
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))


LOADED = """
import json, sys
from sparsemark.cli import main
forbidden = set(sys.argv[2:])
for arguments in json.loads(sys.argv[1]):
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    loaded = sorted(forbidden & set(sys.modules))
    if code or loaded:
        sys.exit(f"{arguments}: code {code}, loads {loaded}")
"""
"""Commands one after the other in one process, which a library that one of them loads stays in."""


def loads_nothing(commands, forbidden, folder=None):
    searched = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(commands), *forbidden],
        check=False, cwd=folder, env=os.environ | {"PYTHONPATH": searched}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_that_only_read_load_nothing_heavy(tmp_path):
    study_run().save(tmp_path / "run.json")
    add_to_history(tmp_path / "kept.jsonl", points_of(study_run(), "machine", "key"))
    assert Run.load(tmp_path / "run.json").measurements
    commands = [
        ["--help"],
        ["bench", "--help"],
        ["report", "run.json"],
        ["report", "run.json", "--format", "html"],
        ["compare", "run.json", "run.json"],
        ["gate", "--baseline", "run.json", "run.json", "--comment", "comment.md", "--junit", "gate.xml"],
        ["history", "add", "run.json"],
        ["history", "--file", "kept.jsonl"],
        ["doctor", "--threads", "9999"],  # more than there are: the verdict comes at once
    ]
    heavy = ["torch", "onnx", "onnxruntime", "pandas", "lightning", "dask"]
    if importlib.util.find_spec("vl_convert"):  # else the figures of the page are matplotlib's
        heavy.append("matplotlib")
    loads_nothing(commands, heavy, tmp_path)


def test_help_loads_no_library_at_all():
    """`--help` is instant: not even numpy, whose import takes longer than all the rest."""
    names = [
        "",
        "run",
        "bench",
        "export",
        "sensitivity",
        "init",
        "report",
        "compare",
        "gate",
        "history",
        "history add",
        "doctor",
        "explain",
        "list",
    ]
    loads_nothing(
        [[*name.split(), "--help"] for name in names],
        ("numpy", "rich", "pytest", "torch", "onnx", "importlib.metadata"),
    )


def test_importing_sparsemark_loads_nothing_at_all():
    code = "import sys, sparsemark\nassert not {'torch', 'numpy', 'rich', 'pytest', 'dask'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(SOURCE)})
