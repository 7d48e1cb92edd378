"""A CSR file loaded and run where nothing is installed but NumPy, Numba and safetensors, with what those need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sparsemark
from tests.small_networks import artifact, images, reference

pytest.importorskip("numba")

SOURCE = Path(sparsemark.__file__).parents[1]
PACKAGES = ("numpy", "numba", "llvmlite", "safetensors")
"""What is there: packages as their wheels install them."""

PROGRAM = """
import json, sys
import numpy as np
import sparsemark

network = sparsemark.load(sys.argv[1])
np.savez(sys.argv[2], *network(np.load(sys.argv[3])))
tops = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"__main__"}
print(json.dumps([network.engine, sorted(tops)]))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with links to these packages; sparsemark's own source beside it has no dependency either."""
    folder = tmp_path_factory.mktemp("packages")
    for name in PACKAGES:
        installed = Path(__import__(name).__file__).parents[1]
        for found in installed.glob(f"{name}*"):
            if found.name.partition("-")[0].partition(".")[0] == name:
                (folder / found.name).symlink_to(found)
    (folder / "sparsemark").symlink_to(SOURCE / "sparsemark")
    return folder


def run(packages, *arguments):
    # -S: this interpreter's own packages stay out, so that what is not in the folder is not installed.
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", *map(str, arguments)],
        check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(packages)},
    )  # fmt: skip


def test_nothing_else_is_installed_there(packages):
    for name in ("torch", "onnx", "onnxruntime", "scipy", "msgspec", "rich", "pandas"):
        assert f"No module named '{name}'" in run(packages, f"import {name}").stderr


def test_file_is_loaded_and_gives_the_networks_answers(packages, tmp_path):
    path, image = artifact("unet", "magnitude:0.9", "csr").path, images("unet")[0]
    np.save(tmp_path / "image.npy", image)
    done = run(packages, PROGRAM, path, tmp_path / "outputs.npz", tmp_path / "image.npy")
    assert (done.returncode, done.stderr) == (0, "")
    engine, loaded = json.loads(done.stdout)
    assert engine == "direct-csr"
    from sparsemark.direct.runtime import object_file

    # Numba compiles, once, in a process of its own; what Cython made has modules of Cython's.
    needed = {"numpy", "safetensors", "sparsemark", *(() if object_file.IS_KNOWN else ("llvmlite",))}
    assert {name for name in loaded if "cython" not in name} == needed
    wanted = reference("unet", "magnitude:0.9")
    position = wanted.chosen.index(0)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for output, expected in zip(outputs.values(), wanted.outputs, strict=True):
            np.testing.assert_allclose(output, expected[position : position + 1], rtol=0, atol=1e-5)


def test_choices_are_kept_though_there_is_no_dense_engine_to_compare_with(packages, tmp_path):
    """Else every start of the program would take the seconds that choosing takes."""
    path, image = artifact("unet", "magnitude:0.9", "csr").path, images("unet")[0]
    np.save(tmp_path / "image.npy", image)
    program = (
        "import sys\nfrom sparsemark.direct import network\n"
        "def chosen(*arguments): raise SystemExit('chosen again')\n"
        f"if len(sys.argv) > 4: network.choose = chosen\n{PROGRAM}"
    )
    arguments = program, path, tmp_path / "outputs.npz", tmp_path / "image.npy"
    assert run(packages, *arguments).returncode == 0
    again = run(packages, *arguments, "again")
    assert (again.returncode, again.stderr) == (0, "")


def test_nothing_else_is_loaded_where_everything_is_installed(tmp_path):
    path, image = artifact("unet", "magnitude:0.9", "csr").path, images("unet")[0]
    np.save(tmp_path / "image.npy", image)
    # The first way for each layer: a decision that this user's cache remembers may be to run all of it dense.
    decided = (
        "from sparsemark.direct import network\n"
        "def decision(path, ways):\n"
        "    return network.Decision(tuple(found[0] for found in ways.values()), False)\n"
        "network.recall_decision = decision\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", decided + PROGRAM, path, tmp_path / "outputs.npz", tmp_path / "image.npy"],
        check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    engine, loaded = json.loads(done.stdout)
    assert engine == "direct-csr"
    heavy = {"msgspec", "numba", "onnx", "onnxruntime", "onnxscript", "pandas", "rich", "scipy", "torch"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("kind", ["operator", "weight", "input"])
def test_what_takes_onnx_runtime_says_so_by_name(packages, tmp_path, kind):
    import dataclasses

    from tests.direct.checks import chain, noise
    from tests.direct.graphs import written

    graph, image = chain(1), noise(1, 4, 12, 20)
    if kind == "operator":
        sine = dataclasses.replace(graph.nodes[-1], op="Sin")
        graph = dataclasses.replace(graph, nodes=(*graph.nodes[:-1], sine))
    elif kind == "weight":
        (name,) = graph.constants
        graph = dataclasses.replace(graph, constants={name: np.full(4, np.inf, np.float32)})
    else:
        image[0, 0, 0, 0] = np.nan
    np.save(tmp_path / "image.npy", image)
    path = written(graph, tmp_path / "net.csr")
    done = run(packages, PROGRAM, path, tmp_path / "outputs.npz", tmp_path / "image.npy")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sparsemark.errors.UnsupportedError: ")
    assert "ONNX Runtime" in last
    assert "is not installed" in last
    if kind != "input":
        assert f"{path}: " in last
