"""Every engine agrees with float64 on every network it accepts, keeps what it has answered, and says what it lacks."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from onnx import helper

from sparsemark import engines, formats
from sparsemark.engines import ENGINES, onnx_runtime
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.measurement import parity
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from sparsemark.registry import availability
from sparsemark.specs import ModelSpec, Variant
from tests.engines.installed import COMPILED, INSTALLED, load, network_of
from tests.engines.sources import artifact_without_export, onnx_source
from tests.small_networks import CASES, batches, images, reference

REFUSED = {"deepsparse": {"mobile": "runs no operator", "odd": "No Previous Version of Gelu"}}
"""Networks that an engine does not take, and why."""
AGREEMENT = [
    pytest.param(engine, *case, id="-".join((engine, *case)))
    for engine in INSTALLED
    for case in (COMPILED if engine == "torch-compile" else CASES)
]


@pytest.mark.parametrize(("engine", "network", "prune"), AGREEMENT)
def test_engine_agrees_with_float64(engine, network, prune):
    if network in REFUSED.get(engine, ()):
        with pytest.raises(UnsupportedError, match=REFUSED[engine][network]):
            load(engine, network, prune)
        return
    verified = parity.check(load(engine, network, prune), batches(network), reference(network, prune))
    assert verified.parity.max_rel <= parity.TOLERANCE


@pytest.mark.parametrize("engine", INSTALLED)
def test_answer_is_a_tuple_of_float32_arrays_and_survives_the_next_call(engine):
    predict = load(engine, "unet")
    first, second = images("unet", 2)
    answer = predict(first)
    assert isinstance(answer, tuple)
    assert [output.dtype for output in answer] == [np.float32, np.float32]
    kept = [output.copy() for output in answer]
    again = predict(second)
    assert not np.allclose(again[1], kept[1])
    for output, copy in zip(answer, kept, strict=True):
        np.testing.assert_array_equal(output, copy)


@pytest.mark.parametrize("engine", INSTALLED)
def test_answer_does_not_depend_on_earlier_calls_and_leaves_the_input_alone(engine):
    predict = load(engine, "residual")
    first, second = images("residual", 2)
    before = first.copy()
    answer = predict(first)[0].copy()
    predict(second)
    np.testing.assert_array_equal(predict(first)[0], answer)
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("engine", INSTALLED)
def test_one_engine_answers_two_callers_at_once(engine):
    predict = load(engine, "plain", "magnitude:0.9")
    inputs = images(network_of(engine, "plain"), 8)
    expected = [predict(image)[0].copy() for image in inputs]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            for got, alone in zip(pool.map(lambda image: predict(image)[0], inputs), expected, strict=True):
                np.testing.assert_allclose(got, alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", INSTALLED)
def test_more_threads_give_the_same_answer_or_a_reason(engine):
    if engine == "scipy-csr":
        with pytest.raises(UnsupportedError, match="runs on one thread"):
            load(engine, "plain", threads=2)
    else:
        network = network_of(engine, "plain")
        parity.check(load(engine, network, threads=2), batches(network), reference(network, "none"))


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_library_is_a_reason_and_no_import_error(engine, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lacking = ENGINES[engine].requires[0].replace("_", "-")
    some = artifact_without_export(engine)
    with pytest.raises(UnsupportedError, match=f"{lacking} is not installed"):
        engines.load(some, engine, 1)
    rows = {row.name: row.absent for row in availability(ENGINES, "engine")}
    assert rows[engine].startswith(f"{lacking} is not installed")


def test_unknown_engine_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown engine 'onnxruntim'; did you mean 'onnxruntime'"):
        engines.load(artifact_without_export("onnxruntime"), "onnxruntim", 1)


@pytest.mark.parametrize(
    "engine", [name for name in INSTALLED if "csr" in ENGINES[name].formats and name != "direct-csr"]
)
def test_operator_that_csr_does_not_know_is_named_with_its_node(engine, tmp_path):
    source = onnx_source(tmp_path, [helper.make_node("Det", ["x"], ["y"], name="the_node")], (1, 2, 2), 1)
    exported = formats.export(source, "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match="Det at the_node"):
        engines.load(exported, engine, 1)


def test_operator_of_another_domain_is_not_taken_for_onnxs_own(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="theirs", domain="com.example")
    exported = formats.export(onnx_source(tmp_path, [node], domains=["com.example"]), "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match=r"com\.example\.Relu at theirs"):
        engines.load(exported, "torch-csr", 1)


def test_second_output_of_a_node_is_refused_when_loaded(tmp_path):
    node = helper.make_node("MaxPool", ["x"], ["y", "where"], name="pool", kernel_shape=[2, 2])
    exported = formats.export(onnx_source(tmp_path, [node]), "csr", tmp_path / "user")
    with pytest.raises(UnsupportedError, match="MaxPool at pool: 2 outputs"):
        engines.load(exported, "torch-csr", 1)


def test_onnxruntime_says_what_it_cannot_run(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UnsupportedError, match="onnxruntime: ") as caught:
        onnx_runtime.load(path, 1)
    assert "\n" not in str(caught.value)


def test_network_without_tensors_of_its_own_among_its_outputs_is_read_as_far_as_they_go(tmp_path):
    """A `None` among the outputs, as an auxiliary head leaves in eval mode, is passed over."""
    code = tmp_path / "auxiliary.py"
    code.write_text(
        "from torch import nn\nclass Net(nn.Linear):\n"
        "    def forward(self, x):\n        return {'out': super().forward(x), 'aux': None}\n"
        "def build():\n    return Net(3, 2)\n"
    )
    model = ModelSpec("aux", f"{code}:build", (1, 3))
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    save_checkpoint(tmp_path / "aux.safetensors", Checkpoint(Header(Variant(model)), state))
    source = Source(model, tmp_path / "aux.safetensors")
    batch = [(np.ones((1, 3), np.float32),)]
    predict = engines.load(formats.export(source, "dense", tmp_path / "exported"), "torch", 1)
    verified = parity.check(predict, batch, float64_outputs(source, batch))
    assert verified.parity.max_abs == 0
