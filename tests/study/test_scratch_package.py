"""An engine of another package, registered by entry point alone, is listed, timed, tabled and drawn under its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.records.run import Run
from sparsemark.report import render
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from tests.small_networks import NETWORKS

MODULE = """
from sparsemark.engines.base import Engine, Look

def load(path, threads):
    from sparsemark.engines import ENGINES
    return ENGINES["onnxruntime"].load(path, threads)

ENGINE = Engine(("onnx",), load, requires=("scratch_engine",), label="Scratch Engine", look=Look("#123456", "p", "--"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the package as pip leaves it, and a run of its engine in processes of their own."""
    folder = tmp_path_factory.mktemp("scratch")
    (folder / "scratch_engine.py").write_text(MODULE)
    info = folder / "scratch_engine-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-engine\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("[sparsemark.engines]\nscratch = scratch_engine:ENGINE\n")
    network, small = NETWORKS["mlp"].reference, ("--input", "1,12", "--rounds", "24", "--launches", "1")
    command(
        folder, "bench", network, *small, "--prune", "magnitude:0.5", "--engine", "scratch", "--json", "run.json"
    )  # fmt: skip
    return folder


def command(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "sparsemark.cli", *arguments],
        check=False, cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_under_its_name_and_label(folder):
    (line,) = (line for line in command(folder, "list").splitlines() if " scratch " in line)
    assert "Scratch Engine" in line
    assert "available" in line


def test_its_version_is_among_the_conditions(folder):
    document = json.loads((folder / "run.json").read_text())
    assert document["machine_info"]["versions"]["scratch-engine"] == "1.2.3"


def test_it_is_shown_under_its_label_and_look_where_its_package_is_not_installed(folder):
    """This process has never heard of it."""
    run = Run.load(folder / "run.json")
    assert {m.status for m in run.measurements} == {"measured"}
    for form in ("table", "markdown", "html"):
        assert "Scratch Engine" in render(run, form)
    figure = speedup_against_sparsity(list(run.measurements), run.engines)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    containers = {c.get_label(): c for axes in figure.axes for c in axes.containers}
    label = next(name for name in {**lines, **containers} if str(name).startswith("Scratch Engine"))
    drawn = containers[label].lines[0] if label in containers else lines[label]
    assert (drawn.get_color(), drawn.get_marker()) == ("#123456", "p")
    assert not [name for name in sys.modules if name == "scratch_engine"]


def test_its_own_line_is_all_that_names_it():
    """No other place of the harness lists engines by name."""
    source = Path(__file__).parents[2] / "src" / "sparsemark"
    places = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if '"openvino"' in path.read_text() or '"scipy-csr"' in path.read_text()
    ]
    assert places == ["engines/__init__.py"]
