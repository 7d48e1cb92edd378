"""Layers of artifacts, counted, and linters: what each looks at and proposes. None asserts on time."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sparsemark.engines.onnx_runtime import open_session
from sparsemark.measurement.explanation import layers_alone, onnx_linters, subject
from sparsemark.measurement.explanation.changes import filled, subnormal, thinned
from sparsemark.measurement.explanation.onnx_file import load_fixed, profiled_file
from sparsemark.measurement.explanation.pairs import PAIRS, time_pairs
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.pruning.accounting import count
from tests.small_networks import artifact, example, source


@pytest.fixture(autouse=True)
def _eight(monkeypatch):
    monkeypatch.setattr(onnx_linters, "simd_block", lambda: 8)


def opened(path):
    return profiled_file(path, load_fixed(path))


@pytest.mark.parametrize(("name", "prune"), [("plain", "magnitude:0.9"), ("unet", "magnitude:0.9"), ("mobile", "none")])
def test_multiply_adds_are_those_of_the_network(name, prune):
    layers = opened(artifact(name, prune, "onnx").path).explanation.layers
    counted = count(load_checkpoint(source(name, prune).path).build(), (example(name),))
    assert sum(layer.multiply_adds for layer in layers) == counted.macs
    assert sum(layer.left for layer in layers) == counted.nonzero_macs
    assert {layer.name for layer in layers} >= {layer.name.removesuffix(".weight") for layer in counted.layers}
    assert all(layer.seconds is not None and layer.seconds >= 0 for layer in layers)


def test_layers_say_in_which_layout_they_run():
    layers = {layer.name: layer for layer in opened(artifact("unet", "none", "onnx").path).explanation.layers}
    assert layers["up"].kernel == "plain ConvTranspose"
    if subject.simd_block() is not None:
        assert any(layer.kernel == "NCHWc Conv" for layer in layers.values())


def test_odd_widths_are_named_and_timed_beside_the_next_multiple():
    advice = onnx_linters.alignment(opened(artifact("plain", "none", "onnx").path))
    assert advice.layers == ("0.0",)
    assert advice.facts == {"multiple": 8}
    assert len(advice.before_s) == len(advice.after_s) == PAIRS


def test_fitting_widths_are_left_alone(monkeypatch):
    monkeypatch.setattr(onnx_linters, "simd_block", lambda: 2)
    assert onnx_linters.alignment(opened(artifact("plain", "none", "onnx").path)) is None


def test_a_change_that_computes_something_else_is_never_timed(monkeypatch):
    class Wrong:
        weights, multiple = ("0.0.weight",), 8

    path = artifact("plain", "none", "onnx").path
    Wrong.model = onnx.load(artifact("plain", "magnitude:0.9", "onnx").path)
    monkeypatch.setattr(onnx_linters, "padded", lambda *_: Wrong)
    assert onnx_linters.alignment(opened(path)) is None


def test_the_other_level_is_tried():
    advice = onnx_linters.level(opened(artifact("plain", "none", "onnx").path))
    assert {advice.facts["level"], advice.facts["used"]} == {"ALL", "EXTENDED"}


def test_subnormal_weights_are_counted_and_absent_ones_are_no_advice(tmp_path):
    path = artifact("plain", "none", "onnx").path
    assert onnx_linters.subnormals(opened(path)) is None
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda one: len(one.dims))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[:3] = (1e-40, -1e-39, 0.0)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "small.onnx")
    advice = onnx_linters.subnormals(opened(tmp_path / "small.onnx"))
    assert advice.facts == {"count": 2}
    assert len(advice.before_s) == PAIRS


def test_layers_beyond_the_cache_are_those_whose_activations_are_larger(monkeypatch):
    looked_at = opened(artifact("plain", "none", "onnx").path)
    monkeypatch.setattr(layers_alone, "second_level_cache", lambda: 4 * (3 + 6) * 16 * 12 - 1)
    advice = onnx_linters.cache(looked_at)
    assert advice.layers == ("0.0",)
    assert advice.facts["largest"] == 4 * (3 + 6) * 16 * 12
    monkeypatch.setattr(layers_alone, "second_level_cache", lambda: 4 * (3 + 6) * 16 * 12)
    assert onnx_linters.cache(looked_at) is None


def test_convolutions_outside_of_the_layout_are_named_though_their_width_fits():
    looked_at = opened(artifact("grouped", "none", "onnx").path)
    kernels = {layer.name: layer.kernel for layer in looked_at.explanation.layers}
    advice = onnx_linters.layout(looked_at)
    outside = advice.layers if advice else ()
    assert not any(kernels[name].startswith("NCHWc") for name in outside)


def test_without_numba_the_sparse_engine_is_named_and_not_timed(monkeypatch):
    monkeypatch.setattr(onnx_linters, "missing", lambda _: "numba is not installed")
    advice = onnx_linters.engine(opened(artifact("plain", "magnitude:0.9", "onnx").path))
    assert advice.before_s == ()
    assert advice.facts["reason"] == "numba is not installed"
    assert 0 < advice.facts["work_left"] < 0.6


def test_pairs_call_both_as_often():
    calls = []
    before, after = time_pairs(lambda: calls.append("before"), lambda: calls.append("after"))
    assert len(before) == len(after) == PAIRS
    assert calls.count("before") == calls.count("after")


def test_changes_of_a_weight():
    weight = np.array([[0, 2, -4, 1e-40]], np.float32)
    assert subnormal(weight).tolist() == [[False, False, False, True]]
    assert (filled(weight) != 0).all()
    assert filled(weight)[0, 1:].tolist() == weight[0, 1:].tolist()
    thin = thinned(np.ones((100, 100), np.float32), 0.1)
    assert thin.mean() == pytest.approx(0.1, abs=0.02)


def test_the_profiler_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened(artifact("mlp", "none", "onnx").path)
    assert list(tmp_path.iterdir()) == []
    assert open_session(artifact("mlp", "none", "onnx").path, 1).get_outputs()
