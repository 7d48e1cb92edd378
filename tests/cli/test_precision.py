"""`--precision int8`: quantised cells beside those in float32, in a fresh process as well, and the file to deploy."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from sparsemark.cli import main
from sparsemark.formats.csr.graph import load_csr
from sparsemark.specs import FP32, INT8, ModelSpec, Protocol, Pruning
from sparsemark.study.file import headline_cells, in_precisions, own_study
from tests.small_networks import NETWORKS
from tests.toy_study.place import benchmarks

PLAIN = NETWORKS["plain"].reference
INPUT = ("--input", "1,3,16,12")
NAME = "plain-dense-seed0"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, exported_once):
    monkeypatch.chdir(tmp_path)


def test_cells_stand_beside_float32():
    model = ModelSpec("net", "net.py:build", (1, 3, 8, 8))
    study = own_study(model, [Pruning.parse("magnitude:0.5")], ["onnxruntime"], Protocol())
    both = in_precisions(study, [FP32, INT8])
    assert [(cell.variant.pruning.method, cell.precision) for cell in both.cells] == [
        ("none", FP32),
        ("magnitude", FP32),
        ("none", INT8),
        ("magnitude", INT8),
    ]
    assert in_precisions(study, []) == study
    assert [cell.precision for cell in headline_cells(both, 2)] == [FP32, FP32], "a quick look begins with float32"


def test_a_quantised_cell_is_checked_and_timed_in_a_fresh_process(capsys):
    options = (
        "--engine",
        "onnxruntime",
        "--engine",
        "direct-csr",
        "--precision",
        "int8",
        "--rounds",
        "16",
        "--launches",
        "1",
        "--json",
        "o.json",
    )
    assert main(["bench", PLAIN, *INPUT, *options, "--artifacts", "out"]) == 0
    rows = {row["name"]: row["extra_info"] for row in benchmarks(Path("o.json"))}
    assert {name: row["precision"] for name, row in rows.items()} == {
        f"{NAME}-onnxruntime": FP32,
        f"{NAME}-onnxruntime-int8": INT8,
        f"{NAME}-direct-csr": FP32,
        f"{NAME}-direct-csr-int8": INT8,
    }
    row = rows[f"{NAME}-direct-csr-int8"]
    assert row["parity_max_abs"] is not None
    assert "linear layers in int8" in row["notes"]
    assert all(row["peak_rss_bytes"] for row in rows.values()), "as only a process of its own can say"
    assert "int8 is calibrated on 32 random inputs" in " ".join(capsys.readouterr().out.split())
    kept = {path.name: path.stat().st_size for path in Path("out").iterdir()}
    assert set(kept) == {f"{NAME}{end}" for end in (".onnx", "-int8.onnx", ".csr", "-int8.csr")}
    assert rows[f"{NAME}-onnxruntime-int8"]["artifact_bytes"] == kept[f"{NAME}-int8.onnx"]


def test_the_quantised_file_is_exported():
    assert main(["export", PLAIN, *INPUT, "--precision", "int8", "--output", "net.onnx"]) == 0
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load("net.onnx").graph.node)
    assert main(["export", PLAIN, *INPUT, "--precision", "int8", "--output", "net.csr"]) == 0
    assert load_csr(Path("net.csr")).blocks


def test_a_format_without_int8_is_refused(capsys):
    assert main(["export", PLAIN, *INPUT, "--precision", "int8", "--output", "net.safetensors"]) == 2
    assert "net.safetensors: dense files have no int8 form here" in capsys.readouterr().err
    assert not Path("net.safetensors").exists()
