"""`sparsemark bench` as a user calls it, from a folder that knows nothing of the repository."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sparsemark.cli import main
from sparsemark.formats import FORMATS
from sparsemark.records.measurement import MEASURED, UNSUPPORTED
from sparsemark.records.run import Run
from sparsemark.specs import Protocol
from tests.toy_study.place import benchmarks

# Odd channel counts, two outputs, a skip connection; and a depth multiplier, which torch-pruning cannot take apart.
NETWORKS = """
import torch
from torch import nn

class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 13, 3, padding=1)
        self.inner = nn.Sequential(nn.Conv2d(13, 13, 3, padding=1, bias=False), nn.BatchNorm2d(13), nn.ReLU())
        self.mask = nn.Conv2d(13, 1, 1)
        self.head = nn.Linear(13, 3)
    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = x + self.inner(x)
        return {"mask": torch.sigmoid(self.mask(x)), "classes": self.head(x.mean(dim=(2, 3)))}

class DepthMultiplier(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1)
        self.depthwise = nn.Conv2d(9, 18, 3, padding=1, groups=9)
        self.head = nn.Linear(18, 2)
    def forward(self, image):
        return self.head(torch.relu(self.depthwise(torch.relu(self.stem(image)))).mean(dim=(2, 3)))

def two_outputs(): return TwoOutputs()
def depth_multiplier(): return DepthMultiplier()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside the repository, with a file of networks in it."""
    path = tmp_path_factory.mktemp("elsewhere")
    (path / "networks.py").write_text(NETWORKS)
    return path


@pytest.fixture(autouse=True)
def few_calls(monkeypatch, folder):
    """These tests are not about time; and the working directory is the user's."""
    few = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: dataclasses.replace(few, threads=threads))
    monkeypatch.chdir(folder)


@pytest.fixture
def without_onnx(monkeypatch):
    """Have PyTorch be the reference: an export takes seconds, and says nothing in these tests."""
    absent = dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(FORMATS, "onnx", absent)


def bench(*arguments):
    return main(["bench", *arguments])


def states(path="out.json"):
    """Status of each row by its name."""
    return {row["name"]: row["extra_info"]["status"] for row in benchmarks(Path(path))}


def test_engines_run_a_network_with_two_outputs_and_odd_channels(folder, capsys):
    prunes = ("--prune", "magnitude:0.9", "--prune", "channels:0.5")
    engines = ("torch", "torch-csr", "scipy-csr", "direct-csr", "onnxruntime")
    chosen = [argument for engine in engines for argument in ("--engine", engine)]
    assert bench("networks.py:two_outputs", "--input", "1,3,16,12", *prunes, *chosen, "--json", "all.json") == 0
    labels = ("dense", "magnitude90", "channels50")
    rows = states("all.json")
    assert set(rows) >= {f"two_outputs-{label}-seed0-{engine}" for label in labels for engine in engines}
    assert set(rows.values()) == {MEASURED}, {
        row["name"]: row["extra_info"]["reason"] for row in benchmarks(Path("all.json"))
    }
    assert not Path("all.json.unfinished.jsonl").exists()
    assert "wrote all.json" in capsys.readouterr().out

    run = Run.load(Path("all.json"))
    by_name = {m.name: m for m in run.measurements}
    assert 0.85 < by_name["two_outputs-magnitude90-seed0-torch-csr"].sparsity <= 0.95
    dense, smaller = (by_name[f"two_outputs-{label}-seed0-torch"] for label in ("dense", "channels50"))
    assert smaller.parameters < 0.7 * dense.parameters
    assert smaller.artifact_bytes < dense.artifact_bytes
    for m in run.measurements:
        assert m.parity_max_rel < 1e-5
        assert m.scores == {}, "nobody knows how well it predicts"
        assert len(m.samples_s) == len(m.reference_s) == m.samples == 12
        assert m.speedup_low <= m.speedup <= m.speedup_high
        assert m.speedup_reference == "two_outputs-dense-seed0-onnxruntime"
    assert run.machine_info["versions"]["torch"] == torch.__version__


def test_what_a_pruner_cannot_handle_is_a_row_that_says_why(folder, without_onnx, capsys):
    arguments = ("--input", "1,3,8,8", "--prune", "channels:0.5", "--engine", "torch", "--json", "depth.json")
    assert bench("networks.py:depth_multiplier", *arguments) == 0
    assert states("depth.json") == {
        "depth_multiplier-dense-seed0-torch": MEASURED,
        "depth_multiplier-channels50-seed0-torch": UNSUPPORTED,
    }
    row = benchmarks(Path("depth.json"))[1]
    assert "torch-pruning" in row["extra_info"]["reason"]
    assert row["stats"]["data"] == []
    assert row["stats"]["median"] is None
    assert "torch-pruning" in capsys.readouterr().out


def test_the_dense_network_is_there_once_however_often_it_is_asked_for(folder, without_onnx):
    arguments = ("--prune", "none", "--prune", "magnitude:0.5", "--prune", "magnitude:0.50", "--engine", "torch")
    again = ("--engine", "torch", "--input", "1,3,8,8", "--json", "dense.json")
    assert bench("networks.py:two_outputs", *arguments, *again) == 0
    assert list(states("dense.json")) == ["two_outputs-dense-seed0-torch", "two_outputs-magnitude50-seed0-torch"]


def test_artifacts_are_kept_where_the_user_says(folder, capsys):
    arguments = (
        "--input",
        "1,3,16,12",
        "--prune",
        "magnitude:0.9",
        "--engine",
        "direct-csr",
        "--engine",
        "onnxruntime",
    )
    assert bench("networks.py:two_outputs", *arguments, "--json", "kept.json", "--artifacts", "kept/files") == 0
    names = {f"two_outputs-{label}-seed0.{form}" for label in ("dense", "magnitude90") for form in ("csr", "onnx")}
    assert {path.name for path in Path("kept/files").iterdir()} == names
    assert {f"wrote kept/files/{name}" for name in names} <= set(capsys.readouterr().out.splitlines())
    assert main(["explain", "kept/files/two_outputs-magnitude90-seed0.csr"]) == 0


def test_two_sparsities_that_are_close_are_two_networks(folder, without_onnx):
    arguments = (
        "--prune",
        "magnitude:0.5",
        "--prune",
        "magnitude:0.5000001",
        "--engine",
        "torch",
        "--input",
        "1,3,8,8",
    )
    assert bench("networks.py:two_outputs", *arguments, "--json", "close.json") == 0
    assert len(states("close.json")) == 3


def test_a_factory_in_a_package_is_looked_for_from_the_working_directory(folder, without_onnx):
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").touch()
    (folder / "own_package" / "network.py").write_text(NETWORKS)
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--json", "package.json")
    assert bench("own_package.network:two_outputs", *arguments) == 0
    assert states("package.json") == {"two_outputs-dense-seed0-torch": MEASURED}


@pytest.fixture(scope="module")
def onnx_file(folder):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(180, 2)
    )
    path = folder / "model.onnx"
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, 8, 8),), str(path), dynamo=True, external_data=False, verbose=False
    )
    return path


def test_an_onnx_file_is_measured_and_what_needs_a_module_says_so(onnx_file, capsys):
    engines = ("--engine", "onnxruntime", "--engine", "scipy-csr", "--engine", "torch")
    assert bench("model.onnx", *engines, "--prune", "magnitude:0.5", "--json", "onnx.json") == 0
    assert states("onnx.json") == {
        "model-dense-seed0-onnxruntime": MEASURED,
        "model-dense-seed0-scipy-csr": MEASURED,
        "model-dense-seed0-torch": UNSUPPORTED,
        "model-magnitude50-seed0-onnxruntime": UNSUPPORTED,
        "model-magnitude50-seed0-scipy-csr": UNSUPPORTED,
        "model-magnitude50-seed0-torch": UNSUPPORTED,
    }
    assert onnx_file.exists()


def test_where_nothing_could_be_measured_bench_exits_2_and_keeps_the_rows(onnx_file, capsys):
    assert bench("model.onnx", "--engine", "torch", "--json", "nothing.json") == 2
    assert states("nothing.json") == {"model-dense-seed0-torch": UNSUPPORTED}
    line = capsys.readouterr().err.splitlines()[-1]
    assert "nothing was measured: model-dense-seed0-torch: the source is an ONNX file" in line


def test_an_onnx_file_says_what_shape_it_expects(onnx_file, capsys):
    assert bench("model.onnx", "--input", "1,3,9,9", "--json", "shape.json") == 2
    line = capsys.readouterr().err
    assert "model.onnx: input 1,3,9,9" in line
    assert "1,3,8,8" in line


def test_another_number_of_threads_is_another_cell(folder, without_onnx):
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--threads", "2", "--json", "threads.json")
    assert bench("networks.py:two_outputs", *arguments) == 0
    assert states("threads.json") == {"two_outputs-dense-seed0-torch-2t": MEASURED}
    assert benchmarks(Path("threads.json"))[0]["extra_info"]["threads"] == 2


def test_an_interrupted_command_says_that_it_goes_on(folder, without_onnx, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsemark.study.pipeline.measure", interrupt)
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--json", "interrupted.json")
    assert bench("networks.py:two_outputs", *arguments) == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines == ["sparsemark bench: interrupted; the same command goes on from here"]
