"""The table of networks that people bring: ratios, shares and plans are those of its rows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import breadth
from bench.breadth import Planned, plan, table
from sparsemark.networks.factory import build_model
from sparsemark.networks.outputs import output_tensors
from sparsemark.specs import DENSE
from sparsemark.study.file import load_study
from tests.small_networks import artifact, build, example
from tests.synthetic import REFERENCE_MS, samples, timed

ROOT = Path(__file__).parents[2]


def cell(engine, speedup, sparsity=None, **options):
    rng = np.random.default_rng(0)
    reference = samples(rng, REFERENCE_MS)[1]
    own = [one / speedup for one in reference]
    method = "magnitude-layerwise" if sparsity else DENSE
    return timed(
        f"{engine}-{sparsity}", own, reference, model="net", method=method, engine=engine, sparsity_target=sparsity,
        control=None, **options,
    )  # fmt: skip


def lines(*arguments):
    return [[field.strip() for field in line.strip("|").split("|")] for line in table(*arguments).splitlines()[2:]]


def test_ratios_are_over_dense_onnx_runtime_and_over_the_fastest_dense_engine():
    rows = [cell("onnxruntime", 1), cell("ncnn", 1.5), cell("direct-csr", 1.2), cell("direct-csr", 3, 0.9, notes="all")]
    dense, sparse = lines(rows, {rows[3].name: (Planned(2.34, 9), 0.875)})
    assert dense[:3] == ["net", "0 %", ""]
    assert sparse[:3] == ["net", "90 %", "88 %"]
    assert [float(line[3].split()[0]) for line in (dense, sparse)] == pytest.approx([1.2, 3], abs=0.02)
    assert [float(line[4].split()[0]) for line in (dense, sparse)] == pytest.approx([0.8, 2], abs=0.02)
    assert [line[5] for line in (dense, sparse)] == ["ncnn", "ncnn"]
    assert [line[6] for line in (dense, sparse)] == ["", "2.3 s"]
    assert sparse[7] == "all"


def test_a_network_that_could_not_be_measured_has_its_reason():
    from sparsemark.records.measurement import UNSUPPORTED, Measurement

    row = Measurement(
        "net", UNSUPPORTED, reason="no such operator", model="net", method=DENSE, engine="direct-csr"
    )  # fmt: skip
    ((*fields, notes),) = lines([row], {})
    assert notes == "no such operator"
    assert fields[3:5] == ["", ""]


@pytest.mark.parametrize("name", ["unet", "mobile"])
def test_multiply_adds_of_a_network_that_runs_sparse_are_all_of_them(name, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr("sparsemark.direct.network.Network._contest", lambda *arguments: (1.0, 2.0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        build(name)(example(name))
    planned = plan(artifact(name, "none", "csr").path)
    assert planned.multiply_adds == counter.get_total_flops() // 2
    monkeypatch.setattr("sparsemark.direct.network.Network._contest", lambda *arguments: (2.0, 1.0))
    assert plan(artifact(name, "none", "csr").path).multiply_adds == 0


def test_a_plan_is_made_once_in_a_process_of_its_own(tmp_path, monkeypatch):
    calls = []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps({"seconds": 1.5, "multiply_adds": 7}))

    monkeypatch.setattr(breadth.subprocess, "run", run)
    made = artifact("mlp", "none", "csr")
    assert breadth._remembered(tmp_path, made) == breadth._remembered(tmp_path, made) == Planned(1.5, 7)
    assert [command[:4] for command in calls] == [[sys.executable, "-m", "bench.breadth", "--plan"]]


FAMILIES = {variant.model.name: variant.model for variant in load_study(breadth.STUDY).variants}


@pytest.mark.parametrize("model", FAMILIES.values(), ids=FAMILIES)
def test_every_family_answers_and_looks_at_its_input(model):
    network = build_model(replace(model, reference=f"{ROOT / model.reference}"))
    torch.manual_seed(0)
    with torch.no_grad():
        one, other = (output_tensors(network.eval()(torch.rand(model.input_shape))) for _ in range(2))
    assert all(output.isfinite().all() for output in one)
    assert any((a - b).abs().max() > 1e-6 * a.abs().max() for a, b in zip(one, other, strict=True))
